"""The calibration norm against sums over tokens; its factor against inverses; moments of trouble."""

from __future__ import annotations

import numpy as np
import pytest
from compress_layers import Layer, layers, make_layer
from hypothesis import given, settings

from adtrie.compress.hessian import Curvature, panel_errors
from adtrie.errors import InputError


def test_errors_are_those_of_the_outputs() -> None:
    random = np.random.default_rng(0)
    inputs, weights = random.normal(size=(50, 8)), random.normal(size=(20, 8)).astype(np.float32)
    values = np.round(weights)
    curvature = Curvature(inputs.T @ inputs)
    by_token = (np.square(inputs @ (weights - values).T.astype(float))).sum(axis=0)
    errors = curvature.row_errors(weights, values)
    np.testing.assert_allclose(errors, by_token, rtol=1e-6)
    np.testing.assert_allclose(panel_errors(errors), [errors[:16].sum(), errors[16:].sum()])
    energy = np.square(inputs @ weights.T.astype(float)).sum()
    np.testing.assert_allclose(curvature.relative_error(weights, values), by_token.sum() / energy, rtol=1e-6)
    assert panel_errors(np.zeros(0)).size == 0


@given(layers())
@settings(max_examples=40, deadline=None)
def test_factor_is_that_of_the_inverse(layer: Layer) -> None:
    _, curvature = layer
    for factor in (curvature.by_column, curvature.by_block):
        assert sorted(factor.order.tolist()) == list(range(curvature.num_inputs))
        ordered = curvature.damped.astype(np.float64)[np.ix_(factor.order, factor.order)]
        upper = factor.upper.astype(np.float64)
        assert np.array_equal(upper, np.triu(upper))
        np.testing.assert_allclose(upper @ ordered @ upper.T, np.eye(len(upper)), atol=2e-3)
    blocks = curvature.by_block.order.reshape(-1, 4)
    assert (blocks % 4 == np.arange(4)).all() and (np.diff(blocks, axis=1) == 1).all()


def test_importance_is_the_error_left_when_later_inputs_adapt() -> None:
    _, curvature = make_layer(1, 8, 3)
    factor, hessian = curvature.by_column, curvature.damped.astype(np.float64)
    for place, column in enumerate(factor.order):
        later = factor.order[place + 1 :]
        adapted = np.zeros(8)
        adapted[column] = 1.0
        if later.size:
            adapted[later] = -np.linalg.solve(hessian[np.ix_(later, later)], hessian[later, column])
        np.testing.assert_allclose(factor.importance[column], adapted @ hessian @ adapted, rtol=1e-4)


def test_no_calibration_at_all_is_the_plain_norm() -> None:
    curvature = Curvature(np.zeros((8, 8)))
    assert np.array_equal(curvature.damped, 0.01 * np.eye(8, dtype=np.float32))
    assert np.isfinite(curvature.by_column.upper).all()
    assert curvature.relative_error(np.ones((2, 8), np.float32), np.zeros((2, 8), np.float32)) == 0.0


@pytest.mark.parametrize(
    ("moments", "message"),
    [
        (np.full((4, 4), np.nan), "NaN"),
        (np.diag([1.0, np.inf, 1.0, 1.0]), "NaN"),
        (np.full((4, 4), 1e250), "beyond"),
        (np.zeros((4, 3)), r"\[K, K\]"),
        (np.zeros((0, 0)), r"\[K, K\]"),
        (np.triu(np.ones((4, 4))), "not those of any inputs"),
        (np.diag([1.0, -1.0, 1.0, 1.0]), "not those of any inputs"),
    ],
)
def test_moments_that_are_none(moments: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Curvature(moments)


def test_indefinite_moments_are_found_out() -> None:
    with pytest.raises(InputError, match="positive semidefinite"):
        _ = Curvature(np.array([[1.0, 2.0], [2.0, 1.0]])).by_column
    with pytest.raises(InputError, match="damping above 0"):
        Curvature(np.eye(4), damping=0.0)


def test_weights_are_checked() -> None:
    curvature = Curvature(np.eye(4))
    curvature.check_weights(np.zeros((1, 4), np.float32))
    for weights, message in [
        (np.full((1, 4), np.nan, np.float32), "NaN"),
        (np.full((1, 4), -np.inf, np.float32), "infinity"),
        (np.zeros((1, 5), np.float32), "calibration 4"),
        (np.zeros((0, 4), np.float32), "expected float32"),
        (np.zeros((1, 4)), "float64"),
        (np.zeros(4, np.float32), "expected float32"),
    ]:
        with pytest.raises(InputError, match=message):
            curvature.check_weights(weights)
