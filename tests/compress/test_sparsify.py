"""Survivors and their values against enumeration and exact solves."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from compress_layers import Layer, damped_errors, layers, make_layer
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.compress.hessian import Curvature
from adtrie.compress.quantize import Grid
from adtrie.compress.sparsify import (
    best_of_four,
    exchange,
    joint_sweep,
    least_squares,
    magnitude_scores,
    prune,
    sparsegpt,
    wanda_scores,
)
from adtrie.errors import InputError

patterns = st.sampled_from([1, 2, 3])


def survivors(mask: np.ndarray) -> set[int]:
    return set(mask.reshape(mask.shape[0], -1, 4).sum(axis=2).ravel().tolist())


def exact_values(weights: np.ndarray, mask: np.ndarray, curvature: Curvature) -> np.ndarray:
    hessian, values = curvature.damped.astype(np.float64), np.zeros(weights.shape)
    for row, kept in enumerate(mask):
        right = hessian[kept] @ weights[row].astype(float)
        values[row, kept] = np.linalg.solve(hessian[np.ix_(kept, kept)], right)
    return values.astype(np.float32)


@given(layers(), patterns)
@settings(max_examples=40, deadline=None)
def test_exactly_n_of_four_survive(layer: Layer, kept: int) -> None:
    weights, curvature = layer
    found = {
        "magnitude": best_of_four(magnitude_scores(weights), kept),
        "wanda": best_of_four(wanda_scores(weights, curvature), kept),
    }
    values, found["sparsegpt"] = sparsegpt(weights, curvature, kept)
    assert not values[~found["sparsegpt"]].any()
    matrix, found["joint"] = joint_sweep(weights, curvature, kept, Grid(4, curvature.num_inputs))
    assert not matrix.dequantize()[~found["joint"]].any()
    pruned = prune(weights, curvature, kept)
    found["prune"] = pruned.mask
    assert not pruned.values[~pruned.mask].any() and np.isfinite(pruned.values).all()
    assert all(survivors(mask) == {kept} for mask in found.values())


@given(st.lists(st.integers(-2, 2), min_size=4, max_size=4), patterns)
def test_the_highest_scores_survive(scores: list[int], kept: int) -> None:
    mask = best_of_four(np.array([scores], np.float32), kept)[0]
    assert np.array(scores)[mask].sum() == max(sum(c) for c in combinations(scores, kept))


def test_all_kept_is_the_matrix_itself() -> None:
    weights, curvature = make_layer(2, 7, 0)
    pruned = prune(weights, curvature, 4)
    assert np.array_equal(pruned.values, weights) and pruned.mask.all()
    with pytest.raises(InputError, match="whole blocks"):
        prune(weights, curvature, 2)
    with pytest.raises(InputError, match="expected 1, 2, 3 or 4"):
        prune(weights, curvature, 0)


@given(layers(), patterns)
@settings(max_examples=30, deadline=None)
def test_least_squares_is_the_exact_solve(layer: Layer, kept: int) -> None:
    weights, curvature = layer
    mask = best_of_four(np.random.default_rng(0).random(weights.shape).astype(np.float32), kept)
    values = least_squares(weights, mask, curvature)
    assert not values[~mask].any()
    found, least = (
        damped_errors(weights, v, curvature) for v in (values, exact_values(weights, mask, curvature))
    )
    scale = damped_errors(weights, np.zeros_like(weights), curvature)
    assert (found <= 1.02 * least + 1e-4 * scale).all()


@given(st.integers(0, 300), patterns)
@settings(max_examples=60, deadline=None)
def test_one_block_gets_its_best_survivors(seed: int, kept: int) -> None:
    """With four inputs the answer is known: try every subset, solve each exactly."""
    weights, curvature = make_layer(8, 4, seed)
    pruned = prune(weights, curvature, kept)
    found = damped_errors(weights, pruned.values, curvature)
    tried = []
    for subset in combinations(range(4), kept):
        mask = np.zeros(weights.shape, bool)
        mask[:, subset] = True
        tried.append(damped_errors(weights, exact_values(weights, mask, curvature), curvature))
    np.testing.assert_allclose(found, np.min(tried, axis=0), rtol=1e-3, atol=1e-9)


@given(layers(widths=(8, 64, 72)), patterns)
@settings(max_examples=30, deadline=None)
def test_an_exchange_never_raises_the_damped_error(layer: Layer, kept: int) -> None:
    weights, curvature = layer
    mask = best_of_four(magnitude_scores(weights), kept)
    values = least_squares(weights, mask, curvature)
    errors = [damped_errors(weights, values, curvature)]
    slack = 3e-5 * damped_errors(weights, np.zeros_like(weights), curvature)
    for _ in range(3):
        values, mask = exchange(values, mask, weights, curvature)
        assert survivors(mask) == {kept} and not values[~mask].any()
        errors.append(damped_errors(weights, values, curvature))
        assert (errors[-1] <= errors[-2] + slack).all()


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_each_method_earns_its_place(kept: int) -> None:
    """On a layer with structure: magnitude > Wanda > SparseGPT's mask > exchanges, all with least squares."""
    weights, curvature = make_layer(64, 128, 7)
    masks = [
        best_of_four(magnitude_scores(weights), kept),
        best_of_four(wanda_scores(weights, curvature), kept),
        sparsegpt(weights, curvature, kept)[1],
        prune(weights, curvature, kept).mask,
    ]
    errors = [curvature.relative_error(weights, exact_values(weights, mask, curvature)) for mask in masks]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.9 * errors[1]
    swept, _ = sparsegpt(weights, curvature, kept)
    assert curvature.relative_error(weights, swept) < curvature.relative_error(weights, weights * masks[1])
    assert errors[2] < curvature.relative_error(weights, swept)
