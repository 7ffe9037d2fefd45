"""Entries that were named in advance, scored by a frontier: what retrieval adds to the answer of a beam.

Knows no retrieval: any set of entries is a valid one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adtrie.search.frontier import ROOT, Frontier, Nodes


def score_seeds(nodes: Frontier, seeds: NDArray[np.int64], max_rows: int) -> Nodes:
    """The leaves of `seeds` (distinct, ascending), scored; the root must have been fed.

    One forward for all that is not known yet, more where it needs more than `max_rows` rows.
    """
    while True:
        leaves, unknown = _known(nodes, seeds)
        if unknown.size == 0:
            return leaves
        levels, room = [unknown[:max_rows]], max_rows - unknown.size
        while True:
            nodes.list_children(nodes.unlisted(levels[-1]))
            below = _holding(nodes, nodes.children(levels[-1]), seeds)
            inner = below[~nodes.leaf[below]]
            room -= inner.size
            if inner.size == 0 or room < 0:
                break
            levels.append(inner)
        nodes.feed(levels)


def _known(nodes: Frontier, seeds: NDArray[np.int64]) -> tuple[Nodes, Nodes]:
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
