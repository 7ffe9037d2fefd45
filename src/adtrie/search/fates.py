"""What became of every node a search explored, and by which numbers. Knows the recording, not the search.

Follows from scores alone: branch and bound drops what cannot reach the k-th entry; a beam keeps the best
`width` of each step, whatever was fed ahead of need.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adtrie.search.finished import Caps, Finished
from adtrie.search.rank import best
from adtrie.search.recording import ROOT, Explored, Nodes

if TYPE_CHECKING:
    from adtrie.catalogue.prior import Bonus


class Fate(IntEnum):
    """What became of a node."""

    EXPANDED = 0  # fed; its children have fates of their own
    ANSWER = 1  # an entry that was returned
    BEATEN = 2  # an entry that scores below the last one returned
    PRUNED = 3  # nothing below it can reach the last entry returned
    CUT = 4  # a beam dropped it, or it lies below a node that a beam dropped
    OPEN = 5  # something below it might belong into the answer; the budget ended first
    CAPPED = 6  # an entry that may not be returned besides better ones of its group


@dataclass(frozen=True, eq=False)
class Fates:
    """fate int8[n] and total float64[n] (score and best prior below) of each explored node.

    answer: the nodes returned, best first; `worst`: the last one's total, -inf if fewer than k were found.
    limit float64[n]: the total that a CUT node had to beat in its step; -inf for other nodes.
    """

    fate: NDArray[np.int8]
    total: NDArray[np.float64]
    answer: Nodes
    worst: float
    limit: NDArray[np.float64]


def totals(explored: Explored, prior: Bonus | None) -> NDArray[np.float64]:
    """float64[n]: no entry below a node has a higher total."""
    return explored.score if prior is None else explored.score + prior.best(explored.lo, explored.hi)


def fates_of_exact(explored: Explored, k: int, prior: Bonus | None = None, caps: Caps | None = None) -> Fates:
    """Fates of a branch and bound for the best k, at most so many of each group."""
    total, found = totals(explored, prior), Finished(k, caps)
    ends = np.flatnonzero(explored.finished())
    ends = ends[np.argsort(explored.lo[ends])]
    found.add(explored.lo[ends], total[ends])
    answer = ends[explored.lo[ends].searchsorted(found.entries)]
    worst = float(found.totals[-1]) if found.full else -np.inf
    fate = np.where(total <= worst, Fate.PRUNED, Fate.OPEN)
    fate[ends] = np.where(total[ends] <= worst, Fate.BEATEN, Fate.CAPPED)
    if caps is not None and answer.size:
        out = np.flatnonzero(~found.may_enter(total, explored.lo, explored.hi) & (total > worst))
        fate[out] = Fate.CAPPED
    fate[(explored.fed >= 0) & ~explored.finished()] = Fate.EXPANDED
    fate[answer] = Fate.ANSWER
    return Fates(fate.astype(np.int8), total, answer, worst, np.full(total.size, -np.inf))


def fates_of_beam(
    explored: Explored, k: int, width: int, prior: Bonus | None = None, seeds: Nodes | None = None
) -> Fates:
    """Fates of a beam: its pruning once more over the scores that were recorded. `seeds`: entries besides."""
    total, finished = totals(explored, prior), explored.finished()
    fate = np.full(total.size, Fate.CUT, np.int8)  # also what was fed ahead below a dropped node
    limit = np.full(total.size, -np.inf)
    beams = np.array([ROOT])
    while (live := beams[explored.count[beams] > 0]).size:
        waiting = beams[(explored.count[beams] == 0) & ~finished[beams]]
        if waiting.size and not explored.renormalised:  # the time ended; forced tokens wait by choice
            break
        fate[live] = Fate.EXPANDED
        below = [beams[explored.count[beams] == 0], *(explored.children(node) for node in live.tolist())]
        pool = np.concatenate(below)
        kept = best(total[pool], explored.lo[pool], width)
        dropped = np.delete(pool, kept)
        limit[dropped] = total[pool[kept[-1]]]
        beams = pool[kept]
    fate[beams] = np.where(finished[beams], Fate.BEATEN, Fate.OPEN)
    if seeds is not None and seeds.size:
        named = np.flatnonzero(finished & np.isin(explored.lo, seeds))
        fate[named], limit[named] = Fate.BEATEN, -np.inf
    ends = np.flatnonzero(fate == Fate.BEATEN)
    answer = ends[best(total[ends], explored.lo[ends], k)]
    fate[answer] = Fate.ANSWER
    worst = float(total[answer[-1]]) if answer.size else -np.inf
    return Fates(fate, total, answer, worst, limit)


@dataclass(frozen=True)
class Level:
    """The nodes of one depth: counts, and probability mass (natural scale, of the whole model distribution).

    expanded: of nodes that were fed; finished: of entries that end here; left: of nodes not followed;
    outside: what the nodes above gave to tokens that no entry has here.
    """

    depth: int
    nodes: int
    num_expanded: int
    expanded: float
    finished: float
    left: float
    outside: float


def levels_of(explored: Explored) -> list[Level]:
    """Mass level by level, from the first tokens on."""
    mass, finished, fed = np.exp(explored.score), explored.finished(), explored.fed >= 0
    levels: list[Level] = []
    above = 1.0
    for depth in range(1, int(explored.depth.max(initial=0)) + 1):
        here = explored.depth == depth
        known, ends = float(mass[here].sum()), here & finished & ~fed
        expanded, ended = float(mass[here & fed].sum()), float(mass[ends].sum())
        levels.append(
            Level(
                depth,
                int(here.sum()),
                int((here & fed).sum()),
                expanded,
                ended,
                max(known - expanded - ended, 0.0),
                max(above - known, 0.0),
            )
        )
        above = expanded
    return levels
