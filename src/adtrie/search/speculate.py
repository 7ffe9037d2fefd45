"""Which rows to feed besides the needed ones: guesses of use against the predicted milliseconds of a forward.

Guesses change only what an answer costs. Knows the frontier, no search rule.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adtrie.search.frontier import Frontier, Nodes

LEAST_CHANCE = 0.02  # a row of less use is not worth its place in the request's row budget
KEPT_PER_TOKEN = 0.8  # guessed chance that the one child of a useful node is useful too


def useful_rows(
    nodes: Frontier, chosen: Nodes, chance: NDArray[np.float64], milliseconds: NDArray[np.float64]
) -> list[Nodes]:
    """Levels of one forward with the most expected use per millisecond; empty when not even one row fits.

    milliseconds[n-1] is the price of n rows, for as many as are allowed. `chosen` are open nodes, best first,
    with their chance of being needed; a child is needed with the chance of its parent times KEPT_PER_TOKEN
    times its share of the parent's entries.
    """
    likely = chance >= LEAST_CHANCE
    ids, uses = chosen[likely], chance[likely]
    depths = np.zeros(ids.size, np.int64)
    max_rows, depth = milliseconds.size, 0  # levels below `chosen` so far
    while True:
        order = np.argsort(-uses, kind="stable")[:max_rows]
        num_rows = int(np.argmax(np.cumsum(uses[order]) / milliseconds[: order.size])) + 1
        kept = order[:num_rows]
        grow = kept[depths[kept] == depth]
        nodes.list_children(nodes.unlisted(ids[grow]))
        below, use = _inner_children(nodes, ids[grow], uses[grow])
        if below.size == 0:
            break
        depth += 1
        ids, uses = np.concatenate((ids, below)), np.concatenate((uses, use))
        depths = np.concatenate((depths, np.full(below.size, depth)))
    return _levels_that_fit(nodes, ids[kept], depths[kept], max_rows)


def _inner_children(
    nodes: Frontier, parents: Nodes, use: NDArray[np.float64]
) -> tuple[Nodes, NDArray[np.float64]]:
    """The inner children of `parents` worth guessing, with their chances."""
    below = nodes.children(parents)
    chance = np.repeat(use, nodes.count[parents]) * KEPT_PER_TOKEN
    up = nodes.parent[below]
    chance = chance * (nodes.hi[below] - nodes.lo[below]) / (nodes.hi[up] - nodes.lo[up])
    worth = ~nodes.leaf[below] & (chance >= LEAST_CHANCE)
    if nodes.renormalised:
        worth &= nodes.hi[below] - nodes.lo[below] > 1
    return below[worth], chance[worth]


def _levels_that_fit(nodes: Frontier, ids: Nodes, depths: NDArray[np.int64], max_rows: int) -> list[Nodes]:
    """`ids` (best first) by level, cut where skipped forced tokens above them would exceed `max_rows`."""
    first = ids[depths == 0]
    while first.size and first.size + nodes.unfed_above(first).size > max_rows:
        first = first[: first.size // 2]
    if first.size < np.count_nonzero(depths == 0):
        return [first] if first.size else []
    levels = [first]
    room = max_rows - first.size - nodes.unfed_above(first).size
    for depth in range(1, int(depths.max(initial=0)) + 1):
        level = ids[depths == depth]
        if level.size > room:
            break
        room -= level.size
        levels.append(level)
    return levels
