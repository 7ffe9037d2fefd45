"""Entries named in advance: a guess that saves `exact` rows, and what retrieval adds to the answer of a beam.

Knows no retrieval: any set of entries is a valid one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adtrie.errors import InputError
from adtrie.search.frontier import ROOT, Frontier, Nodes

_SEEDS_PER_ROW = 16  # beyond so many, seeds are not even looked at where rows are few


def check_seeds(seeds: ArrayLike | None, num_entries: int) -> NDArray[np.int64]:
    """Distinct entries int64 in the order given; InputError when one is not an entry of the catalogue."""
    if seeds is None:
        return np.zeros(0, np.int64)
    try:
        entries = np.asarray(seeds)
    except (TypeError, ValueError, OverflowError):
        raise InputError("seeds: expected a list of entry numbers, got rows of unequal length") from None
    if entries.size == 0:
        return np.zeros(0, np.int64)
    if entries.ndim != 1 or entries.dtype.kind not in "iu":
        raise InputError(
            f"seeds: expected a list of entry numbers, got {entries.dtype} of shape {entries.shape}"
        )
    if int(entries.min()) < 0 or int(entries.max()) >= num_entries:
        raise InputError(
            f"seeds: expected entries from 0 to {num_entries - 1}, "
            f"got {int(entries.min())} to {int(entries.max())}"
        )
    _, first = np.unique(entries, return_index=True)
    return entries[np.sort(first)].astype(np.int64)


def seeded_levels(nodes: Frontier, seeds: NDArray[np.int64], max_rows: int) -> list[Nodes]:
    """The root, and below it the paths of as many of the first `seeds` (distinct) as `max_rows` allows."""
    seeds = seeds[: _SEEDS_PER_ROW * (max_rows + 1)]
    order = np.argsort(seeds)
    ascending, ranks = seeds[order], np.append(order, seeds.size)
    levels, needed_by = [np.array([ROOT])], [np.zeros(0, np.int64)]
    while levels[-1].size:
        below = nodes.list_children(levels[-1])
        inner = below[~nodes.leaf[below]]
        if nodes.renormalised:
            inner = inner[nodes.hi[inner] - nodes.lo[inner] > 1]
        begin, end = (ascending.searchsorted(side[inner]) for side in (nodes.lo, nodes.hi))
        held = end > begin
        levels.append(inner[held])
        ranges = np.stack((begin[held], end[held]), axis=1).ravel()
        needed_by.append(np.minimum.reduceat(ranks, ranges)[::2] if ranges.size else ranges)
    rows = np.bincount(np.concatenate(needed_by), minlength=seeds.size).cumsum()
    num_seeds = int(rows.searchsorted(max_rows, side="right"))
    levels[1:] = [level[first < num_seeds] for level, first in zip(levels[1:], needed_by[1:], strict=True)]
    return [level for level in levels if level.size]


def score_seeds(nodes: Frontier, seeds: NDArray[np.int64], max_rows: int) -> Nodes:
    """The leaves of `seeds` (distinct, ascending), scored; the root must have been fed.

    One forward for all that is not known yet, more where it needs more than `max_rows` rows.
    """
    while True:
        leaves, unknown = known_seeds(nodes, seeds)
        if unknown.size == 0:
            return leaves
        forced = nodes.unfed_above(unknown)[:max_rows]
        if forced.size == max_rows:
            depth = nodes.depth[forced]
            nodes.feed([forced[depth == each] for each in np.unique(depth)])
            continue
        levels = [unknown[: max_rows - forced.size]]
        room = max_rows - forced.size - unknown.size
        while True:
            nodes.list_children(nodes.unlisted(levels[-1]))
            below = _holding(nodes, nodes.children(levels[-1]), seeds)
            inner = below[~nodes.leaf[below]]
            room -= inner.size
            if inner.size == 0 or room < 0:
                break
            levels.append(inner)
        nodes.feed(levels)


def known_seeds(nodes: Frontier, seeds: NDArray[np.int64]) -> tuple[Nodes, Nodes]:
    """Scored leaves of the seeds, and the deepest scored nodes above the others."""
    leaves, unknown, at = [], [], np.array([ROOT])
    while at.size:
        nodes.reveal(at)
        is_open = nodes.is_open(at)
        unknown.append(at[is_open])
        below = _holding(nodes, nodes.children(at[~is_open]), seeds)
        is_leaf = nodes.leaf[below]
        leaves.append(below[is_leaf])
        at = below[~is_leaf]
    return np.concatenate(leaves), np.concatenate(unknown)


def _holding(nodes: Frontier, ids: Nodes, seeds: NDArray[np.int64]) -> Nodes:
    return ids[np.searchsorted(seeds, nodes.hi[ids]) > np.searchsorted(seeds, nodes.lo[ids])]
