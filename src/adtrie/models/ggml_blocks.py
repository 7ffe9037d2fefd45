"""Vectorised decoding of GGML block formats to float32 or, where lossless, to `QuantizedMatrix`.

Knows bytes of whole blocks only: no file, no tensor names. Layouts follow the public GGUF description; all
multi-byte fields are little-endian. `m`, `d` below are the float16 fields of a block.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adtrie.config import QuantizedMatrix

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class BlockType:
    """One GGML tensor type: `elements` values are stored in `num_bytes` bytes."""

    name: str
    elements: int
    num_bytes: int
    decode: Callable[[Bytes], Floats]  # uint8[B, num_bytes] -> float32[B, elements]

    def size_of(self, shape: tuple[int, ...]) -> int:
        """Bytes of a tensor of `shape`, which is a whole number of blocks."""
        return math.prod(shape) // self.elements * self.num_bytes


def _half(blocks: Bytes, start: int) -> Floats:
    """The float16 field at byte `start` of each block, as float32[B, 1]."""
    return np.ascontiguousarray(blocks[:, start : start + 2]).view("<f2").astype(np.float32)


def _nibbles(packed: Bytes) -> NDArray[np.uint8]:
    """uint8[B, 2n] of values < 16: all low nibbles of the n bytes, then all high nibbles."""
    return np.concatenate([packed & 15, packed >> 4], axis=1)


def _fifth_bits(blocks: Bytes, start: int) -> NDArray[np.uint8]:
    """uint8[B, 32] with 16 where the bit of that element is set in the 32-bit field at `start`."""
    bits = np.unpackbits(blocks[:, start : start + 4], axis=1, bitorder="little")
    return np.left_shift(bits, 4, dtype=np.uint8)


def _decode_f32(blocks: Bytes) -> Floats:
    return np.ascontiguousarray(blocks).view("<f4").astype(np.float32)


def _decode_f16(blocks: Bytes) -> Floats:
    return np.ascontiguousarray(blocks).view("<f2").astype(np.float32)


def _decode_bf16(blocks: Bytes) -> Floats:
    return (np.ascontiguousarray(blocks).view("<u2").astype(np.uint32) << 16).view(np.float32)


def _decode_q4_0(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * (_nibbles(blocks[:, 2:]).astype(np.float32) - 8)


def _decode_q4_1(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * _nibbles(blocks[:, 4:]).astype(np.float32) + _half(blocks, 2)


def _decode_q5_0(blocks: Bytes) -> Floats:
    codes = _nibbles(blocks[:, 6:]) | _fifth_bits(blocks, 2)
    return _half(blocks, 0) * (codes.astype(np.float32) - 16)


def _decode_q5_1(blocks: Bytes) -> Floats:
    codes = _nibbles(blocks[:, 8:]) | _fifth_bits(blocks, 4)
    return _half(blocks, 0) * codes.astype(np.float32) + _half(blocks, 2)


def _decode_q8_0(blocks: Bytes) -> Floats:
    return _half(blocks, 0) * np.ascontiguousarray(blocks[:, 2:]).view(np.int8).astype(np.float32)


def _scales_and_mins(packed: Bytes) -> tuple[Floats, Floats]:
    """6-bit scales and minima float32[B, 8] of the eight sub-blocks, from the 12 bytes of a K block.

    Sub-blocks 0-3 keep their six bits in bytes 0-3 (scale) and 4-7 (min); of 4-7 the low four bits lie in
    bytes 8-11 (scale low nibble, min high nibble) and the top two bits in the top bits of bytes 0-7.
    """
    first, second, third = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([first & 63, (third & 15) | ((first >> 6) << 4)], axis=1)
    mins = np.concatenate([second & 63, (third >> 4) | ((second >> 6) << 4)], axis=1)
    return scales.astype(np.float32), mins.astype(np.float32)


def _k_codes(packed: Bytes) -> NDArray[np.uint8]:
    """uint8[B, 8, 32]: each 32-byte chunk holds two sub-blocks, low nibbles then high nibbles."""
    chunks = packed.reshape(-1, 4, 32)
    return np.stack([chunks & 15, chunks >> 4], axis=2).reshape(-1, 8, 32)


def _k_values(blocks: Bytes, codes: NDArray[np.uint8]) -> Floats:
    scales, mins = _scales_and_mins(blocks[:, 4:16])
    scales, mins = _half(blocks, 0) * scales, _half(blocks, 2) * mins
    return (scales[:, :, None] * codes.astype(np.float32) - mins[:, :, None]).reshape(-1, 256)


def _decode_q4_k(blocks: Bytes) -> Floats:
    return _k_values(blocks, _k_codes(blocks[:, 16:144]))


def _decode_q5_k(blocks: Bytes) -> Floats:
    # Bit s of high byte l is the fifth bit of element l of sub-block s.
    shifts = np.arange(8, dtype=np.uint8)[None, :, None]
    fifth = np.left_shift((blocks[:, None, 16:48] >> shifts) & 1, 4, dtype=np.uint8)
    return _k_values(blocks, _k_codes(blocks[:, 48:176]) | fifth)


def _decode_q6_k(blocks: Bytes) -> Floats:
    # Two halves of 128 elements, each 64 bytes of low nibbles and 32 bytes of 2-bit tops for 4 runs of 32.
    low = blocks[:, :128].reshape(-1, 2, 2, 32)
    low_runs = np.concatenate([low & 15, low >> 4], axis=2)
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8)[None, None, :, None]
    tops = (blocks[:, 128:192].reshape(-1, 2, 1, 32) >> shifts) & 3
    codes = (low_runs | (tops << 4)).reshape(-1, 16, 16).astype(np.float32) - 32
    steps = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).astype(np.float32) * _half(blocks, 208)
    values: Floats = steps[:, :, None] * codes
    return values.reshape(-1, 256)


BLOCK_TYPES: dict[int, BlockType] = {
    0: BlockType("F32", 1, 4, _decode_f32),
    1: BlockType("F16", 1, 2, _decode_f16),
    2: BlockType("Q4_0", 32, 18, _decode_q4_0),
    3: BlockType("Q4_1", 32, 20, _decode_q4_1),
    6: BlockType("Q5_0", 32, 22, _decode_q5_0),
    7: BlockType("Q5_1", 32, 24, _decode_q5_1),
    8: BlockType("Q8_0", 32, 34, _decode_q8_0),
    12: BlockType("Q4_K", 256, 144, _decode_q4_k),
    13: BlockType("Q5_K", 256, 176, _decode_q5_k),
    14: BlockType("Q6_K", 256, 210, _decode_q6_k),
    30: BlockType("BF16", 1, 2, _decode_bf16),
}

_CHUNK_ELEMENTS = 1 << 20  # decoding temporaries stay below a few tens of MB whatever the tensor size


def decode_blocks(data: bytes, block_type: BlockType) -> Floats:
    """float32[n] of all values of `data`, a whole number of blocks of `block_type`."""
    blocks = np.frombuffer(data, np.uint8).reshape(-1, block_type.num_bytes)
    values = np.empty((blocks.shape[0], block_type.elements), np.float32)
    step = max(_CHUNK_ELEMENTS // block_type.elements, 1)
    with np.errstate(invalid="ignore", over="ignore"):  # non-finite scales are the caller's to refuse
        for start in range(0, blocks.shape[0], step):
            values[start : start + step] = block_type.decode(blocks[start : start + step])
    return values.reshape(-1)


def quantized_matrix(data: bytes, block_type: BlockType, shape: tuple[int, int]) -> QuantizedMatrix | None:
    """The same values as codes and scales without loss (Q4_0, Q4_1, Q8_0), else None.

    `shape` is (N, K) with K a multiple of 32. Q8_0 codes are shifted by 128 to be unsigned.
    """
    num_rows, num_cols = shape
    blocks = np.frombuffer(data, np.uint8).reshape(-1, block_type.num_bytes)
    mins: NDArray[np.float16] | None = None
    if block_type.name == "Q4_0":
        bits, codes = 4, _nibbles(blocks[:, 2:])
    elif block_type.name == "Q4_1":
        bits, codes = 4, _nibbles(blocks[:, 4:])
        mins = _half_fields(blocks, 2).reshape(num_rows, num_cols // 32)
    elif block_type.name == "Q8_0":
        bits, codes = (
            8,
            np.bitwise_xor(blocks[:, 2:], 128, dtype=np.uint8),
        )  # two's complement to offset binary
    else:
        return None
    scales = _half_fields(blocks, 0).reshape(num_rows, num_cols // 32)
    return QuantizedMatrix(codes.reshape(num_rows, num_cols), scales, mins, bits, 32)


def _half_fields(blocks: Bytes, start: int) -> NDArray[np.float16]:
    return np.ascontiguousarray(blocks[:, start : start + 2]).view("<f2").astype(np.float16).reshape(-1)
