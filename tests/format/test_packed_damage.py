"""Damaged and hostile packed checkpoints: an error that names the file, or the very same answer."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packed_folder import SMALL_SHAPES, golden_folder, mixed, small_linear, write_small

from adtrie.compress.pack import pack_nearest
from adtrie.errors import AdtrieError, FormatError, ModelError
from adtrie.format import manifest
from adtrie.format.panels import pack
from adtrie.format.reader import PackedFolder
from adtrie.format.verify import find_damage
from adtrie.models import open_checkpoint

FILES = ["manifest.json", "model.safetensors", "tokenizer.json"]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    write_small(tmp_path / "out")
    return tmp_path / "out"


def answer(path: Path) -> list[bytes]:
    """All that can be read of the small folder."""
    folder = PackedFolder(path)
    try:
        parts = [folder.tokenizer(), folder.vector("norm").tobytes(), repr(folder.manifest.spec).encode()]
        for name in ("a", "b"):
            linear = folder.linear(name)
            parts += [linear.stream.tobytes(), linear.scales.tobytes(), linear.kept.tobytes()]
        return parts
    finally:
        folder.close()


@pytest.mark.parametrize("name", FILES)
def test_every_truncation_is_an_error(small: Path, name: str) -> None:
    content = (small / name).read_bytes()
    for size in range(0, len(content) - 1, 7):
        (small / name).write_bytes(content[:size])
        with pytest.raises(AdtrieError, match=r"out/(manifest|model|tokenizer)\."):
            answer(small)
    (small / name).write_bytes(content + b" ")
    if name != "manifest.json":  # white space after a JSON document changes nothing
        with pytest.raises(FormatError, match=name):
            answer(small)


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_byte_is_an_error_or_changes_nothing(small: Path, name: str) -> None:
    sound = answer(small)
    content = (small / name).read_bytes()
    harmless = 0
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        (small / name).write_bytes(bytes(changed))
        try:
            assert answer(small) == sound
        except AdtrieError as error:
            assert str(small) in str(error)
            continue
        harmless += 1
        if name != "manifest.json" and harmless % 16 == 0:
            assert find_damage(small)  # padding: not read, but not as it was written
    assert harmless < len(content) / 4


def test_verify_names_every_damaged_tensor(small: Path) -> None:
    assert find_damage(small) == []
    extents = PackedFolder(small).extents
    content = bytearray((small / "model.safetensors").read_bytes())
    for name in ("a.stream", "norm"):
        content[extents[name].start + 1] ^= 4
    (small / "model.safetensors").write_bytes(content)
    found = find_damage(small)
    assert len(found) == 2 and "'norm'" in found[0] and "'a.stream'" in found[1]
    (small / "tokenizer.json").write_bytes(b"{}")
    assert any("tokenizer.json" in line for line in find_damage(small))


def rewritten(
    small: Path,
    change: Callable[[dict[str, Any], dict[str, Any], bytearray], None],
) -> None:
    """Changes header, manifest and data of a folder, and makes all sums right again."""
    path = small / "model.safetensors"
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8 : 8 + size]), bytearray(content[8 + size :])
    document = json.loads((small / "manifest.json").read_bytes())
    change(header, document, data)
    text = json.dumps(header).encode().ljust(size)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    resign(small, document, header, data)


def resign(small: Path, document: dict[str, Any], header: dict[str, Any], data: bytearray) -> None:
    for name in list(document["sums"]):
        first, last = header.get(name, {"data_offsets": (0, 0)})["data_offsets"]
        document["sums"][name] = zlib.crc32(data[first:last])
    for name, entry in document["files"].items():
        if (small / name).exists() and entry is not None:
            content = (small / name).read_bytes()
            entry |= {"num_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    document.pop("checksum", None)
    (small / "manifest.json").write_text(json.dumps({**document, "checksum": manifest._checksum(document)}))


Change = Callable[[dict[str, Any], dict[str, Any], bytearray], None]


def header_change(name: str, **fields: Any) -> Change:
    def change(header: dict[str, Any], document: dict[str, Any], data: bytearray) -> None:
        header[name] |= fields

    return change


def manifest_change(*path: str, value: Any) -> Change:
    def change(header: dict[str, Any], document: dict[str, Any], data: bytearray) -> None:
        node = document
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value

    return change


def dropped(name: str) -> Change:
    def change(header: dict[str, Any], document: dict[str, Any], data: bytearray) -> None:
        first, last = header.pop(name)["data_offsets"]
        header["pad.zz"] = {"dtype": "U8", "shape": [last - first], "data_offsets": [first, last]}

    return change


def swapped_names(header: dict[str, Any], document: dict[str, Any], data: bytearray) -> None:
    header["a.stream"], header["b.stream"] = header["b.stream"], header["a.stream"]


def extra_tensor(header: dict[str, Any], document: dict[str, Any], data: bytearray) -> None:
    header["x"] = {"dtype": "U8", "shape": [1], "data_offsets": [len(data), len(data) + 1]}
    data.append(0)


def poke(name: str, offset: int, *values: int) -> Change:
    def change(header: dict[str, Any], document: dict[str, Any], data: bytearray) -> None:
        first = header[name]["data_offsets"][0] + offset
        data[first : first + len(values)] = bytes(values)

    return change


def nothing(header: dict[str, Any], document: dict[str, Any], data: bytearray) -> None:
    pass


def test_rewriting_alone_changes_nothing(small: Path) -> None:
    sound = answer(small)
    rewritten(small, nothing)
    assert answer(small) == sound and find_damage(small) == []


HUGE = 1 << 39


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (header_change("a.stream", shape=[HUGE]), "a.stream"),
        (header_change("a.scales", dtype="F32"), "a.scales"),
        (header_change("a.scales", dtype="BF16"), "supported: U8, F16, F32"),
        (header_change("a.scales", shape=[1, 2, 16]), "a.scales"),
        (header_change("a.kept", dtype="I8"), "a.kept"),
        (header_change("norm", shape=[3, 3]), r"'norm': it is F32 \[3, 3\]"),
        (header_change("norm", data_offsets=[0, 36]), "overlaps"),
        (header_change("norm", shape=[-9]), "integers"),
        (dropped("norm"), "'norm': it is missing"),
        (dropped("b.kept"), "'b.kept': it is missing"),
        (extra_tensor, "'x': it is not in the manifest"),
        (swapped_names, r"'a'|'b'"),
        (manifest_change("linears", "a", "shape", value=[HUGE, 64]), "a"),
        (manifest_change("linears", "a", "shape", value=[24, 1 << 70]), "a"),
        (manifest_change("linears", "a", "shape", value=[24, -64]), "a"),
        (manifest_change("linears", "a", "shape", value=[23, 64]), "not as the manifest describes it"),
        (manifest_change("linears", "a", "shape", value=[0, 64]), "a"),
        (manifest_change("linears", "a", "group", value=0), "a"),
        (manifest_change("linears", "a", "group", value=48), "a"),
        (manifest_change("linears", "a", "bits", value=3), "a"),
        (manifest_change("linears", "a", "bits", value=8), "a"),
        (manifest_change("linears", "a", "bits", value="4"), "Expected `int`"),
        (manifest_change("linears", "c", value={}), "missing required field"),
        (manifest_change("linears", "a", "stream_bytes", value=7), "not as the manifest describes it"),
        (manifest_change("sums", "x", value=7), "'x': it is missing"),
        (manifest_change("files", value={}), "lists files"),
        (manifest_change("files", "../x", value={"num_bytes": 1, "sha256": ""}), "lists files"),
        (manifest_change("files", "x", value={"num_bytes": 1, "sha256": ""}), "out/x"),
        (manifest_change("files", "model.safetensors", value=None), "Expected `object`"),
        (manifest_change("version", value=2), "version 2 of the format, this release reads 1"),
        (manifest_change("version", value="1"), "version '1'"),
        (manifest_change("format", value="other"), "'format' is 'other'"),
        (manifest_change("surprise", value=1), "unknown fields"),
        (manifest_change("spec", "surprise", value=1), "unknown fields"),
        (poke("a.kept", 0, 3), "got 3"),
        (poke("a.kept", 0, 200), "got 200"),
        (poke("a.kept", 1, 4), "stream"),
        (poke("a.scales", 1, 0x7C), "NaN or infinity"),
        (poke("a.stream", 0, 0, 0), "repeats a position"),
        (poke("b.stream", 20, 0x10), "is not zero"),
    ],
)
def test_hostile_folders_with_right_sums(small: Path, change: Change, match: str) -> None:
    rewritten(small, change)
    with pytest.raises(FormatError, match=match):
        answer(small)
        raise FormatError("; ".join(find_damage(small)))  # what only `verify` reads


def test_positions_that_do_not_ascend(small: Path) -> None:
    def swap(header: dict[str, Any], document: dict[str, Any], data: bytearray) -> None:
        at = header["a.stream"]["data_offsets"][0]
        first, second = data[at], data[at + 1]
        data[at : at + 2] = bytes([first & 0xFC | second & 3, second & 0xFC | first & 3])

    assert small_linear("a").kept[0] == 2
    rewritten(small, swap)
    assert "tensor 'a': positions do not ascend" in "".join(find_damage(small))


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b'{"a": 1, "a": 2}', b'{"format": NaN}', b"\xff" * 9, b'{"x":' * 100_000],
)
def test_manifests_that_are_none(small: Path, text: bytes) -> None:
    (small / "manifest.json").write_bytes(text)
    with pytest.raises(FormatError, match=r"manifest\.json"):
        PackedFolder(small)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(small: Path, name: str) -> None:
    (small / name).unlink()
    with pytest.raises(ModelError, match=name):
        answer(small)
    assert any(name in line for line in find_damage(small))


def test_a_file_of_another_checkpoint(tmp_path: Path, small: Path) -> None:
    write_small(tmp_path / "other", seed=1)
    shutil.copy(tmp_path / "other" / "model.safetensors", small / "model.safetensors")
    with pytest.raises(FormatError, match="sum differs"):
        answer(small)


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    with open_checkpoint(golden_folder(folder)) as source:
        pack_nearest(source, folder / "out", mixed)
    return folder / "out"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (manifest_change("spec", "num_layers", value=10**9), "num_layers"),
        (manifest_change("spec", "num_layers", value=1), "layers.1"),
        (manifest_change("spec", "num_layers", value=3), "layers.2"),
        (manifest_change("spec", "hidden_size", value=64), "tensor 'embed'"),
        (manifest_change("spec", "tied_head", value=True), "'head'"),
        (manifest_change("spec", "vocab_size", value=0), "vocab_size"),
        (manifest_change("spec", "num_kv_heads", value=0), "num_kv_heads"),
        (manifest_change("spec", "rms_epsilon", value=1e300), "rms_epsilon"),
        (manifest_change("spec", "family", value="gpt"), "'gpt' is not supported"),
        (manifest_change("tokenizer", "eos", value=10**6), "end-of-text"),
        (manifest_change("tokenizer", "fingerprint", value="0"), "other tokens"),
    ],
)
def test_models_that_contradict_themselves(tmp_path: Path, golden: Path, change: Change, match: str) -> None:
    shutil.copytree(golden, tmp_path / "out")
    rewritten(tmp_path / "out", change)
    with pytest.raises(AdtrieError, match=match):
        open_checkpoint(tmp_path / "out")


def test_shapes_of_the_small_folder_are_no_model(small: Path) -> None:
    with pytest.raises(FormatError, match="needs"):
        open_checkpoint(small)
    assert set(PackedFolder(small).shapes()) == set(SMALL_SHAPES)
    np.testing.assert_array_equal(PackedFolder(small).linear("a").stream, pack(small_linear("a")).stream)
