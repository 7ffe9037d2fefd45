"""Balanced hierarchical clusters of vectors: each row's path from the widest level down. Knows no tokens.

A group is split in two until it has its number of parts: 2-means in which both sides have a given size. For
two centres the best such assignment is a cut of the rows sorted along the line between them, so sizes are
exact and nothing is searched. All groups are cut at once. Neighbouring numbers are neighbouring groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.sequences import Int64
from adtrie.errors import InputError

Float32 = NDArray[np.float32]
Progress = Callable[[int, int], None]
MAX_LEVELS = 32
MAX_BRANCHING = 1 << 16
ITERATIONS = 8  # of one cut in two
STILL = 1e-3  # a cut ends when at most this share of the rows changed sides


def balanced_codes(
    vectors: Any, branching: Sequence[int], seed: int = 0, progress: Progress | None = None
) -> NDArray[np.int32]:
    """int32[N, L]: at level l each group of equal codes above it is cut into branching[l] parts.

    Parts of one group differ by at most one row in size; a group smaller than its number of parts uses the
    first numbers. Equal arguments give equal codes. `vectors` is float[N, D]; one float32 copy is made.
    Raises InputError for vectors that are not finite numbers in rows, or a branching below 2.
    """
    ways, columns = check_branching(branching), _scaled_columns(vectors)
    num_rows = columns.shape[1]
    rng, order = np.random.default_rng(seed), np.arange(num_rows)
    codes = np.zeros((num_rows, len(ways)), np.int32)
    size = np.array([num_rows])
    for level, parts in enumerate(ways):
        number, parts_left = np.zeros(size.size, np.int64), np.full(size.size, parts)
        while (parts_left > 1).any():
            half = parts_left // 2
            left = half * (size // parts_left) + np.minimum(half, size % parts_left)
            _cut(columns, order, size, left, rng)
            size = np.stack((left, size - left), axis=1).ravel()
            parts_left = np.stack((half, parts_left - half), axis=1).ravel()
            number = np.stack((number, number + half), axis=1).ravel()
            size, parts_left, number = size[size > 0], parts_left[size > 0], number[size > 0]
        codes[order, level] = number.repeat(size)
        if progress is not None:
            progress(level + 1, len(ways))
    return codes


def check_branching(branching: Sequence[int]) -> tuple[int, ...]:
    """The parts of each level as integers. Raises InputError for none, too many, or one out of range."""
    ways = tuple(branching)
    if not 1 <= len(ways) <= MAX_LEVELS:
        raise InputError(f"branching: expected 1 to {MAX_LEVELS} levels, got {len(ways)}")
    for parts in ways:
        if isinstance(parts, bool) or not isinstance(parts, int) or not 2 <= parts <= MAX_BRANCHING:
            raise InputError(f"branching: expected 2 to {MAX_BRANCHING} parts per level, got {parts!r:.40}")
    return ways


def _scaled_columns(vectors: Any) -> Float32:
    """A float32 copy [D, N] whose largest magnitude is 1, so that no square overflows."""
    try:
        found = np.asarray(vectors)
    except (TypeError, ValueError):
        raise InputError("vectors: expected rows of equal length") from None
    if found.ndim != 2 or found.dtype.kind not in "fiu" or 0 in found.shape:
        raise InputError(
            f"vectors: expected numbers in N rows of D columns, got {found.dtype} of shape {found.shape}"
        )
    largest = max(abs(float(found.max())), abs(float(found.min())))
    if not np.isfinite(largest):
        raise InputError("vectors: expected finite numbers, got NaN or infinity; remove those rows")
    columns = np.empty(found.shape[::-1], np.float32)
    for start in range(0, len(found), 1 << 14):  # blocks: no second copy of what may be a mapped file
        block = found[start : start + (1 << 14)]
        columns[:, start : start + len(block)] = (block / (largest or 1.0)).T
    return columns


def _cut(columns: Float32, order: Int64, size: Int64, left: Int64, rng: np.random.Generator) -> None:
    """Permutes columns and order within each group of `size` rows so that its first side, `left`, is first.

    Groups lie behind each other; both sides keep their old order.
    """
    first = np.cumsum(size) - size
    place, bound = np.arange(order.size), (first + left).repeat(size)  # the first side ends at `bound`
    owner = np.arange(size.size).repeat(size)
    totals = np.add.reduceat(columns, first, axis=1, dtype=np.float64)
    pair = first + (rng.random((2, size.size)) * size).astype(np.int64)
    direction = columns[:, pair[0]] - columns[:, pair[1]]
    side = np.zeros(order.size, np.bool_)
    for _ in range(ITERATIONS):
        along = np.zeros(order.size, np.float32)
        for column, slope in zip(columns, direction, strict=True):
            along += column * slope.repeat(size)
        before, side = side, np.zeros(order.size, np.bool_)
        side[np.lexsort((along, owner))] = place < bound
        if np.count_nonzero(before ^ side) <= STILL * order.size:
            break
        sums = np.stack([np.add.reduceat(column * side, first, dtype=np.float64) for column in columns])
        right = (totals - sums) / np.maximum(size - left, 1)
        direction = (right - sums / np.maximum(left, 1)).astype(np.float32)
    moved = np.lexsort((~side, owner))
    order[:] = order[moved]
    for column in columns:
        column[:] = column[moved]
