"""Rounding one matrix to integer codes: scales by weighted search, round-to-nearest, GPTQ.

Symmetric codes: value = scale * (code - zero), scale float16 and of either sign, so that the largest weight
of a group may take the code -8 that has no positive twin. Knows no pattern but a given mask, and no budget.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adtrie.compress.feedback import feedback
from adtrie.compress.hessian import Factor
from adtrie.config import QuantizedMatrix
from adtrie.errors import InputError
from adtrie.format.codes import check_grid

FLOAT16_MAX = 65504.0
# Scales tried, as parts of the one that reaches the largest weight. Finer or wider grids gain nothing once
# the best is refit.
_SHRINKS = np.linspace(0.5, 1.0, 11)
_REFITS = 2
_SEARCH_ELEMENTS = 1 << 18  # per chunk of rows, so that its temporaries stay in the cache


@dataclass(frozen=True)
class Grid:
    """Codes of `bits` bits, one scale per `group` inputs. Integers here run from low to high, zero is 0."""

    bits: int
    group: int

    @property
    def low(self) -> int:
        """-8 or -128."""
        return -(1 << (self.bits - 1))

    @property
    def high(self) -> int:
        """7 or 127."""
        return (1 << (self.bits - 1)) - 1

    def integers(self, values: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.float32]:
        """The nearest integer of the grid for each value, 0 where the scale is 0; shapes broadcast."""
        return np.asarray(np.clip(np.rint(values * reciprocal(scales)), self.low, self.high))

    def matrix(self, integers: NDArray[np.float32], scales: NDArray[np.float16]) -> QuantizedMatrix:
        """Integers [N, K] and scales [N, K / group] as stored codes."""
        return QuantizedMatrix((integers - self.low).astype(np.uint8), scales, None, self.bits, self.group)


def round_to_nearest(
    weights: NDArray[np.float32], grid: Grid, importance: NDArray[np.float32], mask: NDArray[np.bool_]
) -> QuantizedMatrix:
    """Codes of `weights` [N, K], each rounded on its own; pruned inputs are zero."""
    scales = search_scales(weights, grid, importance, mask)
    per_input = np.repeat(scales.astype(np.float32), grid.group, axis=1)
    return grid.matrix(grid.integers(weights, per_input) * mask, scales)


def gptq(
    weights: NDArray[np.float32],
    factor: Factor,
    scales: NDArray[np.float16],
    grid: Grid,
    mask: NDArray[np.bool_],
) -> QuantizedMatrix:
    """Codes of `weights` [N, K] rounded one input after the other, each error passed on to those after it.

    GPTQ (arXiv 2210.17323, algorithm 1) with given scales float16[N, K / group]. Pruned inputs become zero
    and pass on what the inputs before them left there.
    """
    rounding = Rounding(grid, scales, factor)
    alive = np.ascontiguousarray(mask.T[factor.order])

    def fix(place: int, upcoming: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(rounding(place, upcoming[0]) * alive[place])

    return rounding.matrix(feedback(weights, factor, fix))


class Rounding:
    """Rounds inputs in the order of a factor to a grid with given scales."""

    def __init__(self, grid: Grid, scales: NDArray[np.float16], factor: Factor) -> None:
        self._grid, self._scales = grid, scales
        self._groups = factor.order // grid.group
        self._steps = np.ascontiguousarray(scales.T.astype(np.float32))
        self._inverses = reciprocal(self._steps)

    def __call__(self, place: int, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Nearest values of the grid, float32[N], for the input that is visited at `place`."""
        group = self._groups[place]
        integers = np.clip(np.rint(values * self._inverses[group]), self._grid.low, self._grid.high)
        return np.asarray(integers * self._steps[group])

    def matrix(self, values: NDArray[np.float32]) -> QuantizedMatrix:
        """Codes of values [N, K] that are already on the grid."""
        steps = np.repeat(self._scales.astype(np.float32), self._grid.group, axis=1)
        return self._grid.matrix(self._grid.integers(values, steps), self._scales)


def search_scales(
    weights: NDArray[np.float32], grid: Grid, importance: NDArray[np.float32], mask: NDArray[np.bool_]
) -> NDArray[np.float16]:
    """Scales float16[N, K / group] of least sum of importance * (weight - rounded)^2 over survivors.

    A grid of candidates, then the closed form for the codes found. `importance` float32[K] by input. A group
    of zeros, or too small for float16, has scale 0. Raises InputError for weights that no float16 scale
    reaches.
    """
    num_outputs, num_inputs = weights.shape
    check_grid(num_inputs, grid.bits, grid.group)
    peak = float(np.abs(weights).max(initial=0.0))
    if not peak <= -grid.low * FLOAT16_MAX:
        raise InputError(
            f"quantization: weights up to {peak:.3g} need a scale beyond float16; "
            f"expected at most {-grid.low * FLOAT16_MAX:.3g} in {grid.bits} bits"
        )
    shape = (num_inputs // grid.group, grid.group)
    scales = np.zeros((num_outputs, shape[0]), np.float16)
    step = max(1, _SEARCH_ELEMENTS // num_inputs)
    for first in range(0, num_outputs, step):
        rows = slice(first, first + step)
        alive = mask[rows].reshape(-1, *shape)
        values = weights[rows].reshape(alive.shape) * alive
        scales[rows] = _search(values, importance.reshape(shape) * alive, grid)
    return scales


def _search(values: NDArray[np.float32], weight: NDArray[np.float32], grid: Grid) -> NDArray[np.float16]:
    """Best scales float16[n, G] of values [n, G, g]."""
    # The signed peak over -8 puts the largest weight on the code of largest magnitude.
    largest = np.take_along_axis(values, np.abs(values).argmax(axis=2)[:, :, None], axis=2)[:, :, 0]
    best = np.zeros(largest.shape, np.float16)
    least = np.einsum("ngi,ngi,ngi->ng", weight, values, values)
    factors = [np.float32(sign * shrink / grid.low) for shrink in _SHRINKS.tolist() for sign in (1, -1)]
    candidates = [np.abs(largest) / grid.high, *(largest * factor for factor in factors)]
    change = np.empty_like(values)
    for tried in (*candidates, *[None] * _REFITS):
        if tried is None:
            tried = _closed_form(
                values, weight, grid.integers(values, best.astype(np.float32)[:, :, None]), best
            )
        scales = np.clip(tried, -FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)
        steps = scales.astype(np.float32)[:, :, None]
        # In place: most of the time of a compression is spent here.
        np.multiply(values, reciprocal(steps), out=change)
        np.rint(change, out=change)
        np.clip(change, grid.low, grid.high, out=change)
        np.multiply(change, steps, out=change)
        np.subtract(values, change, out=change)
        error = np.einsum("ngi,ngi,ngi->ng", weight, change, change)
        better = error < least
        least = np.where(better, error, least)
        best = np.where(better, scales, best)
    return best


def _closed_form(
    values: NDArray[np.float32],
    weight: NDArray[np.float32],
    integers: NDArray[np.float32],
    scales: NDArray[np.float16],
) -> NDArray[np.float32]:
    """The scales that fit given integers best, the old ones where all integers are 0."""
    energy = np.einsum("ngi,ngi,ngi->ng", weight, integers, integers)
    fit = np.einsum("ngi,ngi,ngi->ng", weight, values, integers)
    best: NDArray[np.float32] = np.divide(fit, energy, out=scales.astype(np.float32), where=energy > 0)
    return best


def reciprocal(scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / scale, 0 where it is 0."""
    return np.divide(1.0, scales, out=np.zeros_like(scales), where=scales != 0)
