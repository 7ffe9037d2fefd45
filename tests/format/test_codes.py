"""Codes of a linear: counts of bits and survivors, panels mixed, everything unsound refused."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.compress.sparsify import best_of_four
from adtrie.config import QuantizedMatrix
from adtrie.errors import InputError
from adtrie.format.codes import (
    CompressedLinear,
    allowed_groups,
    dense_linear,
    mix_panels,
    num_panels,
    panel_bytes,
    pattern_bits,
    pattern_name,
)


def random_linear(num_outputs: int, num_inputs: int, kept: list[int], seed: int) -> CompressedLinear:
    random = np.random.default_rng(seed)
    mask = np.concatenate(
        [best_of_four(random.random((16, num_inputs)).astype(np.float32), n) for n in kept]
    )[:num_outputs]
    codes = np.where(mask, random.integers(0, 16, mask.shape), 8).astype(np.uint8)
    scales = random.normal(size=(num_outputs, num_inputs // 32)).astype(np.float16)
    return CompressedLinear(QuantizedMatrix(codes, scales, None, 4, 32), np.array(kept, np.uint8), mask)


panels = st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=3)


@given(panels, st.integers(0, 15), st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_survivors_and_scales_are_the_whole_linear(kept: list[int], missing: int, seed: int) -> None:
    linear = random_linear(16 * len(kept) - missing, 64, kept, seed)
    rebuilt = np.zeros(linear.shape, np.float32)
    stored_bits = 16 * linear.values.scales.size
    for panel, pattern in enumerate(kept):
        codes, positions = linear.survivors(panel)
        assert codes.shape == positions.shape == (min(16, linear.shape[0] - 16 * panel), 16 * pattern)
        for row, column in np.ndindex(codes.shape):
            at = column // pattern * 4 + int(positions[row, column])
            scale = np.float32(linear.values.scales[16 * panel + row, at // 32])
            rebuilt[16 * panel + row, at] = scale * np.float32(int(codes[row, column]) - 8)
        assert pattern == 1 or (np.diff(positions.reshape(-1, pattern).astype(int), axis=1) > 0).all()
        stored_bits += 4 * codes.size + {1: 2, 2: 4, 3: 2, 4: 0}[pattern] * codes.size // pattern
    assert np.array_equal(rebuilt, linear.dequantize())
    assert stored_bits == 8 * linear.num_bytes


def test_bits_per_weight() -> None:
    assert [pattern_bits(4, kept) for kept in (4, 3, 2, 1)] == [4, Fraction(7, 2), 3, Fraction(3, 2)]
    assert pattern_bits(8, 4) == 8
    two_of_four = random_linear(16, 64, [2], 0)
    assert two_of_four.bits_per_weight == 3.0 + 16 / 32
    # 30 % of values with 16-bit column indices, the paper's claim for both patterns.
    assert all(pattern_bits(4, kept) / Fraction(kept * 20, 4) == Fraction(3, 10) for kept in (1, 2))
    assert panel_bytes(1, 7, 4, 7, 4) == 4 + 2  # 28 bits are four bytes


@given(panels, st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_mixed_panels_are_those_of_their_solutions(kept: list[int], seed: int) -> None:
    size = 16 * len(kept) - 3
    solutions = {n: random_linear(size, 64, [n] * len(kept), seed + n) for n in (1, 2, 3, 4)}
    mixed = mix_panels(solutions, np.array(kept, np.uint8))
    for panel, pattern in enumerate(kept):
        rows = slice(16 * panel, 16 * panel + 16)
        assert np.array_equal(mixed.dequantize()[rows], solutions[pattern].dequantize()[rows])
        assert np.array_equal(mixed.mask[rows], solutions[pattern].mask[rows])


def test_mixing_needs_solutions_of_one_kind() -> None:
    linear = random_linear(16, 64, [2], 0)
    with pytest.raises(InputError, match="patterns"):
        mix_panels({2: linear}, np.array([1], np.uint8))
    with pytest.raises(InputError, match="one shape"):
        mix_panels({2: linear, 4: random_linear(16, 32, [4], 0)}, np.array([2], np.uint8))


@pytest.mark.parametrize(
    ("num_inputs", "kept", "groups"),
    [
        (576, 4, (32, 64, 96, 192, 576)),
        (1536, 4, (32, 64, 96, 128, 192, 256, 1536)),
        (1536, 2, (32, 64, 96, 128, 192, 256, 1536)),
        (576, 1, (64, 192, 576)),
        (896, 2, (32, 64, 128, 896)),
        (100, 4, (100,)),
        (100, 2, ()),
        (7, 4, (7,)),
    ],
)
def test_groups_divide_the_width(num_inputs: int, kept: int, groups: tuple[int, ...]) -> None:
    assert allowed_groups(num_inputs, kept) == groups


def broken(**changes: Any) -> CompressedLinear:
    linear = random_linear(20, 64, [2, 4], 0)
    values = {
        "codes": linear.values.codes,
        "scales": linear.values.scales,
        "mins": None,
        "bits": 4,
        "group": 32,
    }
    fields = {"kept": linear.kept, "mask": linear.mask}
    values |= {name: value for name, value in changes.items() if name in values}
    fields |= {name: value for name, value in changes.items() if name in fields}
    return CompressedLinear(QuantizedMatrix(**values), **fields)


def test_what_disagrees_is_refused() -> None:
    sound = broken()
    mask = sound.mask.copy()
    mask[0, :4] = True
    codes = sound.values.codes.copy()
    codes[~sound.mask] = 9
    scales = sound.values.scales.copy()
    scales[0, 0] = np.nan
    for changes, message in [
        ({"mask": mask}, "without 2 survivors"),
        ({"codes": codes}, "pruned input has a code"),
        ({"scales": scales}, "NaN"),
        ({"scales": scales[:, :1]}, "expected scales"),
        ({"mins": scales}, "without mins"),
        ({"kept": np.array([2], np.uint8)}, "panels"),
        ({"kept": np.array([2, 5], np.uint8)}, "expected 1, 2, 3 or 4"),
        ({"mask": sound.mask[1:]}, "mask"),
        ({"group": 24}, "does not divide"),
        ({"bits": 3}, "4 or 8 bits"),
        ({"bits": 8}, "4-bit values"),
    ]:
        with pytest.raises(InputError, match=message):
            broken(**changes)


def test_dense_codes_of_any_width() -> None:
    matrix = QuantizedMatrix(np.full((3, 7), 200, np.uint8), np.ones((3, 1), np.float16), None, 8, 7)
    linear = dense_linear(matrix)
    assert linear.kept.tolist() == [4] and linear.num_bytes == 21 + 6
    assert np.array_equal(linear.dequantize(), np.full((3, 7), 72, np.float32))
    assert num_panels(0) == 0 and [pattern_name(n) for n in (4, 2)] == ["dense", "2:4"]
