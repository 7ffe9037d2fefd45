"""Which inputs survive in every block of four, and the best values of those that do.

Masks by magnitude, Wanda or SparseGPT; least squares on survivors; exchange of survivors inside a block.
Rounding to codes enters only in the one-pass joint sweep. Knows no panel and no budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from adtrie.compress.feedback import SWEEP_INPUTS, feedback
from adtrie.compress.hessian import Curvature, row_chunks
from adtrie.compress.quantize import Grid, Rounding, search_scales
from adtrie.config import QuantizedMatrix
from adtrie.format.codes import BLOCK, DENSE, check_pattern

EXCHANGES = 2  # later ones move one block in a hundred
_MOST_STEPS = 60  # of conjugate gradients; 20 to 30 are usual
_SOLVED = 1e-9  # of the first squared residual
# Steps before an exchange, and after the last one: more gain a hundredth of the error, rounding adds more.
_FEW_STEPS, _ENOUGH_STEPS = 10, 16


@dataclass(frozen=True, eq=False)
class Pruned:
    """Survivors bool[N, K] with `kept` in every block of four (4: all), and their values float32[N, K]."""

    values: NDArray[np.float32]
    mask: NDArray[np.bool_]
    kept: int

    def rows(self, rows: slice) -> Pruned:
        """The same of some rows."""
        return Pruned(self.values[rows], self.mask[rows], self.kept)


def prune(
    weights: NDArray[np.float32], curvature: Curvature, kept: int, exchanges: int = EXCHANGES
) -> Pruned:
    """Survivors of SparseGPT's choice, improved by exchanges, with values by least squares.

    Raises InputError for weights that are not finite or do not fit the calibration, or blocks that do not
    fit.
    """
    curvature.check_weights(weights)
    check_pattern(curvature.num_inputs, kept, bits=4)
    if kept == DENSE:
        return Pruned(weights, np.ones(weights.shape, bool), kept)
    values, mask = np.empty_like(weights), np.empty(weights.shape, bool)
    for rows in row_chunks(len(weights)):
        fitted, chosen = sparsegpt(weights[rows], curvature, kept)
        for _ in range(exchanges):
            fitted = least_squares(weights[rows], chosen, curvature, fitted, _FEW_STEPS)
            fitted, chosen = exchange(fitted, chosen, weights[rows], curvature)
        fitted = least_squares(weights[rows], chosen, curvature, fitted, _ENOUGH_STEPS)
        values[rows], mask[rows] = fitted, chosen
    return Pruned(values, mask, kept)


def magnitude_scores(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """|w| float32[N, K]: needs no calibration, the floor to beat."""
    return np.abs(weights)


def wanda_scores(weights: NDArray[np.float32], curvature: Curvature) -> NDArray[np.float32]:
    """|w| times the norm of its input, float32[N, K] (Wanda, arXiv 2306.11695, eq. 1)."""
    return np.abs(weights) * np.sqrt(np.diag(curvature.damped))


def best_of_four(scores: NDArray[np.float32], kept: int) -> NDArray[np.bool_]:
    """bool[N, K]: the `kept` highest scores of every block of four; of equal scores the first."""
    blocks = scores.reshape(scores.shape[0], -1, BLOCK)
    order = np.argsort(-blocks, axis=2, kind="stable")[:, :, :kept]
    mask = np.zeros(blocks.shape, bool)
    np.put_along_axis(mask, order, True, axis=2)
    return mask.reshape(scores.shape)


def sparsegpt(
    weights: NDArray[np.float32], curvature: Curvature, kept: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Values float32[N, K] and survivors bool[N, K] of one sweep (arXiv 2301.00774, algorithm 1).

    Each block of four keeps the inputs whose removal costs most, w^2 / U_jj^2, when the sweep reaches it.
    """
    chooser = _Chooser(weights.shape, curvature, kept)
    values = feedback(weights, curvature.by_block, chooser)
    return values, chooser.mask()


def joint_sweep(
    weights: NDArray[np.float32], curvature: Curvature, kept: int, grid: Grid
) -> tuple[QuantizedMatrix, NDArray[np.bool_]]:
    """Codes and survivors of one sweep that prunes and rounds (arXiv 2301.00774, section 3.5).

    Scales are those of the survivors Wanda would choose, since the sweep's own are not known before.
    """
    likely = best_of_four(wanda_scores(weights, curvature), kept)
    scales = search_scales(weights, grid, np.diag(curvature.damped), likely)
    rounding = Rounding(grid, scales, curvature.by_block)
    chooser = _Chooser(weights.shape, curvature, kept)

    def fix(place: int, upcoming: NDArray[np.float32]) -> NDArray[np.float32]:
        return rounding(place, chooser(place, upcoming))

    return rounding.matrix(feedback(weights, curvature.by_block, fix)), chooser.mask()


class _Chooser:
    """The rule of a sweep in blocks of four that zeroes all but the `kept` dearest inputs of each."""

    def __init__(self, shape: tuple[int, int], curvature: Curvature, kept: int) -> None:
        self._factor, self._kept = curvature.by_block, kept
        self._prices = 1.0 / np.square(np.diag(self._factor.upper))
        self._alive = np.zeros((shape[1], shape[0]), bool)

    def __call__(self, place: int, upcoming: NDArray[np.float32]) -> NDArray[np.float32]:
        if place % BLOCK == 0:
            block = slice(place, place + BLOCK)
            costs = np.square(upcoming[:BLOCK]) * self._prices[block, None]
            self._alive[block] = best_of_four(np.ascontiguousarray(costs.T), self._kept).T
        return np.asarray(upcoming[0] * self._alive[place])

    def mask(self) -> NDArray[np.bool_]:
        """Survivors [N, K] in the original order, once the sweep is over."""
        mask = np.empty_like(self._alive)
        mask[self._factor.order] = self._alive
        return np.ascontiguousarray(mask.T)


def least_squares(
    weights: NDArray[np.float32],
    mask: NDArray[np.bool_],
    curvature: Curvature,
    start: NDArray[np.float32] | None = None,
    most_steps: int = _MOST_STEPS,
) -> NDArray[np.float32]:
    """Survivors float32[N, K] of least error in the damped norm, pruned inputs zero.

    After `most_steps` they may be short of that, but never worse than `start`.

    Every row has its own system H_SS v_S = (H w)_S; all are solved together by conjugate gradients with the
    diagonal as preconditioner, from `start` (the masked weights by default). One product with H per step.
    """
    hessian = curvature.damped
    values = np.where(mask, weights if start is None else start, np.float32(0))
    residual = ((weights - values) @ hessian) * mask
    inverse = (1.0 / np.diag(hessian)).astype(np.float32)
    direction = residual * inverse
    size = np.einsum("nk,nk->n", residual, direction)
    enough = _SOLVED * size
    for _ in range(most_steps):
        if bool((size <= enough).all()):
            break
        pushed = (direction @ hessian) * mask
        length = _ratio(size, np.einsum("nk,nk->n", direction, pushed))[:, None]
        values += length * direction
        residual -= length * pushed
        scaled = residual * inverse
        size, before = np.einsum("nk,nk->n", residual, scaled), size
        direction = scaled + _ratio(size, before)[:, None] * direction
    return values


def exchange(
    values: NDArray[np.float32],
    mask: NDArray[np.bool_],
    weights: NDArray[np.float32],
    curvature: Curvature,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Values and survivors after one pass that gives each block of four its best survivors, all else fixed.

    For a block with H_bb and t = (H (w - v))_b + H_bb v_b, survivors s with values x = H_ss^-1 t_s lower the
    error by x.t_s; all subsets are tried, so no block can make a row worse.
    """
    hessian = curvature.damped
    solvers, subsets = _subset_solvers(hessian, int(mask[0, :BLOCK].sum()))
    now, alive = np.ascontiguousarray(values.T), np.ascontiguousarray(mask.T)
    residual = hessian @ np.ascontiguousarray((weights - values).T)
    rows = np.arange(now.shape[1])
    for start in range(0, len(now), SWEEP_INPUTS):
        outer = slice(start, min(start + SWEEP_INPUTS, len(now)))
        before = now[outer].copy()
        for first in range(start, outer.stop, BLOCK):
            block = slice(first, first + BLOCK)
            target = residual[block] + hessian[block, block].astype(np.float64) @ now[block]
            answers = solvers[first // BLOCK] @ target
            best = np.einsum("sin,in->sn", answers, target).argmax(axis=0)
            moved = (answers[best, :, rows].T - now[block]).astype(np.float32)
            now[block] += moved
            alive[block] = subsets[best].T
            residual[first + BLOCK : outer.stop] -= hessian[first + BLOCK : outer.stop, block] @ moved
        residual[outer.stop :] -= hessian[outer.stop :, outer] @ (now[outer] - before)
    return np.ascontiguousarray((now * alive).T), np.ascontiguousarray(alive.T)


def _subset_solvers(hessian: NDArray[np.float32], kept: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Inverses of H_ss, zero elsewhere, float64[K / 4, subsets, 4, 4], and the subsets bool[subsets, 4]."""
    num_blocks = len(hessian) // BLOCK
    corners = np.arange(num_blocks)[:, None] * BLOCK
    choices = list(combinations(range(BLOCK), kept))
    solvers = np.zeros((num_blocks, len(choices), BLOCK, BLOCK))
    subsets = np.zeros((len(choices), BLOCK), bool)
    for index, choice in enumerate(choices):
        inputs = corners + np.array(choice)
        inner = hessian[inputs[:, :, None], inputs[:, None, :]].astype(np.float64)
        solvers[np.ix_(range(num_blocks), [index], choice, choice)] = np.linalg.inv(inner)[:, None]
        subsets[index, list(choice)] = True
    return solvers, subsets


def _ratio(over: NDArray[np.float32], under: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.divide(over, under, out=np.zeros_like(over), where=under > 0)
