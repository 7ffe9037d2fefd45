"""manifest.json of a packed checkpoint: what the other files hold, and their sums. Reads no tensor.

Its own checksum covers everything else in it, so it also identifies the checkpoint.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from adtrie.config import ModelSpec
from adtrie.errors import FormatError, InputError
from adtrie.format.binary_file import BinaryFile
from adtrie.format.codes import pattern_name
from adtrie.format.json_text import parse_json_object
from adtrie.format.panels import PackedLinear

MANIFEST_FILE, WEIGHTS_FILE, TOKENIZER_FILE = "manifest.json", "model.safetensors", "tokenizer.json"
FORMAT, VERSION = "adtrie-packed", 1
MAX_MANIFEST_BYTES = 64 << 20


@dataclass(frozen=True)
class Origin:
    """The model that was packed: name, sha256 of its weights with adapter, the adapter's name if any."""

    name: str
    fingerprint: str
    adapter: str | None = None


@dataclass(frozen=True)
class SavedTokenizer:
    """What the file of the tokenizer does not say: control tokens, and the sha256 of the tokenizer."""

    eos: int
    bos: int | None
    add_bos: bool
    fingerprint: str


@dataclass(frozen=True)
class FileEntry:
    """Size and sha256 of a file beside the manifest."""

    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class LinearEntry:
    """How a linear is stored; panels: their number by pattern. The bytes leave out alignment and `kept`."""

    shape: tuple[int, int]
    bits: int
    group: int
    panels: dict[str, int]
    stream_bytes: int
    scale_bytes: int
    bits_per_weight: float

    @classmethod
    def of(cls, linear: PackedLinear) -> LinearEntry:
        """The entry of a linear."""
        names = [pattern_name(kept) for kept in sorted(set(linear.kept.tolist()), reverse=True)]
        counts = {name: sum(pattern_name(kept) == name for kept in linear.kept.tolist()) for name in names}
        stream, scales = linear.stream.nbytes, linear.scales.nbytes
        weights = linear.num_outputs * linear.num_inputs
        bits_per_weight = round(8 * (stream + scales) / weights, 6)
        shape = linear.num_outputs, linear.num_inputs
        return cls(shape, linear.bits, linear.group, counts, stream, scales, bits_per_weight)


@dataclass(frozen=True)
class Manifest:
    """Everything but the tensors.

    tool: what wrote it. template: the prompt the model was tuned with. summary: what the writer was told
    about budget and plan. files: all others of the folder. sums: crc32 by tensor of the container. linears:
    by canonical name.
    """

    tool: str
    spec: ModelSpec
    origin: Origin
    template: str | None
    tokenizer: SavedTokenizer
    summary: dict[str, Any]
    files: dict[str, FileEntry]
    linears: dict[str, LinearEntry]
    sums: dict[str, int]

    def to_json(self) -> bytes:
        """The file."""
        content = {"format": FORMAT, "version": VERSION, **msgspec.to_builtins(self)}
        text = json.dumps({"checksum": _checksum(content), **content}, indent=1)
        return (text + "\n").encode()

    @property
    def fingerprint(self) -> str:
        """The checksum in the file, sha256 hex: other weights, tokenizer or plan give another one."""
        return _checksum({"format": FORMAT, "version": VERSION, **msgspec.to_builtins(self)})


def is_plain_name(name: str) -> bool:
    """Whether a file may be called so: no hidden one, none outside its folder."""
    inside = name == Path(name).name and "\\" not in name
    return inside and name.isprintable() and not name.startswith(".") and name != ""


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a packed checkpoint.

    Raises ModelError when it cannot be read, FormatError when it is damaged or of another version.
    """
    file = BinaryFile(folder / MANIFEST_FILE)
    try:
        if file.size > MAX_MANIFEST_BYTES:
            raise FormatError(f"{file.path}: {file.size} bytes, at most {MAX_MANIFEST_BYTES} are accepted")
        return decode_manifest(file.read(0, file.size, MANIFEST_FILE), str(file.path))
    finally:
        file.close()


def decode_manifest(data: bytes, where: str) -> Manifest:
    """The manifest of `to_json`. Raises FormatError that starts with `where` for anything else."""
    content = parse_json_object(data, where)
    if content.get("format") != FORMAT:
        raise FormatError(f"{where}: 'format' is {content.get('format')!r:.60}, expected {FORMAT!r}")
    if content.get("version") != VERSION:
        raise FormatError(
            f"{where}: version {content.get('version')!r:.20} of the format, this release reads {VERSION}; "
            "compress the model again, or use the release that wrote it"
        )
    if content.pop("checksum", None) != _checksum(content):
        raise FormatError(f"{where}: its checksum differs, it was changed or damaged; fetch it again")
    fields = {key: value for key, value in content.items() if key not in ("format", "version")}
    try:
        manifest = msgspec.convert(fields, Manifest)
    except (msgspec.ValidationError, InputError, OverflowError) as error:
        raise FormatError(f"{where}: {error}; compress the model again") from None
    if json.loads(manifest.to_json()) != {"checksum": _checksum(content), **content}:
        raise FormatError(f"{where}: unknown fields; it was written by another release")
    return manifest


def _checksum(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
