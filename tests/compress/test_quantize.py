"""Scales, GPTQ and descent against definitions worked out the long way."""

from __future__ import annotations

import numpy as np
import pytest
from compress_layers import Layer, damped_errors, layers, make_layer
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.compress.feedback import feedback
from adtrie.compress.polish import polish, refit_scales
from adtrie.compress.quantize import Grid, gptq, round_to_nearest, search_scales
from adtrie.engine.weights import round_to_nearest as plain_rounding
from adtrie.errors import InputError


def ones(weights: np.ndarray) -> np.ndarray:
    return np.ones(weights.shape, bool)


def test_scales_are_nearly_the_best_of_a_fine_grid() -> None:
    random = np.random.default_rng(0)
    weights = random.standard_t(5, size=(100, 32)).astype(np.float32)
    importance = np.exp(random.normal(size=32)).astype(np.float32)
    mask = random.random((100, 32)) < 0.6
    found = round_to_nearest(weights, Grid(4, 32), importance, mask).dequantize()
    assert (found[~mask] == 0).all()
    kept = np.where(mask, weights, 0).astype(float)
    peaks = np.abs(kept).max(axis=1)
    tried = peaks[:, None, None] * np.linspace(0.05, 0.2, 301)[None, :, None] * np.array([[[[1]]], [[[-1]]]])
    rounded = np.clip(np.rint(kept[:, None] / tried), -8, 7) * tried
    best = (importance * np.square(kept[:, None] - rounded)).sum(axis=3).min(axis=(0, 2))
    errors = (importance * np.square(kept - found)).sum(axis=1)
    assert errors.sum() <= 1.02 * best.sum()


@given(layers(), st.sampled_from([4, 8]))
@settings(max_examples=25, deadline=None)
def test_searched_scales_never_lose_to_the_largest_weight_over_seven(layer: Layer, bits: int) -> None:
    weights, curvature = layer
    group = min(32, curvature.num_inputs)
    importance = np.diag(curvature.damped)
    searched = round_to_nearest(weights, Grid(bits, group), importance, ones(weights))
    assert searched.codes.max() < 1 << bits and np.isfinite(searched.scales).all()
    plain = plain_rounding(weights, bits, group)
    errors = [
        (importance * np.square(weights.astype(float) - m.dequantize())).sum(axis=1)
        for m in (searched, plain)
    ]
    assert (errors[0] <= errors[1] * (1 + 1e-4) + 1e-30).all()


def test_gptq_is_the_best_answer_to_each_rounding() -> None:
    """After each input is fixed, solve for all inputs left; GPTQ must round the same numbers."""
    weights, curvature = make_layer(6, 12, 1)
    grid, factor = Grid(4, 4), curvature.by_column
    scales = search_scales(weights, grid, factor.importance, ones(weights))
    found = gptq(weights, factor, scales, grid, ones(weights)).dequantize()
    hessian = curvature.damped.astype(np.float64)
    for row in range(6):
        target, now = weights[row].astype(float), weights[row].astype(float)
        for place, column in enumerate(factor.order):
            scale = float(scales[row, column // 4])
            now[column] = np.clip(np.rint(now[column] / scale), -8, 7) * scale
            done, left = factor.order[: place + 1], factor.order[place + 1 :]
            if left.size:
                change = -np.linalg.solve(
                    hessian[np.ix_(left, left)], hessian[np.ix_(left, done)] @ (now - target)[done]
                )
                now[left] = target[left] + change
        np.testing.assert_allclose(found[row], now, atol=1e-6)


@pytest.mark.parametrize("num_inputs", [60, 64, 68, 140])
def test_the_sweep_in_blocks_is_the_sweep_one_by_one(num_inputs: int) -> None:
    weights, curvature = make_layer(3, num_inputs, 2)
    factor = curvature.by_column
    found = feedback(weights, factor, lambda place, upcoming: np.round(upcoming[0], 1))
    current, upper = weights.T[factor.order].astype(np.float64), factor.upper.astype(np.float64)
    for j in range(num_inputs):
        fixed = np.round(current[j].astype(np.float32), 1)
        current[j + 1 :] -= np.outer(upper[j, j + 1 :], (current[j] - fixed) / upper[j, j])
        current[j] = fixed
    np.testing.assert_allclose(found.T[factor.order], current, atol=1e-5)


@given(layers(), st.sampled_from([4, 8]))
@settings(max_examples=40, deadline=None)
def test_polish_never_raises_the_damped_error(layer: Layer, bits: int) -> None:
    weights, curvature = layer
    grid = Grid(bits, min(32, curvature.num_inputs))
    mask = np.random.default_rng(0).random(weights.shape) < 0.7
    before = round_to_nearest(weights, grid, np.diag(curvature.damped), mask)
    errors = [damped_errors(weights, before.dequantize(), curvature)]
    for improve in (refit_scales, polish):
        after = improve(before, weights, curvature, mask)
        assert np.isfinite(after.scales).all() and (after.dequantize()[~mask] == 0).all()
        errors.append(damped_errors(weights, after.dequantize(), curvature))
    slack = 3e-5 * damped_errors(weights, np.zeros_like(weights), curvature)
    assert (errors[1] <= errors[0] + slack).all() and (errors[2] <= errors[0] + slack).all()


def test_no_single_code_can_improve_a_polished_row() -> None:
    weights, curvature = make_layer(4, 16, 5)
    grid = Grid(4, 8)
    start = round_to_nearest(weights, grid, np.diag(curvature.damped), ones(weights))
    done = polish(start, weights, curvature, ones(weights), rounds=30)
    least = damped_errors(weights, done.dequantize(), curvature)
    for row, column in np.ndindex(weights.shape):
        for step in (-1, 1):
            code = int(done.codes[row, column]) + step
            if 0 <= code <= 15:
                values = done.dequantize()
                values[row, column] += step * np.float32(done.scales[row, column // 8])
                assert damped_errors(weights, values, curvature)[row] >= least[row] * (1 - 1e-4)


def test_scales_refit_are_least_squares() -> None:
    """For given codes the error is a quadratic in the scales of a row."""
    weights, curvature = make_layer(5, 32, 6)
    start = round_to_nearest(weights, Grid(4, 8), np.ones(32, np.float32), ones(weights))
    found = refit_scales(start, weights, curvature, ones(weights), rounds=60)
    assert np.array_equal(found.codes, start.codes)
    root = np.linalg.cholesky(curvature.damped.astype(np.float64))
    for row in range(5):
        columns = np.zeros((32, 4))
        for group in range(4):
            part = slice(8 * group, 8 * group + 8)
            columns[part, group] = start.codes[row, part].astype(float) - 8
        best, *_ = np.linalg.lstsq(root.T @ columns, root.T @ weights[row].astype(float), rcond=None)
        error, least = (
            damped_errors(weights[row][None], (columns @ s).astype(np.float32)[None], curvature)[0]
            for s in (found.scales[row].astype(float), best)
        )
        assert least <= error * (1 + 1e-9) and error <= 1.001 * least


def test_a_scale_beyond_float16_is_refused_and_one_below_it_is_zero() -> None:
    mask = np.ones((1, 4), bool)
    importance = np.ones(4, np.float32)
    with pytest.raises(InputError, match="beyond float16"):
        search_scales(np.full((1, 4), 1e6, np.float32), Grid(4, 4), importance, mask)
    with pytest.raises(InputError, match="beyond float16"):
        search_scales(np.full((1, 4), np.nan, np.float32), Grid(4, 4), importance, mask)
    with pytest.raises(InputError, match="does not divide"):
        search_scales(np.ones((1, 4), np.float32), Grid(4, 3), importance, mask)
    tiny = round_to_nearest(np.full((1, 4), 1e-12, np.float32), Grid(4, 4), importance, mask)
    assert not tiny.dequantize().any() and not tiny.scales.any()
    huge = round_to_nearest(np.full((1, 4), 524_032, np.float32), Grid(4, 4), importance, mask)
    assert np.array_equal(huge.dequantize(), np.full((1, 4), 524_032, np.float32))
