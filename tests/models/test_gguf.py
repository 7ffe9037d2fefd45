"""The GGUF parser: what is written is read; everything damaged or hostile is one FormatError."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_writers import Raw, f32, gguf_bytes, pack_string, pack_value

from adtrie.errors import FormatError, ModelError
from adtrie.models.gguf import GgufFile

METADATA: dict[str, Any] = {
    "general.architecture": "llama",
    "a.flag": True,
    "a.float": 0.5,
    "a.ints": np.array([1, -2, 3], "<i4"),
    "a.texts": ["", "é", "two words"],
}
VALUES = np.arange(64, dtype=np.float32).reshape(2, 32)
TENSORS = {"one": f32(VALUES), "two": f32(np.ones(3, np.float32))}


def opened(folder: Path, content: bytes) -> GgufFile:
    path = folder / "model.gguf"
    path.write_bytes(content)
    return GgufFile(path)


def refused(folder: Path, content: bytes, match: str) -> None:
    """FormatError that names the file, and less than 50 MB allocated on the way."""
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=match) as caught:
            opened(folder, content)
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()
    assert "model.gguf" in str(caught.value)


def test_reads_what_was_written(tmp_path: Path) -> None:
    file = opened(tmp_path, gguf_bytes(METADATA, TENSORS))
    assert file.metadata["general.architecture"] == "llama"
    assert file.metadata["a.flag"] is True
    assert file.metadata["a.float"] == 0.5
    assert list(file.metadata["a.ints"]) == [1, -2, 3]
    assert file.metadata["a.texts"] == ["", "é", "two words"]
    assert file.shapes() == {"one": (2, 32), "two": (3,)}
    np.testing.assert_array_equal(file.read("one"), VALUES)
    np.testing.assert_array_equal(file.read("two"), np.ones(3))
    file.close()


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=20),
        st.one_of(
            st.booleans(), st.integers(0, 2**32 - 1), st.text(max_size=50), st.lists(st.text(max_size=9))
        ),
        max_size=8,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_metadata_comes_back(tmp_path: Path, metadata: dict[str, Any]) -> None:
    metadata.pop("general.alignment", None)
    file = opened(tmp_path, gguf_bytes(metadata, {}))
    assert file.metadata == metadata
    file.close()


def test_string_arrays_across_the_read_window(tmp_path: Path) -> None:
    texts = ["x" * (i % 700) for i in range(3000)]  # about 1 MB, window 256 KiB
    file = opened(tmp_path, gguf_bytes({"texts": texts}, {}))
    assert file.metadata["texts"] == texts
    file.close()


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    """Cutting off only padding behind the last tensor loses nothing; every other cut is an error."""
    content = gguf_bytes(METADATA, TENSORS)
    padding = 32 - 12
    for size in range(len(content) - padding):
        with pytest.raises(FormatError):
            opened(tmp_path, content[:size])


def test_flipped_header_bits_give_our_error_or_a_whole_file(tmp_path: Path) -> None:
    content = gguf_bytes(METADATA, TENSORS)
    for position in range(len(content) - 320):
        for bit in (0, 3, 7):
            changed = bytearray(content)
            changed[position] ^= 1 << bit
            try:
                file = opened(tmp_path, bytes(changed))
            except FormatError:
                continue
            for name in file.shapes():
                with contextlib.suppress(FormatError):
                    file.read(name)
            file.close()


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_behind_the_magic(tmp_path: Path, tail: bytes) -> None:
    for head in (b"", b"GGUF\x03\0\0\0", b"GGUF\x03\0\0\0" + struct.pack("<QQ", 1, 0)):
        with contextlib.suppress(FormatError):
            opened(tmp_path, head + tail).close()


def header(num_tensors: int, num_keys: int, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, num_tensors, num_keys) + rest


def tensor_info(name: str = "t", dims: tuple[int, ...] = (4,), kind: int = 0, offset: int = 0) -> bytes:
    return pack_string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


BIG = 1 << 63


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "magic"),
        (b"PK\x03\x04" + bytes(100), "magic"),
        (header(0, 0, version=2), "version 2"),
        (header(0, 0, version=0x03000000), "version"),
        (header(BIG, 0, bytes(100)), "tensor count"),
        (header(0, BIG, bytes(100)), "metadata count"),
        (header(0, 1, struct.pack("<Q", BIG) + bytes(50)), "length of metadata key"),
        (header(0, 1, struct.pack("<Q", 100) + bytes(50)), "length of metadata key"),
        (header(0, 1, pack_string("k") + struct.pack("<IQ", 8, (1 << 64) - 1) + bytes(50)), "length of k"),
        (header(0, 1, pack_string("k") + struct.pack("<IIQ", 9, 8, BIG) + bytes(50)), "length of k"),
        (header(0, 1, pack_string("k") + struct.pack("<IIQ", 9, 4, BIG) + bytes(50)), "length of k"),
        (header(0, 1, pack_string("k") + struct.pack("<IIQ", 9, 9, 1) + bytes(50)), "array of arrays"),
        (header(0, 1, pack_string("k") + struct.pack("<IIQ", 9, 77, 1) + bytes(50)), "unknown value type 77"),
        (header(0, 1, pack_string("k") + struct.pack("<I", 13) + bytes(50)), "unknown value type 13"),
        (header(0, 1, pack_string("k") + struct.pack("<IB", 7, 2) + bytes(50)), "boolean"),
        (header(0, 1, struct.pack("<Q", 2) + b"\xff\xfe" + bytes(50)), "UTF-8"),
        (header(0, 2, (pack_string("k") + pack_value(1)) * 2), "twice"),
        (header(1, 0, pack_string("t") + struct.pack("<I", 0xFFFFFFFF) + bytes(99)), "4294967295 dimensions"),
        (header(1, 0, pack_string("t") + struct.pack("<I", 0) + bytes(99)), "0 dimensions"),
        (header(1, 0, tensor_info(dims=(1 << 32, 1 << 32)) + bytes(99)), "ends at byte"),
        (header(1, 0, tensor_info(dims=(1 << 32, 1 << 31, 2)) + bytes(99)), "ends at byte"),
        (header(1, 0, tensor_info(dims=(0, 4)) + bytes(99)), "shape"),
        (header(1, 0, tensor_info(dims=(33,), kind=2) + bytes(99)), "multiple of 32"),
        (header(1, 0, tensor_info(kind=999) + bytes(99)), "type id 999"),
        (header(1, 0, tensor_info(offset=1 << 40) + bytes(99)), "offset"),
        (header(1, 0, tensor_info(offset=BIG) + bytes(99)), "offset"),
        (header(2, 0, tensor_info() + tensor_info(offset=32) + bytes(200)), "twice"),
        (header(2, 0, tensor_info("a") + tensor_info("b") + bytes(200)), "expected 32"),
        (gguf_bytes(METADATA, TENSORS) + bytes(64), "follow the last tensor"),
    ],
)
def test_hostile_fields(tmp_path: Path, content: bytes, match: str) -> None:
    refused(tmp_path, content, match)


@pytest.mark.parametrize("alignment", [0, 1, 7, 24, 1 << 31])
def test_alignment(tmp_path: Path, alignment: int) -> None:
    refused(tmp_path, gguf_bytes({"general.alignment": alignment}, {}), "general.alignment")


def test_other_alignment_is_honoured(tmp_path: Path) -> None:
    file = opened(tmp_path, gguf_bytes({"general.alignment": 64}, TENSORS, alignment=64))
    np.testing.assert_array_equal(file.read("two"), np.ones(3))
    file.close()


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_values_that_are_not_finite(tmp_path: Path, bad: float) -> None:
    scale = np.array([bad], "<f2").tobytes()
    good = np.array([1.0], "<f2").tobytes()
    tensors = {
        "floats": f32(np.array([1.0, bad], np.float32)),
        "scale": Raw("Q4_0", (1, 32), scale + bytes(16)),
        "minimum": Raw("Q4_1", (1, 32), good + scale + bytes(16)),
        "kblock": Raw("Q6_K", (1, 256), b"\xff" * 208 + scale),
    }
    file = opened(tmp_path, gguf_bytes({}, tensors))
    for name in tensors:
        with pytest.raises(FormatError, match=name):
            file.read(name)
    file.close()


def test_truncated_while_open(tmp_path: Path) -> None:
    file = opened(tmp_path, gguf_bytes(METADATA, TENSORS))
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(FormatError, match="truncated while in use"):
        file.read("one")
    file.close()


def test_fingerprint_sees_header_and_data(tmp_path: Path) -> None:
    contents = [gguf_bytes(METADATA, TENSORS), gguf_bytes(METADATA | {"a.float": 0.25}, TENSORS)]
    contents.append(gguf_bytes(METADATA, TENSORS | {"one": f32(VALUES + 1)}))
    prints = []
    for content in contents:
        file = opened(tmp_path, content)
        prints.append(file.fingerprint())
        file.close()
    assert len(set(prints)) == 3 and all(len(text) == 64 for text in prints)


def test_not_a_file(tmp_path: Path) -> None:
    import os

    with pytest.raises(ModelError, match="cannot open"):
        GgufFile(tmp_path / "missing.gguf")
    with pytest.raises(ModelError, match="regular file"):
        GgufFile(tmp_path)
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(ModelError, match="regular file"):
        GgufFile(tmp_path / "pipe.gguf")
