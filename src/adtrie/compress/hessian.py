"""The norm in which a linear is compressed: second moments of its inputs, damped, ordered and factored.

With H = sum over tokens of x x^T, replacing W by Q changes the outputs by tr((W - Q) H (W - Q)^T) in all.
Knows no codes and no solver.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import InputError
from adtrie.format.codes import BLOCK, PANEL_ROWS

DAMPING = 0.01  # of the mean diagonal, as in GPTQ (arXiv 2210.17323, section 3.3)
_ROWS_AT_ONCE = 128 * PANEL_ROWS
_SMALL_TRIANGLE = 96
_ASYMMETRY = 1e-3  # of the largest entry: beyond rounding of any accumulation
_LARGEST, _SMALLEST = 1e200, 1e-200  # so that no product below overflows


@dataclass(frozen=True, eq=False)
class Factor:
    """The order in which a solver visits the inputs, and what a change of one costs those after it.

    order: intp[K], inputs as visited. upper: float32[K, K] with upper^T upper = inverse of the damped H in
    that order; its row j is the OBS update of the inputs after j (GPTQ eq. 4; SparseGPT, arXiv 2301.00774,
    eq. 5).
    """

    order: NDArray[np.intp]
    upper: NDArray[np.float32]

    @cached_property
    def importance(self) -> NDArray[np.float32]:
        """float32[K] by input: error per squared change of it once all inputs after it have adapted."""
        weights = np.empty(self.order.size, np.float32)
        weights[self.order] = 1.0 / np.square(np.diag(self.upper))
        return weights


@dataclass(frozen=True, eq=False)
class Curvature:
    """Second moments float64[K, K] of a linear's inputs, solved with `damping` times their mean diagonal.

    Damping makes a singular H solvable: a dead input counts as one of little use and keeps its weight as well
    as the codes allow, since a live request may use what the calibration text did not. Errors are reported in
    H itself, undamped. Raises InputError unless H is finite, symmetric and positive semidefinite.
    """

    moments: NDArray[np.float64]
    damping: float = DAMPING

    def __post_init__(self) -> None:
        moments = self.moments
        if moments.ndim != 2 or moments.shape[0] != moments.shape[1] or moments.size == 0:
            raise InputError(f"calibration: expected second moments [K, K], got {list(moments.shape)}")
        if not (np.isfinite(self.damping) and self.damping > 0):
            raise InputError(f"calibration: expected damping above 0, got {self.damping}")
        peak = float(np.abs(moments).max())
        if not peak <= _LARGEST:
            raise InputError(
                f"calibration: second moments hold NaN or values beyond {_LARGEST:g}; calibrate again"
            )
        if float(np.abs(moments - moments.T).max()) > _ASYMMETRY * peak or bool((np.diag(moments) < 0).any()):
            raise InputError("calibration: second moments are not those of any inputs; calibrate again")

    @property
    def num_inputs(self) -> int:
        """K."""
        return int(self.moments.shape[0])

    def check_weights(self, weights: NDArray[np.float32]) -> None:
        """Raises InputError unless `weights` is a finite float32[N, K] with N above 0."""
        if weights.dtype != np.float32 or weights.ndim != 2 or weights.shape[0] == 0:
            raise InputError(
                f"compression: expected float32 weights [N, K], got {weights.dtype} {list(weights.shape)}"
            )
        if weights.shape[1] != self.num_inputs:
            raise InputError(
                f"compression: weights have {weights.shape[1]} inputs, the calibration {self.num_inputs}; "
                "calibrate this linear again"
            )
        if not bool(np.isfinite(weights).all()):
            raise InputError(
                "compression: weights hold NaN or infinity; the model is damaged, fetch it again"
            )

    @cached_property
    def damped(self) -> NDArray[np.float32]:
        """float32[K, K]: H over its mean diagonal, plus `damping` on the diagonal."""
        return self._damped().astype(np.float32)

    @cached_property
    def by_column(self) -> Factor:
        """Inputs of most energy first: their rounding errors find the most inputs left to absorb them.

        Scales are chosen before the sweep, so groups stay neighbours in storage whatever the order.
        """
        return self._factor(np.argsort(-np.diag(self.moments), kind="stable"))

    @cached_property
    def by_block(self) -> Factor:
        """The same with blocks of four kept together, for masks that are chosen on the way."""
        energy = np.diag(self.moments).reshape(-1, BLOCK).sum(axis=1)
        blocks = np.argsort(-energy, kind="stable")
        return self._factor((blocks[:, None] * BLOCK + np.arange(BLOCK)).ravel())

    def row_errors(self, weights: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Output error float64[N] of each row of `values` in place of `weights`, summed over tokens."""
        change = weights.astype(np.float64) - values
        return np.asarray(np.maximum(np.einsum("nk,nk->n", change @ self.moments, change), 0.0))

    def relative_error(self, weights: NDArray[np.float32], values: NDArray[np.float32]) -> float:
        """Output error of `values` over the energy of the outputs, 0.0 where there is no energy."""
        energy = float(self.row_errors(weights, np.zeros_like(weights)).sum())
        return float(self.row_errors(weights, values).sum()) / energy if energy > 0 else 0.0

    def _damped(self) -> NDArray[np.float64]:
        energy = float(np.diag(self.moments).mean())
        scaled = 0.5 * (self.moments + self.moments.T) / (energy if energy > _SMALLEST else 1.0)
        scaled.flat[:: self.num_inputs + 1] += self.damping
        return np.asarray(scaled)

    def _factor(self, order: NDArray[np.intp]) -> Factor:
        # A = R R^T with R upper is the Cholesky factor of A read backwards; then inverse(A) = (R^-1)^T R^-1.
        backwards = self._damped()[np.ix_(order[::-1], order[::-1])]
        try:
            upper = _upper_inverse(np.asarray(np.linalg.cholesky(backwards)[::-1, ::-1], np.float64))
        except np.linalg.LinAlgError:
            raise InputError(
                f"calibration: second moments are not positive semidefinite within damping {self.damping}; "
                "calibrate again or raise the damping"
            ) from None
        return Factor(order, np.triu(upper).astype(np.float32))


def _upper_inverse(upper: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of an upper triangular matrix by halves: a third of the work of a general one."""
    if len(upper) <= _SMALL_TRIANGLE:
        return np.asarray(np.linalg.inv(upper), np.float64)
    half = len(upper) // 2
    inverse = np.zeros_like(upper)
    inverse[:half, :half] = first = _upper_inverse(upper[:half, :half])
    inverse[half:, half:] = second = _upper_inverse(upper[half:, half:])
    inverse[:half, half:] = -first @ (upper[:half, half:] @ second)
    return inverse


def row_chunks(num_rows: int) -> Iterator[slice]:
    """Rows solved together: rows are independent, and an embedding has too many for memory."""
    for first in range(0, num_rows, _ROWS_AT_ONCE):
        yield slice(first, first + _ROWS_AT_ONCE)


def panel_errors(row_errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64[panels]: errors of rows summed over panels of 16."""
    starts = np.arange(0, row_errors.size, PANEL_ROWS)
    return np.asarray(np.add.reduceat(row_errors, starts)) if starts.size else np.zeros(0)
