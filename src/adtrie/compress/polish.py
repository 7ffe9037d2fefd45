"""Exact descent on codes that a one-pass method left: coordinate by coordinate, then each group's scale.

The error of a row is the quadratic (q - w) H (q - w)^T. With all else fixed the best integer of one input is
the rounded minimum of a parabola, and the best scale of one group is a ratio; no step can raise the error.
Survivors never change here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adtrie.compress.feedback import SWEEP_INPUTS
from adtrie.compress.hessian import Curvature
from adtrie.compress.quantize import FLOAT16_MAX, Grid, reciprocal
from adtrie.config import QuantizedMatrix

ROUNDS = 3  # later ones gain less than a hundredth of the error


def polish(
    matrix: QuantizedMatrix,
    weights: NDArray[np.float32],
    curvature: Curvature,
    mask: NDArray[np.bool_],
    rounds: int = ROUNDS,
) -> QuantizedMatrix:
    """`matrix` after `rounds` passes over its codes and scales, closer to `weights` in the damped norm."""
    descent = _Descent.of(matrix, weights, curvature, mask)
    for _ in range(rounds):
        for group in range(len(descent.scales)):
            descent.descend_codes(group)
            descent.refit_scale(group)
    return descent.matrix()


def refit_scales(
    matrix: QuantizedMatrix,
    weights: NDArray[np.float32],
    curvature: Curvature,
    mask: NDArray[np.bool_],
    rounds: int = 1,
) -> QuantizedMatrix:
    """`matrix` with the same codes and better scales: least squares, one group after the other."""
    descent = _Descent.of(matrix, weights, curvature, mask)
    for _ in range(rounds):
        for group in range(len(descent.scales)):
            descent.refit_scale(group)
    return descent.matrix()


@dataclass(eq=False)
class _Descent:
    """Inputs first: integers and gradient [K, N], scales [groups, N] holding float16 values."""

    grid: Grid
    hessian: NDArray[np.float32]
    alive: NDArray[np.bool_]
    integers: NDArray[np.float32]
    scales: NDArray[np.float32]
    gradient: NDArray[np.float32]  # H (q - w)

    @classmethod
    def of(
        cls,
        matrix: QuantizedMatrix,
        weights: NDArray[np.float32],
        curvature: Curvature,
        mask: NDArray[np.bool_],
    ) -> _Descent:
        grid = Grid(matrix.bits, matrix.group)
        change = matrix.dequantize() - weights
        return cls(
            grid,
            curvature.damped,
            np.ascontiguousarray(mask.T),
            np.ascontiguousarray(matrix.codes.T).astype(np.float32) + grid.low,
            np.ascontiguousarray(matrix.scales.T.astype(np.float32)),
            curvature.damped @ np.ascontiguousarray(change.T),
        )

    def matrix(self) -> QuantizedMatrix:
        scales = np.ascontiguousarray(self.scales.T).astype(np.float16)
        return self.grid.matrix(np.ascontiguousarray(self.integers.T), scales)

    def descend_codes(self, group: int) -> None:
        """The best integer of each input of the group in turn."""
        first = group * self.grid.group
        for start in range(first, first + self.grid.group, SWEEP_INPUTS):
            inputs = slice(start, min(start + SWEEP_INPUTS, first + self.grid.group))
            moved = self._descend_block(inputs, self.scales[group])
            self.gradient += self.hessian[:, inputs] @ moved

    def _descend_block(self, inputs: slice, scales: NDArray[np.float32]) -> NDArray[np.float32]:
        """Changes of value [inputs, N]; the gradient outside is left for the caller."""
        hessian, gradient = self.hessian[inputs, inputs], self.gradient[inputs].copy()
        integers, alive, inverse = self.integers[inputs], self.alive[inputs], reciprocal(scales)
        moved = np.empty_like(gradient)
        for j in range(len(gradient)):
            wanted = integers[j] - gradient[j] * (inverse / hessian[j, j])
            best = np.clip(np.rint(wanted), self.grid.low, self.grid.high) * alive[j]
            moved[j] = (best - integers[j]) * scales
            integers[j] = best
            gradient[j + 1 :] += hessian[j, j + 1 :, None] * moved[j]
        return moved

    def refit_scale(self, group: int) -> None:
        """The scale s of least error for the integers c of the group: s -= c.gradient / c H c."""
        inputs = slice(group * self.grid.group, (group + 1) * self.grid.group)
        integers, old = self.integers[inputs], self.scales[group]
        response = self.hessian[:, inputs] @ integers
        slope = np.einsum("kn,kn->n", integers, self.gradient[inputs])
        curve = np.einsum("kn,kn->n", integers, response[inputs])
        wanted = old - np.divide(slope, curve, out=np.zeros_like(slope), where=curve > 0)
        new = np.clip(wanted, -FLOAT16_MAX, FLOAT16_MAX).astype(np.float16).astype(np.float32)
        step = new - old
        # Rounding to float16 may step past the minimum to where it is no better.
        step[step * (2 * slope + step * curve) >= 0] = 0
        self.scales[group] = old + step
        self.gradient += response * step
