"""Writes a packed checkpoint one linear at a time: memory for one, a folder that appears whole or not at all.

Knows no model: which tensors there must be is given, as is the tokenizer's file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from adtrie import __version__
from adtrie.config import ModelSpec
from adtrie.errors import FormatError, InputError, ModelError
from adtrie.format.container import LENGTH_BYTES, Extent, encode_directory
from adtrie.format.manifest import (
    MANIFEST_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    FileEntry,
    LinearEntry,
    Manifest,
    Origin,
    SavedTokenizer,
    is_plain_name,
    read_manifest,
)
from adtrie.format.panels import ALIGNMENT, PackedLinear
from adtrie.format.staging import Staging, write_at, write_error, write_file

PADDING = "pad."  # tensors between others that only move them to the next multiple of 64
DTYPES = {"U8": 1, "F16": 2, "F32": 4}
_NAMES = {np.dtype(np.uint8): "U8", np.dtype(np.float16): "F16", np.dtype(np.float32): "F32"}
_CHUNK_BYTES = 1 << 20


class PackedWriter:
    """A packed checkpoint being written; what is at `out` stays as it is until `finish` returns.

    with PackedWriter(...) as writer: add every tensor once, in any order, then `finish`. Leaving the block
    before that removes everything written.
    """

    def __init__(
        self,
        out: str | Path,
        spec: ModelSpec,
        shapes: Mapping[str, tuple[int, ...]],
        tokenizer: tuple[SavedTokenizer, bytes],
        origin: Origin,
        template: str | None = None,
    ) -> None:
        """shapes: of every tensor the model needs, by canonical name; two dimensions are a linear.

        tokenizer: with the content of its file. Raises ModelError when `out` cannot be written, is being
        written, or holds anything but a packed checkpoint.
        """
        self.out = Path(out)
        self.shapes = dict(shapes)
        self._spec, self._origin, self._template = spec, origin, template
        self._tokenizer, self._definition = tokenizer
        self._linears: dict[str, LinearEntry] = {}
        self._extents: dict[str, Extent] = {}
        self._sums: dict[str, int] = {}
        self._files: list[str] = []
        self._start = self._end = _header_room(self.shapes)
        _check_replaceable(self.out)
        self._staging = Staging(self.out)
        self._open = True
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self._file = os.open(self._staging.path / WEIGHTS_FILE, flags, 0o644)
        except OSError as error:
            self._staging.discard()
            raise write_error(self.out, error) from None

    def add_vector(self, name: str, values: NDArray[np.float32]) -> None:
        """Norm or bias, float32[n]. Raises InputError for values that are not finite or do not belong."""
        self._expect(name, values.shape)
        if not bool(np.isfinite(values).all()):
            raise InputError(f"{self.out}: {name} holds NaN or infinity; it cannot be packed")
        self._append(name, np.ascontiguousarray(values, dtype=np.float32))

    def add_linear(self, name: str, linear: PackedLinear) -> None:
        """Linear, embedding or head. Raises InputError if it does not belong, ModelError for a full disk."""
        self._expect(name, (linear.num_outputs, linear.num_inputs))
        self._append(f"{name}.stream", linear.stream)
        self._append(f"{name}.scales", linear.scales)
        self._append(f"{name}.kept", linear.kept)
        self._linears[name] = LinearEntry.of(linear)

    def add_file(self, name: str, content: bytes) -> None:
        """A file beside the others, such as a report; nothing reads it, `verify` checks it.

        Raises InputError for a name that is taken or no plain one.
        """
        taken = {MANIFEST_FILE, WEIGHTS_FILE, TOKENIZER_FILE, *self._files}
        if not self._open or not is_plain_name(name) or name in taken:
            raise InputError(f"{self.out}: cannot add a file {name!r:.80}; expected a new plain name")
        try:
            write_file(self._staging.path / name, lambda file: write_at(file, content, 0))
        except OSError as error:
            raise write_error(self.out, error) from None
        self._files.append(name)

    def finish(self, summary: Mapping[str, Any] | None = None) -> Manifest:
        """Syncs everything and moves it to `out`; returns the manifest.

        summary: JSON values about budget and plan, kept in the manifest. Raises InputError when tensors are
        missing, ModelError when the disk is full.
        """
        missing = sorted(set(self.shapes) - self._added())
        if missing:
            raise InputError(
                f"{self.out}: {len(missing)} tensors were not added, the first is {missing[0]!r}"
            )
        kept = _as_json(summary or {})
        try:
            self._sync_weights()
            path = self._staging.path
            write_file(path / TOKENIZER_FILE, lambda file: write_at(file, self._definition, 0))
            names = (WEIGHTS_FILE, TOKENIZER_FILE, *self._files)
            manifest = Manifest(
                tool=f"adtrie {__version__}",
                spec=self._spec,
                origin=self._origin,
                template=self._template,
                tokenizer=self._tokenizer,
                summary=kept,
                files={name: _file_entry(path / name) for name in names},
                linears=self._linears,
                sums=self._sums,
            )
            write_file(path / MANIFEST_FILE, lambda file: write_at(file, manifest.to_json(), 0))
        except OSError as error:
            raise write_error(self.out, error) from None
        _check_replaceable(self.out)
        self._open = False
        self._staging.publish()
        return manifest

    def close(self) -> None:
        """Removes what was written unless it was finished."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._open:
            self._open = False
            self._staging.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _added(self) -> set[str]:
        return set(self._linears) | (set(self._extents) & set(self.shapes))

    def _expect(self, name: str, shape: tuple[int, ...]) -> None:
        if not self._open:
            raise InputError(f"{self.out}: the checkpoint is finished; open another writer")
        if name in self._added() or self.shapes.get(name) != tuple(shape):
            raise InputError(
                f"{self.out}: tensor {name!r:.80} of shape {list(shape)} was not expected, or added before; "
                f"the model has it as {list(self.shapes.get(name, ()))}"
            )

    def _append(self, name: str, array: NDArray[Any]) -> None:
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        try:
            gap = -self._end % ALIGNMENT
            if gap:
                self._place(f"{PADDING}{self._end:x}", "U8", (gap,), memoryview(bytes(gap)))
            self._place(name, _NAMES[array.dtype], array.shape, data)
        except OSError as error:
            raise write_error(self.out, error) from None
        self._sums[name] = zlib.crc32(data)

    def _place(self, name: str, dtype: str, shape: tuple[int, ...], data: memoryview) -> None:
        write_at(self._file, data, self._end)
        self._extents[name] = Extent(dtype, shape, self._end, self._end + len(data))
        self._end += len(data)

    def _sync_weights(self) -> None:
        write_at(self._file, encode_directory(self._extents, self._start), 0)
        os.fsync(self._file)
        os.close(self._file)
        self._file = -1


def _header_room(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Bytes before the data: enough for a header of these tensors whatever their sizes."""
    # The longest entry is a scales' one: 58 characters beside its name and two sums of at most 13 digits, 22
    # of its shape. A gap takes at most 104, and follows each tensor but the streams.
    linears = [name for name, shape in shapes.items() if len(shape) == 2]
    tensors = sum(len(name) + 110 for name in shapes) + sum(2 * (len(name) + 110) for name in linears)
    gaps = 104 * (len(shapes) + len(linears))
    return -(-(LENGTH_BYTES + 2 + tensors + gaps) // ALIGNMENT) * ALIGNMENT


def _file_entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(os.fstat(file.fileno()).st_size, digest)


def _as_json(summary: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return dict(json.loads(json.dumps(dict(summary), allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise InputError(f"summary: expected JSON values; {error}") from None


def _check_replaceable(out: Path) -> None:
    """Raises ModelError when `out` is there and is no folder of only a packed checkpoint."""
    ours = {MANIFEST_FILE, WEIGHTS_FILE, TOKENIZER_FILE}
    with contextlib.suppress(FormatError, ModelError):  # of a damaged one only the usual files are known
        ours |= set(read_manifest(out).files)
    try:
        found = set(os.listdir(out))
    except FileNotFoundError:
        return
    except OSError as error:
        raise ModelError(f"{out}: expected a new folder or a packed checkpoint ({error.strerror})") from None
    foreign = sorted(found - ours)
    if foreign or (found and MANIFEST_FILE not in found):
        raise ModelError(
            f"{out}: is not empty and no packed checkpoint (it holds {(foreign or sorted(found))[0]!r:.80}); "
            "choose another folder or empty it, nothing was changed"
        )
