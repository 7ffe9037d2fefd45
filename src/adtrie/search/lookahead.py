"""Chooses, forward by forward, what `verify` feeds besides the nodes it needs: least predicted milliseconds.

Choices are whole subtrees of some live beams (forced chains among them) and whole levels below the others.
Knows the frontier, the trie's shape and the row cost; no pruning rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adtrie.search.frontier import ROOT, Frontier, Nodes
from adtrie.search.scorer import RowCost

if TYPE_CHECKING:
    from adtrie.catalogue.trie import Trie

KEPT = 0.7  # guessed chance that a beam fed ahead is still there when its rows are wanted


@dataclass(frozen=True, eq=False)
class _Prospect:
    """What is below m needed nodes, cheapest subtree first; steps are forwards of `stepwise` after this one."""

    order: NDArray[np.int64]  # positions among the needed nodes
    rows: NDArray[np.int64]  # int64[m+1]: rows of the first i subtrees together
    next_level: NDArray[np.int64]  # int64[m+1]: rows one level below all but the first i
    steps_ms: NDArray[np.float64]  # [m+1, steps]: predicted price of each later step when the first i are fed


class Lookahead:
    """Makes the forwards of one `verify` request, of at most `max_rows` trie rows each."""

    def __init__(self, nodes: Frontier, trie: Trie, cost: RowCost, max_rows: int) -> None:
        self.nodes, self.trie, self.cost, self.max_rows = nodes, trie, cost, max_rows

    def feed(self, needed: Nodes, num_live: int, num_slots: int) -> None:
        """One forward for the `needed` open nodes of one depth (best first), or for as many as fit.

        num_live of the beam's num_slots unfinished places are taken, the needed nodes among them.
        """
        nodes = self.nodes
        nodes.list_children(nodes.unlisted(needed))
        forced = nodes.unfed_above(needed)
        if forced.size >= self.max_rows:
            depths = nodes.depth[forced[: self.max_rows]]
            nodes.feed([forced[: self.max_rows][depths == depth] for depth in np.unique(depths)])
            return
        prompt_rows = nodes.prompt_size if nodes.row[ROOT] < 0 else 0
        base = prompt_rows - 1 if prompt_rows else forced.size
        room = self.max_rows - (0 if prompt_rows else needed.size + forced.size)
        if room <= 0:
            nodes.feed([needed[: self.max_rows - forced.size]])
            return
        prospect = self._prospect(needed, num_live, num_slots)
        num_whole, num_levels = self._cheapest(prospect, base + needed.size, room)
        whole = prospect.order[:num_whole]
        nodes.feed(self._levels(needed, whole, num_levels, room, prospect, base))

    def _prospect(self, needed: Nodes, num_live: int, num_slots: int) -> _Prospect:
        """Sizes of what is below `needed`, and what later steps cost for each number of subtrees fed now."""
        nodes = self.nodes
        lo, hi, depth = nodes.lo[needed], nodes.hi[needed], nodes.depth[needed]
        size, rows = hi - lo, self.trie.num_rows(lo, hi, depth)
        steps = np.maximum(self.trie.remaining(lo, hi, depth).mean - 1.0, 0.0)
        if nodes.renormalised:  # a single entry needs no more rows
            rows, steps = np.where(size == 1, 0, rows), np.where(size == 1, 0.0, steps)
        order = np.argsort(rows * (1.0 + np.arange(needed.size) / needed.size), kind="stable")
        inner = ~nodes.leaf[nodes.children(needed)]
        next_level = np.bincount(
            np.repeat(np.arange(needed.size), nodes.count[needed])[inner], minlength=needed.size
        )
        heirs = np.minimum(size, max(num_slots / num_live, 1.0))
        later = heirs[order, None] * (np.ceil(steps[order, None]) > np.arange(int(np.ceil(steps.max()))))
        left = np.vstack((np.cumsum(later[::-1], axis=0)[::-1], np.zeros(later.shape[1])))
        wanted = left + (1.0 - KEPT) * (left[0] - left) * (left > 0)
        return _Prospect(
            order,
            np.concatenate((np.zeros(1, np.int64), np.cumsum(rows[order]))),
            np.concatenate((np.cumsum(next_level[order][::-1])[::-1], np.zeros(1, np.int64))),
            self.cost.ms_of(wanted),
        )

    def _cheapest(self, prospect: _Prospect, now: int, room: int) -> tuple[int, int]:
        """How many subtrees to feed whole, and whether (0 or 1) to feed one level below the other nodes."""
        options = prospect.rows + np.array([[0], [1]]) * prospect.next_level
        later = prospect.steps_ms.sum(axis=1)
        saved = np.vstack((np.zeros(later.size), prospect.steps_ms[:, :1].sum(axis=1)))
        total = self.cost.ms_of(now + options) + later - saved
        total[options > room] = np.inf
        level, whole = divmod(int(np.argmin(total)), later.size)
        return whole, level

    def _levels(
        self,
        needed: Nodes,
        whole: NDArray[np.int64],
        num_levels: int,
        room: int,
        prospect: _Prospect,
        base: int,
    ) -> list[Nodes]:
        """`needed` and below: everything under those at `whole`, some levels under the others."""
        nodes, levels = self.nodes, [needed]
        inside = np.zeros(needed.size, np.bool_)
        inside[whole] = True
        full, part = needed[inside], needed[~inside]
        room -= int(prospect.rows[whole.size])
        steps_ms = prospect.steps_ms[whole.size]
        price = base + needed.size + int(prospect.rows[whole.size])
        while full.size or part.size:
            full = self._inner_below(full)
            depth = len(levels)
            if part.size and (depth <= num_levels or depth <= steps_ms.size):
                part = self._inner_below(part)
                worth = depth <= num_levels or (
                    self.cost.ms(price + part.size) - self.cost.ms(price) < steps_ms[depth - 1]
                )
                if part.size > room or not worth:
                    part = part[:0]
                room, price = room - part.size, price + part.size
            else:
                part = part[:0]
            if full.size or part.size:
                levels.append(np.concatenate((full, part)))
        return levels

    def _inner_below(self, ids: Nodes) -> Nodes:
        """The children of `ids` that may need a row."""
        nodes = self.nodes
        nodes.list_children(nodes.unlisted(ids))
        below = nodes.children(ids)
        needs_row = ~nodes.leaf[below]
        if nodes.renormalised:
            needs_row &= nodes.hi[below] - nodes.lo[below] > 1
        return below[needs_row]
