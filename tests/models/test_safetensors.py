"""The safetensors reader: agrees with the safetensors library, refuses everything damaged or hostile."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_writers import Raw, f32, safetensors_bytes
from safetensors.numpy import save

from adtrie.errors import FormatError
from adtrie.models.safetensors_file import SafetensorsFile

VALUES = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
TENSORS = {"a": f32(VALUES), "b": Raw("F16", (2,), np.array([0.5, -1], "<f2").tobytes())}


def opened(folder: Path, content: bytes) -> SafetensorsFile:
    path = folder / "model.safetensors"
    path.write_bytes(content)
    return SafetensorsFile(path)


def refused(folder: Path, content: bytes, match: str) -> None:
    with pytest.raises(FormatError, match=match) as caught:
        opened(folder, content)
    assert "model.safetensors" in str(caught.value)


def with_header(header: Any, body: bytes = b"", text: str | None = None) -> bytes:
    raw = (json.dumps(header) if text is None else text).encode()
    return struct.pack("<Q", len(raw)) + raw + body


def entry(shape: list[Any], offsets: list[Any], dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_reads_what_was_written(tmp_path: Path) -> None:
    file = opened(tmp_path, safetensors_bytes(TENSORS))
    assert file.shapes() == {"a": (3, 4), "b": (2,)}
    np.testing.assert_array_equal(file.read("a"), VALUES)
    np.testing.assert_array_equal(file.read("b"), np.array([0.5, -1], np.float32))
    assert file.read("b").dtype == np.float32
    file.close()


@given(seed=st.integers(0, 1000), half=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
def test_agrees_with_the_library(tmp_path: Path, seed: int, half: bool) -> None:
    rng = np.random.default_rng(seed)
    dtype = np.float16 if half else np.float32
    arrays = {
        f"t{i}": rng.standard_normal(rng.integers(0, 5, rng.integers(0, 4))).astype(dtype) for i in range(4)
    }
    file = opened(tmp_path, save(arrays, metadata={"format": "pt"}))
    for name, values in arrays.items():
        np.testing.assert_array_equal(file.read(name), values.astype(np.float32))
    file.close()


def test_bfloat16(tmp_path: Path) -> None:
    values = np.array([1.0, -3.5, 2.0**-100], np.float32)
    top_halves = (values.view(np.uint32) >> 16).astype("<u2")
    file = opened(tmp_path, safetensors_bytes({"x": Raw("BF16", (3,), top_halves.tobytes())}))
    np.testing.assert_array_equal(file.read("x"), values)
    file.close()


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    content = safetensors_bytes(TENSORS)
    for size in range(len(content)):
        with pytest.raises(FormatError):
            opened(tmp_path, content[:size])


def test_flipped_header_bits_give_our_error_or_a_whole_file(tmp_path: Path) -> None:
    content = safetensors_bytes(TENSORS)
    for position in range(len(content) - 52):
        for bit in range(8):
            changed = bytearray(content)
            changed[position] ^= 1 << bit
            try:
                file = opened(tmp_path, bytes(changed))
            except FormatError:
                continue
            for name in file.shapes():
                file.read(name)
            file.close()


@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1, 100_000_001, 1000])
def test_header_length_lie(tmp_path: Path, length: int) -> None:
    content = safetensors_bytes(TENSORS)
    refused(tmp_path, struct.pack("<Q", length) + content[8:], "header length")


FOUR = struct.pack("<f", 1.0)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (with_header({"a": entry([1], [0, 4])}, FOUR + b"x"), "appended to"),
        (with_header({"a": entry([1], [0, 4]), "b": entry([1], [0, 4])}, FOUR), "overlaps"),
        (with_header({"a": entry([2], [0, 8]), "b": entry([1], [4, 8])}, FOUR * 2), "overlaps"),
        (with_header({"a": entry([1], [4, 8])}, FOUR * 2), "hole"),
        (with_header({"a": entry([1], [0, 4]), "b": entry([1], [8, 12])}, FOUR * 3), "hole"),
        (with_header({"a": entry([1], [0, 8])}, FOUR * 2), "needs 4 bytes"),
        (with_header({"a": entry([2], [0, 4])}, FOUR), "needs 8 bytes"),
        (with_header({"a": entry([1], [4, 0])}, FOUR), "needs 4 bytes"),
        (with_header({"a": entry([1 << 32, 1 << 32], [0, 0])}), "needs"),
        (with_header({"a": entry([1 << 62, 4], [0, 0])}), "integers"),
        (with_header({"a": entry([-1], [0, 4])}, FOUR), "integers"),
        (with_header({"a": entry([True], [0, 4])}, FOUR), "integers"),
        (with_header({"a": entry([1.0], [0, 4])}, FOUR), "integers"),
        (with_header({"a": entry([1] * 9, [0, 4])}, FOUR), "integers"),
        (with_header({"a": entry([1], [0])}, FOUR), "integers"),
        (with_header({"a": entry([1], ["0", "4"])}, FOUR), "integers"),
        (with_header({"a": entry([1], [0, 4], "Q9")}, FOUR), "dtype 'Q9'"),
        (with_header({"a": entry([4], [0, 4], "I8")}, FOUR), "supported: F32"),
        (with_header({"a": entry([1], [0, 4], ["F32"])}, FOUR), "dtype"),
        (with_header({"a": [1]}, FOUR), "exactly dtype"),
        (with_header({"a": {"dtype": "F32", "shape": [1]}}, FOUR), "exactly dtype"),
        (with_header({"__metadata__": {"a": 1}}), "__metadata__"),
        (with_header({"__metadata__": None}), "__metadata__"),
        (with_header([]), "start with"),
        (with_header(0, text=" {}"), "start with"),
        (with_header(0, text="{}x"), "JSON"),
        (with_header(0, text='{"a": NaN}'), "NaN"),
        (with_header(0, text='{"a": ' + "9" * 5000 + "}"), "JSON|exactly"),
        (with_header(0, text='{"a":' + "[" * 100_000), "nested"),
        (with_header(0, text='{"a":' + '{"b":' * 100 + "1" + "}" * 101), "nested"),
        (struct.pack("<Q", 3) + b'{"\xff', "UTF-8"),
    ],
)
def test_hostile_headers(tmp_path: Path, content: bytes, match: str) -> None:
    refused(tmp_path, content, match)


def test_duplicate_key(tmp_path: Path) -> None:
    one = json.dumps(entry([1], [0, 4]))
    refused(tmp_path, with_header(0, FOUR, text=f'{{"a": {one}, "a": {one}}}'), "'a' occurs twice")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(tmp_path: Path, bad: float) -> None:
    file = opened(tmp_path, safetensors_bytes({"x": f32(np.array([bad], np.float32))}))
    with pytest.raises(FormatError, match="'x' holds NaN"):
        file.read("x")
    file.close()
