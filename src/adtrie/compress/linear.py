"""One linear from weights and second moments to codes: the methods in their order, none allowed to do harm.

A later stage is taken row by row only where it lowers the calibration error, so GPTQ is never worse than
rounding and polish never worse than GPTQ. Knows no model, no budget and no file.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from adtrie.compress.hessian import Curvature, row_chunks
from adtrie.compress.polish import polish
from adtrie.compress.quantize import Grid, gptq, round_to_nearest, search_scales
from adtrie.compress.sparsify import Pruned
from adtrie.config import QuantizedMatrix
from adtrie.errors import InputError
from adtrie.format.codes import DENSE, CompressedLinear, check_grid, check_pattern, num_panels

Method = Literal["nearest", "gptq", "polish"]


def compress_linear(
    weights: NDArray[np.float32],
    pruned: Pruned,
    curvature: Curvature,
    grid: Grid,
    method: Method = "polish",
) -> CompressedLinear:
    """Codes of `grid` for the survivors of `pruned`, of least output error against `weights` float32[N, K].

    nearest: scales by weighted search, each weight rounded on its own. gptq: error feedback. polish: that,
    then descent on codes and scales. `pruned` is that of `prune` for these weights and serves every grid.
    Raises InputError for weights that are not finite, do not fit the calibration or cannot be stored so.
    """
    if method not in get_args(Method):
        raise InputError(f"compression: expected method {', '.join(get_args(Method))}, got {method!r:.60}")
    curvature.check_weights(weights)
    check_grid(curvature.num_inputs, grid.bits, grid.group)
    check_pattern(curvature.num_inputs, pruned.kept, grid.bits)
    if pruned.values.shape != weights.shape or pruned.mask.shape != weights.shape:
        raise InputError(
            f"compression: weights are {list(weights.shape)}, pruned values {list(pruned.values.shape)}; "
            "prune these weights"
        )
    parts = [
        _round(weights[rows], pruned.rows(rows), curvature, grid, method) for rows in row_chunks(len(weights))
    ]
    values = QuantizedMatrix(
        np.concatenate([part.codes for part in parts]),
        np.concatenate([part.scales for part in parts]),
        None,
        grid.bits,
        grid.group,
    )
    return CompressedLinear(values, np.full(num_panels(len(weights)), pruned.kept, np.uint8), pruned.mask)


def _round(
    weights: NDArray[np.float32], pruned: Pruned, curvature: Curvature, grid: Grid, method: Method
) -> QuantizedMatrix:
    energies = np.diag(curvature.damped)
    matrix = round_to_nearest(pruned.values, grid, energies, pruned.mask)
    if method == "nearest":
        return matrix
    matrix = _better_rows(matrix, _with_feedback(pruned, curvature, grid), weights, curvature)
    if method == "gptq":
        return matrix
    matrix = _better_rows(matrix, polish(matrix, weights, curvature, pruned.mask), weights, curvature)
    # A sweep with the scales found ends elsewhere: many rows gain, 1 to 4 % of the error in all.
    again = _with_feedback(pruned, curvature, grid, matrix.scales)
    return _better_rows(matrix, polish(again, weights, curvature, pruned.mask), weights, curvature)


def _with_feedback(
    pruned: Pruned, curvature: Curvature, grid: Grid, scales: NDArray[np.float16] | None = None
) -> QuantizedMatrix:
    """GPTQ on the survivors' values v, which loses nothing against the weights w.

    (w - q) H (w - q) = (w - v) H (w - v) + (v - q) H (v - q) for q on the survivors, because least squares
    makes (w - v) H zero there. Scales are searched unless given.
    """
    factor = curvature.by_column if pruned.kept == DENSE else curvature.by_block
    # Where nothing is pruned, the error left after all later inputs adapt is known and weighs a scale better
    # than the input's energy does; with a mask the inputs that adapt differ from row to row.
    importance = factor.importance if pruned.kept == DENSE else np.diag(curvature.damped)
    if scales is None:
        scales = search_scales(pruned.values, grid, importance, pruned.mask)
    return gptq(pruned.values, factor, scales, grid, pruned.mask)


def _better_rows(
    old: QuantizedMatrix, new: QuantizedMatrix, weights: NDArray[np.float32], curvature: Curvature
) -> QuantizedMatrix:
    """Row by row the matrix of less calibration error, the old one where equal."""
    before = curvature.row_errors(weights, old.dequantize())
    better = (curvature.row_errors(weights, new.dequantize()) < before)[:, None]
    return QuantizedMatrix(
        np.where(better, new.codes, old.codes),
        np.where(better, new.scales, old.scales),
        None,
        old.bits,
        old.group,
    )
