"""One linear through all methods: the laws, the patterns, the ratio of effort to error, and hostile input."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from compress_layers import Layer, layers, make_layer
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.compress.hessian import Curvature, panel_errors
from adtrie.compress.linear import Method, compress_linear
from adtrie.compress.quantize import Grid
from adtrie.compress.sparsify import joint_sweep, prune
from adtrie.errors import InputError
from adtrie.format.codes import DENSE, mix_panels


@given(layers(), st.sampled_from([1, 2, 3, 4, 8]))
@settings(max_examples=50, deadline=None)
def test_gptq_at_most_rounding_and_polish_at_most_gptq(layer: Layer, pattern: int) -> None:
    """In every row, on every layer, in the calibration norm without damping."""
    weights, curvature = layer
    bits, kept = (8, DENSE) if pattern == 8 else (4, pattern)
    grid = Grid(bits, min(32, curvature.num_inputs))
    pruned = prune(weights, curvature, kept)
    linears = [compress_linear(weights, pruned, curvature, grid, method) for method in get_args(Method)]
    errors = [curvature.row_errors(weights, linear.dequantize()) for linear in linears]
    assert (errors[1] <= errors[0]).all() and (errors[2] <= errors[1]).all()
    for linear in linears:
        assert linear.kept.tolist() == [kept] * len(linear.kept)
        assert not linear.dequantize()[~(weights != 0).any(axis=1)].any()


def test_effort_pays_on_a_layer_with_structure() -> None:
    weights, curvature = make_layer(64, 128, 7)

    def error(kept: int, group: int = 32, bits: int = 4, method: Method = "polish") -> float:
        pruned = prune(weights, curvature, kept)
        linear = compress_linear(weights, pruned, curvature, Grid(bits, group), method)
        return curvature.relative_error(weights, linear.dequantize())

    by_method = [error(DENSE, method=method) for method in get_args(Method)]
    assert by_method[1] < 0.7 * by_method[0] and by_method[2] < 0.97 * by_method[1]
    by_group = [error(DENSE, group) for group in (32, 64, 128)]
    assert by_group == sorted(by_group)
    by_pattern = [error(DENSE, bits=8), *(error(kept) for kept in (4, 3, 2, 1))]
    assert by_pattern == sorted(by_pattern)
    matrix, _ = joint_sweep(weights, curvature, 2, Grid(4, 32))
    assert by_pattern[3] < 0.9 * curvature.relative_error(weights, matrix.dequantize())


def test_panels_of_different_patterns_need_no_new_solution() -> None:
    weights, curvature = make_layer(40, 64, 1)
    grid, kept = Grid(4, 64), np.array([2, 4, 1], np.uint8)
    solutions = {
        n: compress_linear(weights, prune(weights, curvature, n), curvature, grid) for n in (1, 2, 4)
    }
    mixed = mix_panels(solutions, kept)
    errors = panel_errors(curvature.row_errors(weights, mixed.dequantize()))
    alone = {n: panel_errors(curvature.row_errors(weights, s.dequantize())) for n, s in solutions.items()}
    np.testing.assert_allclose(errors, [alone[int(n)][panel] for panel, n in enumerate(kept)])
    assert mixed.num_bytes == 16 * (24 + 2) + 16 * (32 + 2) + 8 * (12 + 2)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 7), (1, 100)])
def test_shapes_no_table_foresees(shape: tuple[int, int]) -> None:
    weights, curvature = make_layer(*shape, seed=0)
    linear = compress_linear(weights, prune(weights, curvature, DENSE), curvature, Grid(4, shape[1]))
    assert linear.shape == shape and curvature.relative_error(weights, linear.dequantize()) < 0.1


def test_rows_in_chunks_are_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, curvature = make_layer(50, 32, 3)
    monkeypatch.setattr("adtrie.compress.hessian._ROWS_AT_ONCE", 16)
    pruned = prune(weights, curvature, 2)
    linear = compress_linear(weights, pruned, curvature, Grid(4, 32))
    assert linear.shape == (50, 32)
    energy = curvature.row_errors(weights, 0 * weights)
    assert (curvature.row_errors(weights, linear.dequantize()) < 0.5 * energy).all()


def test_dead_inputs_keep_their_weights() -> None:
    """Calibration text never used them; a request may."""
    weights, curvature = make_layer(8, 32, 2)
    moments = curvature.moments.copy()
    moments[5], moments[:, 5] = 0.0, 0.0
    curvature = Curvature(moments)
    linear = compress_linear(weights, prune(weights, curvature, DENSE), curvature, Grid(8, 32))
    assert np.abs(linear.dequantize()[:, 5] - weights[:, 5]).max() < 0.02 * np.abs(weights).max()


def test_weights_and_options_that_cannot_be() -> None:
    weights, curvature = make_layer(8, 32, 0)
    pruned = prune(weights, curvature, DENSE)
    damaged = weights.copy()
    damaged[3, 3] = np.inf
    with pytest.raises(InputError, match="NaN or infinity"):
        compress_linear(damaged, pruned, curvature, Grid(4, 32))
    with pytest.raises(InputError, match="NaN or infinity"):
        prune(damaged, curvature, 2)
    with pytest.raises(InputError, match="calibration 32"):
        prune(weights[:, :16], curvature, 2)
    with pytest.raises(InputError, match="prune these weights"):
        compress_linear(weights[:4], pruned, curvature, Grid(4, 32))
    with pytest.raises(InputError, match="group 24 does not divide 32 inputs; choose one of 32"):
        compress_linear(weights, pruned, curvature, Grid(4, 24))
    with pytest.raises(InputError, match="4 or 8 bits"):
        compress_linear(weights, pruned, curvature, Grid(5, 32))
    with pytest.raises(InputError, match="2:4 needs 4-bit"):
        compress_linear(weights, prune(weights, curvature, 2), curvature, Grid(8, 32))
    with pytest.raises(InputError, match="expected method"):
        compress_linear(weights, pruned, curvature, Grid(4, 32), "best")  # type: ignore[arg-type]
    huge = weights * np.float32(1e8)
    with pytest.raises(InputError, match="beyond float16"):
        compress_linear(huge, prune(huge, curvature, 2), curvature, Grid(4, 32))
