"""The sweep that GPTQ and SparseGPT share: fix one input after the other, those after it absorb the error.

Fixing input j of a row at q instead of w costs (w - q)^2 / U_jj^2, and the best answer of the inputs not yet
fixed is w_k -= U_jk (w - q) / U_jj, with U of the `Factor` (arXiv 2210.17323, eq. 2-4). Rows are independent.
Knows neither codes nor masks: a rule says what becomes of each input.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adtrie.compress.hessian import Factor

SWEEP_INPUTS = 64  # inputs whose mutual updates are made one by one; the rest in one product per sweep block


class Fix(Protocol):
    """The rule of a sweep."""

    def __call__(self, place: int, upcoming: NDArray[np.float32]) -> NDArray[np.float32]:
        """Final values float32[N] of the input visited at `place`.

        upcoming: float32[up to the end of its sweep block, N], the present values of it and those after it.
        """


def feedback(weights: NDArray[np.float32], factor: Factor, fix: Fix) -> NDArray[np.float32]:
    """Values float32[N, K] that `fix` gave, in the original order of inputs. `weights` is not modified."""
    current = np.ascontiguousarray(weights.T[factor.order], dtype=np.float32)
    upper = factor.upper
    for start in range(0, len(current), SWEEP_INPUTS):
        stop = min(start + SWEEP_INPUTS, len(current))
        errors = _sweep_block(current[start:stop], upper[start:stop, start:stop], fix, start)
        current[stop:] -= upper[start:stop, stop:].T @ errors
    values = np.empty_like(current)
    values[factor.order] = current
    return np.ascontiguousarray(values.T)


def _sweep_block(
    block: NDArray[np.float32], upper: NDArray[np.float32], fix: Fix, start: int
) -> NDArray[np.float32]:
    """Fixes the rows of `block` [inputs, N] in place; returns their scaled errors of the same shape."""
    errors = np.empty_like(block)
    for j in range(len(block)):
        fixed = fix(start + j, block[j:])
        errors[j] = (block[j] - fixed) / upper[j, j]
        block[j] = fixed
        block[j + 1 :] -= upper[j, j + 1 :, None] * errors[j]
    return errors
