"""Which rows to feed besides the needed ones: chances of use against the predicted milliseconds of a forward.

Guesses change only what an answer costs. Knows the frontier, no search rule.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adtrie.search.frontier import Frontier, Nodes
from adtrie.search.guess import Guesses, Step

LEAST_CHANCE = 0.02  # of the likeliest: a row of less use is not worth its place in the request's row budget


def useful_rows(nodes: Frontier, chosen: Guesses, step: Step, price: NDArray[np.float64]) -> list[Nodes]:
    """Levels of one forward with the most expected use per millisecond; empty when not even one row fits.

    price[n-1] is that of n rows, for as many as are allowed. `chosen` are open nodes, distinct.
    """
    chance = chosen.chance
    least = LEAST_CHANCE * float(chance.max())
    found, depths = chosen[chance >= least], np.zeros(int(np.count_nonzero(chance >= least)), np.int64)
    max_rows, depth = price.size, 0  # levels below `chosen` so far
    while True:
        chance = found.chance
        order = (-chance).argsort(kind="stable")[:max_rows]
        num_rows = int((chance[order].cumsum() / price[: order.size]).argmax()) + 1
        kept = order[:num_rows]
        grow = found[kept[depths[kept] == depth]]
        nodes.list_children(nodes.unlisted(grow.nodes))
        below = grow.below(nodes, step)
        below = below[below.chance >= least]
        if below.nodes.size == 0:
            break
        depth += 1
        found, depths = found + below, np.concatenate((depths, np.full(below.nodes.size, depth)))
    return _levels_that_fit(nodes, found.nodes[kept], depths[kept], max_rows)


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
