"""The one order of all searches: score falling, then entry rising. Knows arrays only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def best(scores: NDArray[np.float64], lo: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Positions int64[min(count, n)] of the best by (score falling, lo rising), best first."""
    if scores.size > 4 * count:  # a root has thousands of children: sort only what can be kept
        least = np.partition(scores, scores.size - count)[scores.size - count]
        near = np.flatnonzero(scores >= least)
        return near[np.lexsort((lo[near], -scores[near]))[:count]]
    return np.lexsort((lo, -scores))[:count]


def certified_gap(bound: float, scores: NDArray[np.float64], wanted: int) -> float:
    """How far an entry left out could score above the last of `scores`: 0.0 proves there is none.

    `bound` is the best score anything left out can reach (-inf when nothing was left out). inf when fewer
    than `wanted` were found although something was left out.
    """
    if scores.size < wanted:
        return 0.0 if bound == -np.inf else float("inf")
    return 0.0 if bound <= scores[-1] else float(bound - scores[-1])
