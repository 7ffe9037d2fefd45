"""Packed linears and kernels of every instruction set against NumPy: integers exact, floats to rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instruction_sets import ISAS
from numpy.typing import NDArray

from adtrie import _core
from adtrie.config import QuantizedMatrix
from adtrie.engine.weights import round_to_nearest

Case = tuple[QuantizedMatrix, NDArray[np.float32]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A quantized matrix (4 or 8 bits, with or without minimum) and activation rows; sizes at lane edges."""
    bits, with_mins = draw(st.sampled_from([4, 8])), draw(st.booleans())
    group = draw(st.sampled_from([32, 64, 96, 128, 192, 256]))
    num_cols = group * draw(st.integers(1, 3))
    num_rows = draw(st.sampled_from([1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 97]))
    num_inputs = draw(st.integers(1, 14))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    codes = rng.integers(0, 2**bits, (num_rows, num_cols), dtype=np.uint8)
    if draw(st.booleans()):
        codes[:] = rng.choice([0, 2**bits - 1], codes.shape)  # extremes: where 16-bit sums would overflow
    shape = (num_rows, num_cols // group)
    scales = (rng.standard_normal(shape) * 0.02).astype(np.float16)
    mins = (rng.standard_normal(shape) * 0.1).astype(np.float16) if with_mins else None
    x = rng.standard_normal((num_inputs, num_cols)).astype(np.float32)
    if draw(st.booleans()):
        x[:, 0] *= 1000  # one outlier
    x[rng.integers(num_inputs)] = draw(st.sampled_from([0.0, 1.0, -3.5, 1e-30]))
    return QuantizedMatrix(codes, scales, mins, bits, group), x


def packed(matrix: QuantizedMatrix) -> _core.Linear:
    mins = None if matrix.mins is None else matrix.mins.view(np.uint16)
    return _core.Linear(matrix.codes, matrix.scales.view(np.uint16), mins, matrix.bits, matrix.group)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_packing_only_permutes(case: Case) -> None:
    matrix, _ = case
    linear = packed(matrix)
    assert (linear.codes() == matrix.codes).all()
    values = matrix.dequantize()
    for row in (0, matrix.shape[0] - 1):
        np.testing.assert_array_equal(linear.row(row), values[row])


def term_sizes(matrix: QuantizedMatrix, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum of the absolute terms of each output [T, N]: what rounding errors are relative to."""
    zero = 0 if matrix.mins is not None else 1 << (matrix.bits - 1)
    scales = np.repeat(np.abs(matrix.scales.astype(np.float64)), matrix.group, axis=1)
    terms = scales * (matrix.codes + zero)
    if matrix.mins is not None:
        terms += np.repeat(np.abs(matrix.mins.astype(np.float64)), matrix.group, axis=1)
    return np.abs(x).astype(np.float64) @ terms.T


@settings(max_examples=60, deadline=None)
@given(cases())
def test_float_activations(case: Case) -> None:
    matrix, x = case
    exact = x.astype(np.float64) @ matrix.dequantize().astype(np.float64).T
    bound = (matrix.shape[1] + 4) * 2.0**-24 * term_sizes(matrix, x) + 1e-12  # one rounding a term
    for isa in ISAS:
        y = packed(matrix).multiply(x, isa)
        assert (np.abs(y[:, : exact.shape[1]] - exact) <= bound).all()
        assert (y[:, exact.shape[1] :] == 0).all()
        plain = _core.Linear(matrix.dequantize()).multiply(x, isa)
        assert (np.abs(plain[:, : exact.shape[1]] - exact) <= bound).all()


@settings(max_examples=60, deadline=None)
@given(cases())
def test_int8_activations_agree_bit_for_bit(case: Case) -> None:
    """Same integers and the same order of float operations in every table, so results are equal."""
    matrix, x = case
    codes, scales, sums = _core.quantize_rows(x, "scalar")
    blocks = codes.reshape(len(x), -1, 32).astype(np.int64)
    assert (blocks.sum(axis=2) == sums).all()
    peak = np.abs(x).reshape(len(x), -1, 32).max(axis=2)
    np.testing.assert_allclose(scales, peak / 127, rtol=1e-6)
    restored = (blocks * scales[:, :, None]).reshape(x.shape)
    assert (np.abs(restored - x) <= np.repeat(scales, 32, axis=1) * 0.501).all()
    exact = restored.astype(np.float64) @ matrix.dequantize().astype(np.float64).T
    bound = (matrix.shape[1] // 32 + 4) * 2.0**-23 * term_sizes(matrix, restored) + 1e-12
    outputs = []
    for isa in ISAS:
        assert all(
            (a == b).all() for a, b in zip(_core.quantize_rows(x, isa), (codes, scales, sums), strict=True)
        )
        y = packed(matrix).multiply_int8(codes, scales, sums, isa)
        assert (np.abs(y[:, : exact.shape[1]] - exact) <= bound).all()
        outputs.append(y)
    for y in outputs[1:]:
        np.testing.assert_array_equal(y, outputs[0])


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(1, 14), st.integers(0, 3), st.booleans())
def test_no_way_of_multiplying_changes_a_bit(case: Case, panels: int, ahead: int, near: bool) -> None:
    matrix, x = case
    many = np.resize(x, (len(x) * 13, x.shape[1]))  # more rows than are held at once
    for rows in (x, many):
        codes, scales, sums = _core.quantize_rows(np.ascontiguousarray(rows), "")
        for isa in ISAS[1:]:
            plain = packed(matrix).multiply_int8(codes, scales, sums, isa)
            for widen in (False, True):
                y = packed(matrix).multiply_int8(codes, scales, sums, isa, widen, panels, ahead, near)
                np.testing.assert_array_equal(y, plain)


@settings(max_examples=30, deadline=None)
@given(cases())
def test_rows_do_not_depend_on_their_company(case: Case) -> None:
    matrix, x = case
    linear = packed(matrix)
    codes, scales, sums = _core.quantize_rows(x, ISAS[-1])
    for isa in ISAS:
        together = linear.multiply_int8(codes, scales, sums, isa)
        floats = linear.multiply(x, isa)
        for r in range(len(x)):
            alone = linear.multiply_int8(codes[r : r + 1], scales[r : r + 1], sums[r : r + 1], isa)
            np.testing.assert_array_equal(alone[0], together[r])
            np.testing.assert_array_equal(linear.multiply(x[r : r + 1], isa)[0], floats[r])


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([4, 8]), st.sampled_from([32, 64]), st.integers(0, 2**32 - 1))
def test_round_to_nearest_is_within_half_a_step(bits: int, group: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal((5, 3 * group)) * rng.choice([1e-9, 1e-3, 1.0, 100.0])).astype(np.float32)
    values[0] = 0
    matrix = round_to_nearest(values, bits, group)
    step = np.repeat(matrix.scales.astype(np.float32), group, axis=1)
    error = np.abs(matrix.dequantize() - values)
    # a float16 scale is off by up to 2**-11 of itself, and 0 below 2**-24: then the values are lost, but tiny
    half = (1 << (bits - 1)) - 1
    assert (error <= step * (0.5 + half * 2.0**-10) + half * 2.0**-24).all()


def test_wrong_shapes_are_refused() -> None:
    codes, scales = np.zeros((16, 64), np.uint8), np.zeros((16, 2), np.uint16)
    with pytest.raises(ValueError, match="scales"):
        _core.Linear(codes, scales[:, :1].copy(), None, 4, 32)
    with pytest.raises(ValueError, match="group"):
        _core.Linear(codes, scales, None, 4, 48)
    with pytest.raises(ValueError, match="15"):
        _core.Linear(codes + np.uint8(16), scales, None, 4, 32)
    with pytest.raises(ValueError, match="instruction set"):
        _core.isa("mmx")
