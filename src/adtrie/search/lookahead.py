"""Chooses, forward by forward, what `verify` feeds besides the nodes it needs: least predicted milliseconds.

Choices are whole subtrees of some live beams (forced chains among them) and whole levels below the others.
Knows the frontier, the trie's shape and the row cost; no pruning rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from adtrie.config import RowCost
from adtrie.search.frontier import ROOT, Frontier, Nodes

if TYPE_CHECKING:
    from adtrie.catalogue.trie import Trie

SAVED = (
    0.4  # part of the later steps' price that feeding ahead saves: beams that are dropped waste their rows
)
_Number = TypeVar("_Number", np.int64, np.float64)


@dataclass(frozen=True, eq=False)
class _Prospect:
    """What is below m needed nodes, cheapest subtree first. Option i feeds the first i subtrees whole now."""

    order: NDArray[np.int64]  # positions among the needed nodes
    rows: NDArray[np.int64]  # int64[m+1]: rows of option i
    next_level: NDArray[np.int64]  # int64[m+1]: rows one level below the nodes that option i leaves
    steps_ms: NDArray[np.float64]  # [m+1, steps]: predicted price of each later step for what option i leaves


class Lookahead:
    """Makes the forwards of one `verify` request, of at most `max_rows` trie rows each."""

    def __init__(self, nodes: Frontier, trie: Trie, cost: RowCost, max_rows: int) -> None:
        self.nodes, self.trie, self.max_rows = nodes, trie, max_rows
        self.price = cost.first(nodes.prompt_size + max_rows + 2)  # by rows; more cannot be fed

    def feed(self, needed: Nodes, heirs: float) -> None:
        """One forward for the `needed` open nodes of one depth (best first), or for as many as fit.

        heirs: how many places of the beam are free for what is below each live node, on average.
        """
        nodes = self.nodes
        nodes.list_children(nodes.unlisted(needed))
        forced = nodes.unfed_above(needed)[: self.max_rows]
        if nodes.row[ROOT] < 0:  # the root's row is the prompt's last
            self._feed_ahead(needed, nodes.prompt_size, self.max_rows, heirs)
        elif forced.size == self.max_rows:
            depth = nodes.depth[forced]
            nodes.feed([forced[depth == d] for d in np.unique(depth)])
        elif forced.size + needed.size >= self.max_rows:
            nodes.feed([needed[: self.max_rows - forced.size]])
        else:
            must = forced.size + needed.size
            self._feed_ahead(needed, must, self.max_rows - must, heirs)

    def _feed_ahead(self, needed: Nodes, must: int, room: int, heirs: float) -> None:
        """One forward of the `must` rows that `needed` takes and up to `room` rows below it."""
        if not self._may_pay(needed.size, must):
            self.nodes.feed([needed])
            return
        prospect = self._prospect(needed, heirs)
        options = np.concatenate((prospect.rows, prospect.rows + prospect.next_level))  # alone | with a level
        later = prospect.steps_ms.sum(axis=1)
        price = self._price(must + options) + np.concatenate((later, later - prospect.steps_ms[:, 0]))
        price[options > room] = np.inf
        num_whole = int(price.argmin()) % later.size
        whole = np.zeros(needed.size, np.bool_)
        whole[prospect.order[:num_whole]] = True
        levels = self._whole_levels(needed[whole], room)
        room -= sum(level.size for level in levels)
        must += int(prospect.rows[num_whole])
        for depth, more in enumerate(
            self._next_levels(needed[~whole], must, room, prospect.steps_ms[num_whole])
        ):
            levels[depth:] = [np.concatenate((*levels[depth : depth + 1], more)), *levels[depth + 1 :]]
        self.nodes.feed([needed, *levels])

    def feeds_only(self, num_needed: int) -> bool:
        """Whether so many needed nodes are fed in one forward, with nothing besides."""
        return num_needed < self.max_rows and not self._may_pay(num_needed, num_needed)

    def _may_pay(self, num_needed: int, must: int) -> bool:
        """Whether a row more costs less now than one might save later, when a quarter of the nodes is left.

        Where it does not, as where every row takes its time, looking further takes longer than it can save.
        """
        left = (num_needed + 3) // 4
        more = self.price[min(2 * must, self.price.size - 1)] - self.price[must]
        return bool(more * left < SAVED * self.price[left] * must)

    def _prospect(self, needed: Nodes, heirs: float) -> _Prospect:
        """Sizes of what is below `needed`, and what later steps cost for each number of subtrees fed now."""
        nodes = self.nodes
        lo, hi, depth = nodes.lo[needed], nodes.hi[needed], nodes.depth[needed]
        size, rows = hi - lo, self.trie.num_rows(lo, hi, depth)
        steps = self.trie.length(lo) - depth - 1  # of the first entry: near enough for a guess
        if nodes.renormalised:  # forced ends take no row; about two rows per entry lead to where entries part
            rows, steps = np.minimum(rows, 2 * (size - 1)), np.where(size == 1, 0, steps)
        positions = np.arange(needed.size)  # the last of a beam are the first to be dropped
        order = (rows * (1.0 + positions / needed.size)).argsort(kind="stable")
        owner = positions.repeat(nodes.count[needed])
        next_level = np.bincount(owner[self._needs_row(nodes.children(needed))], minlength=needed.size)
        later_steps = steps[order, None] > np.arange(max(int(steps.max()), 1))
        taking = np.minimum(size, heirs)[order, None] * later_steps
        return _Prospect(
            order,
            np.concatenate((np.zeros(1, np.int64), rows[order].cumsum())),
            _sums_from(next_level[order]),
            SAVED * self._price(_sums_from(taking).astype(np.int64)),
        )

    def _whole_levels(self, ids: Nodes, room: int) -> list[Nodes]:
        """All nodes below `ids` that may need a row, level by level, while they fit `room` rows."""
        levels: list[Nodes] = []
        while (ids := self._inner_below(ids)).size and ids.size <= room:
            levels.append(ids)
            room -= ids.size
        return levels

    def _next_levels(self, ids: Nodes, must: int, room: int, steps_ms: NDArray[np.float64]) -> list[Nodes]:
        """Levels below `ids`, each while it fits and costs less than the step that it saves."""
        levels: list[Nodes] = []
        for saved in steps_ms:
            ids = self._inner_below(ids)
            before, after = self._price(np.array([must, must + ids.size]))  # `must` is a guess
            if ids.size == 0 or ids.size > room or after - before >= saved:
                break
            levels.append(ids)
            must, room = must + ids.size, room - ids.size
        return levels

    def _inner_below(self, ids: Nodes) -> Nodes:
        """The children of `ids` that may need a row."""
        self.nodes.list_children(self.nodes.unlisted(ids))
        below = self.nodes.children(ids)
        return below[self._needs_row(below)]

    def _price(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Predicted milliseconds of forwards; those of more rows than may be fed cost as much as the most."""
        return self.price.take(rows, mode="clip")

    def _needs_row(self, ids: Nodes) -> NDArray[np.bool_]:
        """Which of `ids` have children whose scores a forward must give, bool[n]."""
        nodes = self.nodes
        inner = ~nodes.leaf[ids]
        return np.asarray(inner & (nodes.hi[ids] - nodes.lo[ids] > 1) if nodes.renormalised else inner)


def _sums_from(values: NDArray[_Number]) -> NDArray[_Number]:
    """[m+1, ...]: the sum of values[i:] along the first axis, 0 for i = m."""
    sums = np.zeros((values.shape[0] + 1, *values.shape[1:]), values.dtype)
    values[::-1].cumsum(axis=0, out=sums[-2::-1])
    return sums
