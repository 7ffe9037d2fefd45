"""Metrics of ranked retrieval and of latencies as pure functions of arrays and lists.

Knows no model, task or clock; every random choice takes a seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adtrie.errors import InputError

_RESAMPLES_PER_CHUNK = 256  # bounds the bootstrap's memory at 256 rows of indices


@dataclass(frozen=True)
class Interval:
    """A mean difference and its two-sided bootstrap interval at `level`."""

    mean: float
    low: float
    high: float
    level: float


def ranks(ranked: Sequence[Sequence[str]], labels: Sequence[str]) -> NDArray[np.int64]:
    """int64[n]: position of each label in its ranked list, counted from 1; 0 where it is not in the list.

    Raises InputError if there is not exactly one list per label.
    """
    if len(ranked) != len(labels):
        raise InputError(f"{len(ranked)} ranked lists for {len(labels)} labels; expected one list per label")
    found = [
        list(hits).index(label) + 1 if label in hits else 0
        for hits, label in zip(ranked, labels, strict=True)
    ]
    return np.array(found, dtype=np.int64)


def _positions(label_ranks: ArrayLike) -> NDArray[np.int64]:
    positions = np.asarray(label_ranks)
    if positions.ndim != 1 or positions.size == 0 or positions.dtype.kind not in "iu" or positions.min() < 0:
        raise InputError("ranks must be a non-empty list of integers >= 0 (0 = label not found)")
    return positions.astype(np.int64)


def recall_at_k(label_ranks: ArrayLike, k: int) -> float:
    """Share of `ranks` that are among the first `k`. Raises InputError on k < 1 or no rows."""
    if k < 1:
        raise InputError(f"k is {k}; expected 1 or more")
    positions = _positions(label_ranks)
    return float(np.mean((positions >= 1) & (positions <= k)))


def mrr(label_ranks: ArrayLike) -> float:
    """Mean reciprocal rank; a label that was not found counts 0."""
    positions = _positions(label_ranks)
    return float(np.mean(np.where(positions > 0, 1.0 / np.maximum(positions, 1), 0.0)))


def percentiles(values: ArrayLike, percents: Sequence[float] = (50.0, 99.0)) -> tuple[float, ...]:
    """The requested percentiles of `values`, each one of the values (nearest rank, rounded up).

    Raises InputError on no values, NaN, or a percent outside 0..100.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or numbers.size == 0 or np.isnan(numbers).any():
        raise InputError("percentiles need a non-empty list of numbers without NaN")
    if any(not 0.0 <= percent <= 100.0 for percent in percents):
        raise InputError(f"percents are {tuple(percents)}; expected numbers from 0 to 100")
    return tuple(float(value) for value in np.percentile(numbers, list(percents), method="inverted_cdf"))


def paired_bootstrap(
    ours: ArrayLike, theirs: ArrayLike, *, seed: int, resamples: int = 2000, level: float = 0.95
) -> Interval:
    """Interval of mean(ours - theirs), both measured on the same rows, which are resampled together.

    Percentile bootstrap; same arguments, same result. Raises InputError if the lengths differ or are 0.
    """
    first, second = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or first.size == 0:
        raise InputError(
            f"paired values have shapes {first.shape} and {second.shape}; expected two equal lists"
        )
    if resamples < 1 or not 0.0 < level < 1.0:
        raise InputError(f"resamples is {resamples}, level {level}; expected >= 1 and between 0 and 1")
    differences = first - second
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for start in range(0, resamples, _RESAMPLES_PER_CHUNK):
        stop = min(start + _RESAMPLES_PER_CHUNK, resamples)
        rows = rng.integers(0, differences.size, (stop - start, differences.size))
        means[start:stop] = differences[rows].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(differences.mean()), float(low), float(high), level)
