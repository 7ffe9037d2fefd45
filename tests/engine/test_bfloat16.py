"""Weights and activations in bfloat16: the same bits as NumPy's in every instruction set; a model on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instruction_sets import ISAS
from numpy.typing import NDArray

from adtrie import _core
from adtrie.engine import Engine
from adtrie.engine.reference import ReferenceForward, multiply_bfloat16, round_bfloat16
from adtrie.errors import InputError
from adtrie.models import Checkpoint

Case = tuple[NDArray[np.float32], NDArray[np.float32]]
SMALLEST = float(np.finfo(np.float32).smallest_normal)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Weights and activation rows at the edges of pairs, panels and tiles of rows."""
    num_outputs = draw(st.sampled_from([1, 2, 15, 16, 17, 33, 64, 65, 97]))
    num_inputs = draw(st.sampled_from([1, 2, 3, 7, 8, 31, 32, 33, 100]))
    rows = draw(st.integers(1, 9) | st.integers(10, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weights = rng.standard_normal((num_outputs, num_inputs)).astype(np.float32)
    x = rng.standard_normal((rows, num_inputs)).astype(np.float32)
    weights *= np.float32(draw(st.sampled_from([1.0, 0.02, 1e4])))
    x[rng.integers(rows)] = draw(st.sampled_from([0.0, 1.0, -3.5, 1e-20]))  # no sum below the normal range
    if draw(st.booleans()):
        x[:, 0] *= 1000  # one outlier
    return weights, x


@settings(max_examples=100)
@given(cases())
def test_every_instruction_set_gives_the_bits_of_the_reference(case: Case) -> None:
    weights, x = case
    linear = _core.Linear.bfloat16(weights)
    expected = multiply_bfloat16(weights, x)
    for isa in ISAS:
        y = linear.multiply(x, isa, "bfloat16")
        np.testing.assert_array_equal(y[:, : len(weights)], expected)
        assert (y[:, len(weights) :] == 0).all()


@settings(max_examples=40)
@given(cases())
def test_rows_do_not_depend_on_their_company(case: Case) -> None:
    weights, x = case
    linear = _core.Linear.bfloat16(weights)
    for isa in ISAS:
        together = linear.multiply(x, isa, "bfloat16")
        for r in range(len(x)):
            np.testing.assert_array_equal(linear.multiply(x[r : r + 1], isa, "bfloat16")[0], together[r])


@settings(max_examples=60)
@given(cases())
def test_the_reference_is_close_to_the_exact_product(case: Case) -> None:
    weights, x = (round_bfloat16(a).astype(np.float64) for a in case)
    bound = (x.shape[1] + 1) * 2.0**-24 * (np.abs(x) @ np.abs(weights).T)
    assert (np.abs(multiply_bfloat16(*case) - x @ weights.T) <= bound).all()


@settings(max_examples=300)
@given(st.floats(-(2.0**126), 2.0**126, width=32))
def test_the_nearest_bfloat16(value: float) -> None:
    rounded = float(round_bfloat16(np.array([value], np.float32))[0])
    if abs(value) < SMALLEST:
        assert rounded == 0
    else:
        step = 2.0 ** (np.frexp(value)[1] - 8)
        assert rounded % step == 0 and abs(rounded - value) <= step / 2
        assert abs(rounded - value) < step / 2 or rounded % (2 * step) == 0
    one = _core.Linear.bfloat16(np.ones((1, 1), np.float32))
    for isa in ISAS:
        assert one.multiply(np.array([[value]], np.float32), isa, "bfloat16")[0, 0] == rounded


def test_only_linears_in_bfloat16_take_it() -> None:
    x = np.ones((1, 4), np.float32)
    with pytest.raises(ValueError, match="bfloat16"):
        _core.Linear(x).multiply(x, "", "bfloat16")
    with pytest.raises(ValueError, match="activations"):
        _core.Linear.bfloat16(x).multiply(x, "", "int8")


def test_a_model_follows_the_reference_that_rounds_alike(llama: Checkpoint, isa: str) -> None:
    """An input near the middle of two bfloat16 may go the other way."""

    def tensor(name: str) -> Any:
        return llama.vector(name) if "norm" in name else round_bfloat16(llama.matrix(name))

    tokens = np.random.default_rng(1).integers(0, 288, 30).astype(np.int32)
    chain = np.arange(-1, 29, dtype=np.int32)
    errors = []
    logits = Engine(llama, weights="bfloat16", isa=isa).logits(tokens)
    for rounding in (round_bfloat16, None):
        reference = ReferenceForward(llama.spec, tensor, activations=rounding)
        expected = reference.logits(reference.forward(tokens, chain))
        errors.append(np.sqrt(np.mean((logits - expected) ** 2) / np.mean(expected**2)))
    assert errors[0] <= 1e-3 and errors[0] < errors[1] <= 2e-2
    floats = Engine(llama, weights="bfloat16", activations="float32", isa=isa).logits(tokens)
    np.testing.assert_allclose(floats, expected, atol=2e-5)


def test_activations_follow_the_weights(llama: Checkpoint) -> None:
    for weights, chosen in (("bfloat16",) * 2, ("float32",) * 2, ("int4", "int8"), ("auto", "int8")):
        assert Engine(llama, weights=weights).activations == chosen  # type: ignore[arg-type]
    assert Engine(llama, weights="bfloat16", activations="float32").activations == "float32"
    for weights in ("auto", "int8", "float32"):
        with pytest.raises(InputError, match="need weights bfloat16, got weights " + weights):
            Engine(llama, weights=weights, activations="bfloat16")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="auto, int8, bfloat16, float32, got 'fp8'"):
        Engine(llama, activations="fp8")  # type: ignore[arg-type]
