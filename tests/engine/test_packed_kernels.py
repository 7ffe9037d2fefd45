"""Kernels on the linear stream against NumPy: every pattern, mixture, group and number of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compressed_linears import native, random_linear
from hypothesis import given, settings
from hypothesis import strategies as st
from instruction_sets import ISAS

from adtrie import _core
from adtrie.config import QuantizedMatrix
from adtrie.engine.reference import block_dots, multiply_int8
from adtrie.format.codes import CompressedLinear
from adtrie.format.panels import pack

GROUPS = (32, 64, 96, 128, 192, 256)


@st.composite
def linears(draw: st.DrawFn) -> CompressedLinear:
    """Mixtures per panel, every group size (`whole row` for the last), N at the edges of panels."""
    bits = draw(st.sampled_from([4, 4, 4, 8]))
    kept = draw(st.lists(st.sampled_from([1, 2, 4] if bits == 4 else [4]), min_size=1, max_size=9))
    group = draw(st.sampled_from([*GROUPS, 0]))
    num_inputs = group * draw(st.integers(1, 3)) if group else draw(st.sampled_from([32, 96, 576]))
    num_outputs = 16 * len(kept) - draw(st.sampled_from([0, 1, 15]))
    seed = draw(st.integers(0, 2**16))
    return random_linear(kept, num_outputs, num_inputs, group or num_inputs, bits, seed)


def activations(rows: int, num_inputs: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes over the whole range with the extremes in it, steps and sums."""
    random = np.random.default_rng(seed)
    codes = random.integers(-127, 128, (rows, num_inputs)).astype(np.int8)
    codes[random.random(codes.shape) < 0.3] = random.choice([-127, 127])
    steps = random.random((rows, num_inputs // 32)).astype(np.float32)
    return codes, steps, codes.reshape(rows, -1, 32).sum(axis=2, dtype=np.int32)


@settings(max_examples=60, deadline=None)
@given(linears(), st.integers(0, 2**16))
def test_integers_are_those_of_numpy(linear: CompressedLinear, seed: int) -> None:
    """With unit scales and one block switched on per row, the output is the integer sum of that block."""
    num_outputs, num_inputs = linear.shape
    ones = np.ones_like(linear.values.scales)
    unit = QuantizedMatrix(linear.values.codes, ones, None, linear.values.bits, linear.values.group)
    blocks = num_inputs // 32
    codes, _, sums = activations(blocks, num_inputs, seed)
    dots = block_dots(unit, codes)[np.arange(blocks), :, np.arange(blocks)]
    weights = native(pack(CompressedLinear(unit, linear.kept, linear.mask)))
    for isa in ISAS:
        y = weights.multiply_int8(codes, np.eye(blocks, dtype=np.float32), sums, isa)
        np.testing.assert_array_equal(y[:, :num_outputs], dots)


@settings(max_examples=60, deadline=None)
@given(linears(), st.integers(1, 40), st.integers(0, 2**16))
def test_products_agree_bit_for_bit(linear: CompressedLinear, rows: int, seed: int) -> None:
    """Across instruction sets, with NumPy to rounding, and a row alone with the row in company."""
    codes, steps, sums = activations(rows, linear.shape[1], seed)
    expected = multiply_int8(linear.values, codes, steps)
    magnitudes = QuantizedMatrix(
        linear.values.codes, np.abs(linear.values.scales), None, linear.values.bits, linear.values.group
    )
    terms = (
        np.abs(codes).astype(np.float64) * np.repeat(steps, 32, axis=1) @ np.abs(magnitudes.dequantize()).T
    )
    weights = native(pack(linear))
    outputs = [weights.multiply_int8(codes, steps, sums, isa) for isa in ISAS]
    bound = (linear.shape[1] // 32 + 4) * 2.0**-23 * terms + 1e-12
    assert (np.abs(outputs[0][:, : linear.shape[0]] - expected) <= bound).all()
    assert (outputs[0][:, linear.shape[0] :] == 0).all()
    chosen = seed % rows
    alone = slice(chosen, chosen + 1)
    for isa, y in zip(ISAS, outputs, strict=True):
        np.testing.assert_array_equal(y, outputs[0])
        single = weights.multiply_int8(codes[alone], steps[alone], sums[alone], isa)
        np.testing.assert_array_equal(single[0], y[chosen])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([1, 2, 4]), min_size=1, max_size=4),
    st.sampled_from([4, 12, 36, 64, 100, 192]),
    st.integers(1, 9),
    st.integers(0, 2**16),
    st.data(),
)
def test_float_activations_take_any_width_and_group(
    kept: list[int], num_inputs: int, rows: int, seed: int, data: st.DataObject
) -> None:
    group = data.draw(st.sampled_from([g for g in range(1, num_inputs + 1) if num_inputs % g == 0]))
    linear = random_linear(kept, 16 * len(kept) - seed % 16, num_inputs, group, 4, seed)
    x = np.random.default_rng(seed).normal(size=(rows, num_inputs)).astype(np.float32)
    values = linear.dequantize().astype(np.float64)
    bound = (num_inputs + 4) * 2.0**-24 * (np.abs(x).astype(np.float64) @ np.abs(values).T) + 1e-12
    weights = native(pack(linear))
    for isa in ISAS:
        y = weights.multiply(x, isa)
        assert (np.abs(y[:, : linear.shape[0]] - x @ values.T) <= bound).all()
        np.testing.assert_array_equal(weights.multiply(x[-1:], isa)[0], y[-1])


@pytest.mark.parametrize("kept", [[4], [2], [1], [2, 4, 1]])
def test_codes_and_rows_come_back(kept: list[int]) -> None:
    linear = random_linear(kept, 16 * len(kept) - 3, 96, 32, seed=1)
    weights = native(pack(linear))
    np.testing.assert_array_equal(weights.codes(), linear.values.codes)
    for row in range(linear.shape[0]):
        np.testing.assert_array_equal(weights.row(row), linear.dequantize()[row])


def test_unaligned_and_read_only_memory() -> None:
    packed = pack(random_linear([2, 4, 1], 48, 128, 64))
    raw = np.zeros(len(packed.stream) + 129, np.uint8)
    start = 65 - raw.ctypes.data % 64
    raw[start : start + len(packed.stream)] = packed.stream
    raw.flags.writeable = False
    shifted = raw[start : start + len(packed.stream)]
    odd = np.zeros(packed.scales.nbytes + 1, np.uint8)[1:].view(np.uint16).reshape(packed.scales.shape)
    odd[:] = packed.scales.view(np.uint16)
    codes, steps, sums = activations(3, 128, 0)
    expected = native(packed).multiply_int8(codes, steps, sums, ISAS[-1])
    moved = _core.Linear(shifted, odd, packed.kept, 4, 64, 48, 128)
    del raw, shifted, odd
    np.testing.assert_array_equal(moved.multiply_int8(codes, steps, sums, ISAS[-1]), expected)


def arguments(**changes: Any) -> dict[str, Any]:
    packed = pack(random_linear([2, 4], 20, 64, 32))
    fields = {
        "stream": packed.stream,
        "scales": packed.scales.view(np.uint16),
        "kept": packed.kept,
        "bits": 4,
        "group": 32,
        "num_outputs": 20,
        "num_inputs": 64,
    }
    return fields | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stream": np.zeros(895, np.uint8)}, "stream"),
        ({"stream": np.zeros(0, np.uint8)}, "stream"),
        ({"scales": np.zeros((2, 1, 16), np.uint16)}, "scales"),
        ({"scales": np.zeros((2, 2, 8), np.uint16)}, "scales"),
        ({"kept": np.array([2], np.uint8)}, "kept"),
        ({"kept": np.array([3, 4], np.uint8)}, "kept"),
        ({"kept": np.array([0, 255], np.uint8)}, "kept"),
        ({"kept": np.array([1, 4], np.uint8)}, "stream"),
        ({"bits": 8}, "kept"),
        ({"bits": 5}, "bits"),
        ({"group": 0}, "group"),
        ({"group": -32}, "group"),
        ({"group": 48}, "group"),
        ({"num_outputs": 0}, "outputs"),
        ({"num_outputs": 33}, "kept"),
        ({"num_outputs": 2**31 - 1}, "outputs"),
        ({"num_inputs": 0}, "outputs and inputs"),
        ({"num_inputs": 62, "group": 31}, "four"),
        ({"num_inputs": 2**31 - 64}, "outputs and inputs"),
    ],
)
def test_malformed_arguments_raise(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _core.Linear(**arguments(**changes))


def test_int8_activations_need_whole_blocks() -> None:
    weights = native(pack(random_linear([4], 16, 48, 24)))
    codes = np.zeros((1, 48), np.int8)
    with pytest.raises(ValueError, match="32"):
        weights.multiply_int8(codes, np.zeros((1, 1), np.float32), np.zeros((1, 1), np.int32), ISAS[-1])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 50), st.integers(1, 70), st.integers(1, 14), st.integers(0, 2**16))
def test_bfloat16(num_outputs: int, num_inputs: int, rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=(num_outputs, num_inputs)).astype(np.float32)
    weights = _core.Linear.bfloat16(values)
    kept = np.stack([weights.row(n) for n in range(num_outputs)])
    assert (kept.view(np.uint32) & 0xFFFF == 0).all()
    assert (np.abs(kept - values) <= 2.0**-8 * np.abs(values)).all()
    np.testing.assert_array_equal(
        np.stack([_core.Linear.bfloat16(kept).row(n) for n in range(num_outputs)]), kept
    )
    x = random.normal(size=(rows, num_inputs)).astype(np.float32)
    exact = x.astype(np.float64) @ kept.astype(np.float64).T
    bound = (num_inputs + 2) * 2.0**-24 * (np.abs(x).astype(np.float64) @ np.abs(kept).astype(np.float64).T)
    for isa in ISAS:
        y = weights.multiply(x, isa)
        assert (np.abs(y[:, :num_outputs] - exact) <= bound + 1e-12).all()
        assert (y[:, num_outputs:] == 0).all()
        np.testing.assert_array_equal(weights.multiply(x[:1], isa)[0], y[0])
