"""Steps of a beam that feed every live hypothesis and nothing else: most of a `verify` where rows are dear.

Without a store of nodes, and in native code where it was built: after a forward has driven all else out of
the caches, what a step touches is what it costs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue import native
from adtrie.catalogue.nodes import Children
from adtrie.search.deadline import OutOfTime
from adtrie.search.frontier import Frontier, Nodes
from adtrie.search.rank import best

if TYPE_CHECKING:
    from adtrie.catalogue.trie import Trie

Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Beam:
    """n live hypotheses and m finished entries, each in falling order.

    lo, hi, depth int64[n]: the node; token, row int32[n]: its last token and its parent's row; score
    float64[n]. done_lo int64[m], done_score float64[m]: the entries.
    """

    lo: Int64
    hi: Int64
    depth: Int64
    token: NDArray[np.int32]
    row: NDArray[np.int32]
    score: NDArray[np.float64]
    done_lo: Int64
    done_score: NDArray[np.float64]


def keep_best(
    beam: Beam, width: int, below: Children, scores: NDArray[np.float64], first_row: int
) -> tuple[Beam, float]:
    """The best `width` of the finished entries and of `below`, and the best score dropped, -inf if none is.

    `below` are the children of the live hypotheses, which were fed as rows from `first_row` on; scores
    float64[C] are their own tokens'.
    """
    if native.trie is None:
        return slow_keep_best(beam, width, below, scores, first_row)
    found = native.trie.keep_best(
        width,
        beam.depth,
        beam.score,
        beam.done_lo,
        beam.done_score,
        below.ptr,
        below.tokens,
        below.lo,
        below.hi,
        below.is_leaf,
        scores,
        first_row,
    )
    return Beam(*found[:-1]), found[-1]


def slow_keep_best(
    beam: Beam, width: int, below: Children, scores: NDArray[np.float64], first_row: int
) -> tuple[Beam, float]:
    """`keep_best` in NumPy: its definition."""
    parent = np.arange(beam.lo.size).repeat(np.diff(below.ptr))
    total = np.concatenate((beam.done_score, beam.score[parent] + scores))
    lo = np.concatenate((beam.done_lo, below.lo))
    kept = best(total, lo, width)
    dropped = float(np.delete(total, kept).max(initial=-np.inf))
    done = np.concatenate((np.ones(beam.done_lo.size, np.bool_), below.is_leaf))[kept]
    live = kept[~done] - beam.done_lo.size
    return Beam(
        below.lo[live],
        below.hi[live],
        beam.depth[parent[live]] + 1,
        below.tokens[live],
        (first_row + parent[live]).astype(np.int32),
        total[kept[~done]],
        lo[kept[done]],
        total[kept[done]],
    ), dropped


def run_steps(
    nodes: Frontier, trie: Trie, beams: Nodes, width: int, goes_on: Callable[[int], bool]
) -> tuple[Nodes, float, OutOfTime | None]:
    """The beam after as many steps as `goes_on(live hypotheses)` allows, from nodes whose live ones are open.

    Also the best score dropped, and what stopped a forward that was not in time. The nodes returned are in
    the store, their ancestors are not. For scores without a prior.
    """
    live = ~nodes.leaf[beams]
    going, done = beams[live], beams[~live]
    beam = Beam(
        nodes.lo[going],
        nodes.hi[going],
        nodes.depth[going].astype(np.int64),
        nodes.token[going],
        nodes.row[nodes.parent[going]],
        nodes.score[going],
        nodes.lo[done],
        nodes.score[done],
    )
    dropped, late = -np.inf, None
    try:
        while beam.lo.size and goes_on(beam.lo.size):
            below = trie.children(beam.lo, beam.hi, beam.depth)
            first_row, scores = nodes.feed_apart(beam.token, beam.row, below)
            beam, least = keep_best(beam, width, below, scores, first_row)
            dropped = max(dropped, least)
    except OutOfTime as error:
        late = error
    found = nodes.adopt(beam.lo, beam.hi, beam.depth, beam.token, beam.row, beam.score)
    ended = nodes.adopt_finished(beam.done_lo, beam.done_score)
    beams = np.concatenate((found, ended))
    return beams[best(nodes.score[beams], nodes.lo[beams], width)], dropped, late
