"""Block decoders against scalar loops written from the format description, on random bytes."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adtrie.models.ggml_blocks import BLOCK_TYPES, BlockType, decode_blocks, quantized_matrix

BY_NAME = {block.name: block for block in BLOCK_TYPES.values()}
F = np.float32


def half(data: bytes, at: int) -> np.float32:
    return F(np.float16(struct.unpack_from("<e", data, at)[0]))


def signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


def scalar_small(name: str, block: bytes) -> list[np.float32]:
    """One block of 32 of a type without sub-blocks."""
    d = half(block, 0)
    if name == "Q8_0":
        return [d * F(signed(block[2 + i])) for i in range(32)]
    has_min, has_fifth = name in ("Q4_1", "Q5_1"), name in ("Q5_0", "Q5_1")
    at = 4 if has_min else 2
    fifth = struct.unpack_from("<I", block, at)[0] if has_fifth else 0
    codes_at = at + (4 if has_fifth else 0)
    values = []
    for i in range(32):
        byte = block[codes_at + i % 16]
        code = (byte & 15) if i < 16 else (byte >> 4)
        code += 16 * ((fifth >> i) & 1)
        if has_min:
            values.append(d * F(code) + half(block, 2))
        else:
            values.append(d * F(code - (16 if has_fifth else 8)))
    return values


def scale_and_min(packed: bytes, j: int) -> tuple[int, int]:
    if j < 4:
        return packed[j] & 63, packed[j + 4] & 63
    low = packed[j + 4]
    return (low & 15) + 16 * (packed[j - 4] >> 6), (low >> 4) + 16 * (packed[j] >> 6)


def scalar_k(name: str, block: bytes) -> list[np.float32]:
    """One block of 256 of Q4_K or Q5_K."""
    d, dmin, packed = half(block, 0), half(block, 2), block[4:16]
    high, low = (block[16:48], block[48:]) if name == "Q5_K" else (bytes(32), block[16:])
    values = []
    for i in range(256):
        sub, pos = divmod(i, 32)
        byte = low[32 * (sub // 2) + pos]
        code = (byte >> 4 if sub % 2 else byte & 15) + 16 * ((high[pos] >> sub) & 1)
        scale, minimum = scale_and_min(packed, sub)
        values.append(d * F(scale) * F(code) - dmin * F(minimum))
    return values


def scalar_q6_k(block: bytes) -> list[np.float32]:
    low, high, scales, d = block[:128], block[128:192], block[192:208], half(block, 208)
    values = []
    for i in range(256):
        part, rest = divmod(i, 128)
        run, pos = divmod(rest, 32)
        byte = low[64 * part + 32 * (run % 2) + pos]
        code = (byte >> 4 if run >= 2 else byte & 15) + 16 * ((high[32 * part + pos] >> (2 * run)) & 3)
        step = F(signed(scales[i // 16])) * d
        values.append(step * F(code - 32))
    return values


def scalar(block_type: BlockType, block: bytes) -> np.ndarray:
    with np.errstate(all="ignore"):
        if block_type.name == "Q6_K":
            values = scalar_q6_k(block)
        elif block_type.name in ("Q4_K", "Q5_K"):
            values = scalar_k(block_type.name, block)
        elif block_type.name == "F32":
            values = [F(struct.unpack("<f", block)[0])]
        elif block_type.name == "F16":
            values = [half(block, 0)]
        elif block_type.name == "BF16":
            values = [F(struct.unpack("<f", b"\0\0" + block)[0])]
        else:
            values = scalar_small(block_type.name, block)
    return np.array(values, np.float32)


@pytest.mark.parametrize("name", BY_NAME)
@given(data=st.data())
def test_decoder_equals_scalar_loop_bit_for_bit(name: str, data: st.DataObject) -> None:
    block_type = BY_NAME[name]
    count = data.draw(st.integers(1, 3))
    raw = data.draw(st.binary(min_size=count * block_type.num_bytes, max_size=count * block_type.num_bytes))
    blocks = [raw[i : i + block_type.num_bytes] for i in range(0, len(raw), block_type.num_bytes)]
    expected = np.concatenate([scalar(block_type, block) for block in blocks])
    np.testing.assert_array_equal(decode_blocks(raw, block_type), expected)


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q8_0"])
@given(seed=st.integers(0, 2**32 - 1))
def test_quantized_matrix_holds_the_same_values(name: str, seed: int) -> None:
    """QuantizedMatrix.dequantize multiplies in another order for none of the three, so bits agree."""
    block_type = BY_NAME[name]
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (6, block_type.num_bytes), dtype=np.uint8)
    fields = rng.standard_normal((6, 2)).astype("<f2").view(np.uint8).reshape(6, 4)
    blocks[:, : 4 if name == "Q4_1" else 2] = fields[:, : 4 if name == "Q4_1" else 2]
    matrix = quantized_matrix(blocks.tobytes(), block_type, (3, 64))
    assert matrix is not None
    assert matrix.bits == (8 if name == "Q8_0" else 4) and matrix.group == 32
    assert int(matrix.codes.max()) < 1 << matrix.bits
    assert (matrix.mins is not None) == (name == "Q4_1")
    expected = decode_blocks(blocks.tobytes(), block_type).reshape(3, 64)
    np.testing.assert_array_equal(matrix.dequantize(), expected)


def test_other_types_stay_floats() -> None:
    for name in set(BY_NAME) - {"Q4_0", "Q4_1", "Q8_0"}:
        assert quantized_matrix(b"", BY_NAME[name], (0, 256)) is None


def test_chunks_join_without_a_seam() -> None:
    """More than one internal chunk (2^20 values) decodes like one block after the other."""
    block_type = BY_NAME["Q8_0"]
    count = (1 << 20) // 32 + 3
    blocks = np.zeros((count, block_type.num_bytes), np.uint8)
    blocks[:, :2] = np.array([1.0], "<f2").view(np.uint8)
    blocks[:, 2] = np.arange(count) % 100
    decoded = decode_blocks(blocks.tobytes(), block_type).reshape(count, 32)
    np.testing.assert_array_equal(decoded[:, 0], np.arange(count) % 100)
