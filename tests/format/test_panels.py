"""The linear stream: packing permutes, byte for byte as documented; what disagrees is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.compress.sparsify import best_of_four
from adtrie.config import QuantizedMatrix
from adtrie.errors import FormatError, InputError
from adtrie.format.codes import CompressedLinear, dense_linear
from adtrie.format.panels import PackedLinear, pack, step_inputs, stream_bytes, unpack


@st.composite
def linears(draw: st.DrawFn) -> CompressedLinear:
    """Any mixture of patterns, any N, any K and group that the codes allow."""
    bits = draw(st.sampled_from([4, 4, 4, 8]))
    kept = draw(st.lists(st.sampled_from([1, 2, 4] if bits == 4 else [4]), min_size=1, max_size=4))
    num_inputs = draw(st.sampled_from([4, 8, 12, 32, 36, 64, 96, 100, 192, 256, 320]))
    if set(kept) == {4}:
        num_inputs -= draw(st.integers(0, 3))
    groups = [g for g in range(1, num_inputs + 1) if num_inputs % g == 0]
    num_outputs = 16 * len(kept) - draw(st.integers(0, 15))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = np.ones((num_outputs, num_inputs), bool)
    for panel, count in enumerate(kept):
        rows = slice(16 * panel, 16 * panel + 16)
        if count < 4:
            mask[rows] = best_of_four(random.random(mask[rows].shape).astype(np.float32), count)
    codes = np.where(mask, random.integers(0, 2**bits, mask.shape), 1 << (bits - 1)).astype(np.uint8)
    group = draw(st.sampled_from(groups))
    scales = random.normal(size=(num_outputs, num_inputs // group)).astype(np.float16)
    return CompressedLinear(QuantizedMatrix(codes, scales, None, bits, group), np.array(kept, np.uint8), mask)


@settings(max_examples=150, deadline=None)
@given(linears())
def test_packing_only_permutes(linear: CompressedLinear) -> None:
    packed = pack(linear)
    back = unpack(packed)
    assert packed.shape == back.shape == linear.shape
    assert (back.values.bits, back.values.group) == (linear.values.bits, linear.values.group)
    for one, other in [
        (back.values.codes, linear.values.codes),
        (back.values.scales, linear.values.scales),
        (back.mask, linear.mask),
        (back.kept, linear.kept),
    ]:
        assert np.array_equal(one, other) and one.dtype == other.dtype
    again = pack(back)
    assert np.array_equal(again.stream, packed.stream) and np.array_equal(again.scales, packed.scales)
    assert packed.offsets[-1] == len(packed.stream) and (packed.offsets % 64 == 0).all()


@settings(max_examples=60, deadline=None)
@given(linears(), st.integers(0, 2**32 - 1))
def test_every_weight_is_where_the_document_says(linear: CompressedLinear, seed: int) -> None:
    """One weight at a time, with the arithmetic of docs/design/format.md written out."""
    packed, random = pack(linear), np.random.default_rng(seed)
    for _ in range(20):
        row, column = int(random.integers(linear.shape[0])), int(random.integers(linear.shape[1]))
        panel, lane = divmod(row, 16)
        data = packed.stream[packed.offsets[panel] : packed.offsets[panel + 1]]
        kept, code = int(linear.kept[panel]), int(linear.values.codes[row, column])
        if kept == 4 and packed.bits == 8:
            assert data[column // 4 * 64 + lane * 4 + column % 4] == code
        elif kept == 4:
            byte = data[column // 8 * 64 + lane * 4 + column % 4]
            assert (byte >> (4 if column % 8 >= 4 else 0)) & 15 == code
        else:
            found = _survivor(data, lane, column // 4, kept)
            assert found.get(column % 4) == (code if linear.mask[row, column] else None)
        scale = packed.scales[panel, column // packed.group, lane]
        assert scale == linear.values.scales[row, column // packed.group]


def _survivor(data: np.ndarray, lane: int, block: int, kept: int) -> dict[int, int]:
    """Position -> code of the survivors of one block of four."""
    out = {}
    for number in range(block * kept, (block + 1) * kept):
        unit, rest = divmod(number, 16)
        step, slot = divmod(rest, 4)
        x, y, z = (int(data[unit * 192 + vector * 64 + lane * 4 + slot]) for vector in range(3))
        position = ((x, x >> 2, y, y >> 2)[step]) & 3
        out[position] = (x >> 4, z >> 4, y >> 4, z & 15)[step]
    return out


def test_bits_per_weight_of_the_stream() -> None:
    sizes = {(4, 4): 4.0, (4, 2): 3.0, (4, 1): 1.5, (8, 4): 8.0}
    for (bits, kept), per_weight in sizes.items():
        assert stream_bytes(576, bits, kept) * 8 == per_weight * 16 * 576
    assert [step_inputs(4, kept) for kept in (4, 2, 1)] == [8, 32, 64] and step_inputs(8, 4) == 4


def sample(**changes: Any) -> PackedLinear:
    codes = np.full((20, 64), 8, np.uint8)
    mask = np.ones((20, 64), bool)
    mask[:16] = np.arange(64) % 4 < 2
    scales = np.ones((20, 2), np.float16)
    kept = np.array([2, 4], np.uint8)
    packed = pack(CompressedLinear(QuantizedMatrix(codes, scales, None, 4, 32), kept, mask))
    fields = {name: getattr(packed, name) for name in PackedLinear.__dataclass_fields__}
    return PackedLinear(**(fields | changes))


def test_padding_decodes_to_zero() -> None:
    packed = sample()
    assert (packed.scales[1, :, 4:] == 0).all()
    assert (packed.stream[packed.offsets[1] :] == 0x88).all()


def test_what_disagrees_is_refused() -> None:
    sound = sample()
    bad_scales = sound.scales.copy()
    bad_scales[0, 0, 0] = np.inf
    for changes, message in [
        ({"num_outputs": 0}, "at least one output"),
        ({"num_outputs": 33}, "kept"),
        ({"num_inputs": 96}, "scales"),
        ({"num_inputs": 0}, "group"),
        ({"bits": 8}, "4-bit values"),
        ({"bits": 2}, "4 or 8 bits"),
        ({"group": 24}, "does not divide"),
        ({"kept": np.array([3, 4], np.uint8)}, "got 3"),
        ({"kept": np.array([0, 4], np.uint8)}, "got 0"),
        ({"kept": np.array([4, 4], np.uint8)}, "stream"),
        ({"kept": np.array([2, 4])}, "kept"),
        ({"stream": sound.stream[:-1]}, "stream"),
        ({"stream": sound.stream.astype(np.int8)}, "stream"),
        ({"scales": sound.scales.astype(np.float32)}, "scales"),
        ({"scales": bad_scales}, "NaN"),
    ]:
        with pytest.raises(InputError, match=message):
            sample(**changes)


def test_a_repeated_position_is_damage() -> None:
    stream = sample().stream.copy()
    stream[0] = 0x81  # slot 0 and slot 1 of the first block now both say position 1
    with pytest.raises(FormatError, match="repeats a position"):
        unpack(sample(stream=stream))


def test_three_of_four_has_no_stream() -> None:
    mask = np.arange(64) % 4 < 3
    codes = np.where(mask, 9, 8).astype(np.uint8)[None].repeat(2, 0)
    matrix = QuantizedMatrix(codes, np.ones((2, 2), np.float16), None, 4, 32)
    with pytest.raises(InputError, match="got 3"):
        pack(CompressedLinear(matrix, np.array([3], np.uint8), mask[None].repeat(2, 0)))


def test_a_dense_linear_of_odd_width() -> None:
    matrix = QuantizedMatrix(
        np.arange(21, dtype=np.uint8).reshape(3, 7), np.ones((3, 1), np.float16), None, 8, 7
    )
    packed = pack(dense_linear(matrix))
    assert packed.num_bytes == 128 + 32
    assert np.array_equal(unpack(packed).values.codes, matrix.codes)
