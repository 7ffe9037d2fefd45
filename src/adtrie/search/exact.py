"""The true k best entries of a whole catalogue, by batched best-first branch and bound.

Log-probabilities are at most 0, so a prefix's score, plus the highest prior below it if there is one, bounds
every entry below it. Which rows are fed decides only what the answer costs, never what it is:
docs/design/verification.md has the proof.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adtrie.config import RowCost
from adtrie.search.frontier import ROOT, Frontier, Nodes
from adtrie.search.rank import best, certified_gap
from adtrie.search.scorer import (
    MAX_K,
    MAX_ROWS,
    Scorer,
    SearchResult,
    check_count,
    check_prior,
    check_prompt,
    check_seeds,
)
from adtrie.search.speculate import useful_rows

if TYPE_CHECKING:
    from adtrie.catalogue.prior import Prior
    from adtrie.catalogue.trie import Trie

MAX_BATCH = 512  # rows of one round: more would spend the row budget on guesses
REACH = 3.0  # nats below the best bound at which a node's guessed chance has fallen to 1/e, for k = 1
LEAST_SCORE = -1e6  # stands for -inf where guesses need a difference


def exact(
    scorer: Scorer,
    trie: Trie,
    prompt: Any,
    k: int,
    cost: RowCost,
    max_rows: int = 4096,
    seeds: ArrayLike | None = None,
    *,
    prior: Prior | None = None,
) -> SearchResult:
    """The best min(k, N) entries, proven (gap 0.0) unless `max_rows` trie rows were not enough.

    At the budget: the best found so far and the gap to the best open bound (inf when fewer than k finished).
    `seeds` are entries to score in the first forward (a guess of the answer); they can only save rows.
    `prior` adds a constant to each entry's log-probability; best, gap and bounds are of the totals.
    Raises InputError for a bad argument.
    """
    k = min(check_count("k", k, MAX_K), trie.num_entries)
    max_rows = check_count("max_rows", max_rows, MAX_ROWS)
    tokens, guesses = check_prompt(prompt), check_seeds(seeds, trie.num_entries)
    nodes = Frontier(scorer, trie, tokens, check_prior(prior, trie.num_entries))
    search = _Search(nodes, k, cost, max_rows)
    if guesses.size:
        levels = _seeded_levels(nodes, guesses, max_rows)
    else:  # the prompt is paid for in any case; the root's row is its last
        price = cost.ms_of(tokens.size + np.arange(min(MAX_BATCH, max_rows)))
        price += cost.ms(1) - price[0]
        levels = useful_rows(nodes, np.array([ROOT]), np.ones(1), price)
    while levels:
        search.feed(levels)
        levels = search.next_levels(trie)
    return search.result()


class _Search:
    """Open nodes that may still hold a better entry, and the best k entries finished so far."""

    def __init__(self, nodes: Frontier, k: int, cost: RowCost, max_rows: int) -> None:
        self.nodes, self.k, self.max_rows = nodes, k, max_rows
        self.price = cost.ms_of(np.arange(1, min(MAX_BATCH, max_rows) + 1))
        self.open: Nodes = np.zeros(0, np.int64)
        self.entries: NDArray[np.int64] = np.zeros(0, np.int64)
        self.scores: NDArray[np.float64] = np.zeros(0)
        self.unreachable = -np.inf  # best bound among nodes too far down the list for the budget

    def feed(self, levels: list[Nodes]) -> None:
        """One forward; its finished entries may enter the best k, its other new nodes are open."""
        self.nodes.feed(levels)
        fed = np.concatenate(levels)
        below = self.nodes.children(fed)
        done = self._finished(below)
        self._keep_best(below[done])
        waiting = below[~done]
        self.open = np.concatenate((self.open, waiting))
        self.open = self.open[self.nodes.is_open(self.open)]
        self._prune()

    def _finished(self, ids: Nodes) -> NDArray[np.bool_]:
        """Leaves; under renormalised scoring any entry alone: its forced rest scores exactly 0."""
        nodes = self.nodes
        alone = nodes.hi[ids] - nodes.lo[ids] == 1
        return np.asarray(alone if nodes.renormalised else alone & nodes.leaf[ids])

    def _keep_best(self, ids: Nodes) -> None:
        entries = np.concatenate((self.entries, self.nodes.lo[ids]))
        scores = np.concatenate((self.scores, self.nodes.total(ids)))
        order = best(scores, entries, self.k)
        self.entries, self.scores = entries[order], scores[order]

    def _prune(self) -> None:
        """Drops nodes that cannot beat the k-th entry; an equal bound can, by an entry of lower index."""
        bound = self.nodes.total(self.open)
        if self.entries.size == self.k:
            worst = self.scores[-1]
            hopeful = (bound > worst) | ((bound == worst) & (self.nodes.lo[self.open] < self.entries[-1]))
            self.open, bound = self.open[hopeful], bound[hopeful]
        reach = max(self.max_rows - self.nodes.rows, 1)  # each row opens at most one node of this list
        if self.open.size > 2 * reach:
            order = best(bound, self.nodes.lo[self.open], reach)
            self.unreachable = max(self.unreachable, float(np.delete(bound, order).max()))
            self.open = self.open[order]

    def next_levels(self, trie: Trie) -> list[Nodes]:
        """The rows of the next forward: the best open nodes and guesses below them; empty at the end."""
        nodes, budget = self.nodes, self.max_rows - self.nodes.rows
        if self.open.size == 0 or budget == 0:
            return []
        promise = nodes.total(self.open)
        order = best(promise, nodes.lo[self.open], self.price[:budget].size)
        chosen = self.open[order]
        promise = promise[order]
        if self.entries.size < self.k and 4 * budget < self.max_rows:
            chosen, promise = self._nearest_to_end(trie, chosen, promise)
        value = self._chance(promise)
        if nodes.renormalised:
            chosen = self._skip_forced(chosen)
        return useful_rows(nodes, chosen, value, self.price[:budget])

    def _chance(self, promise: NDArray[np.float64]) -> NDArray[np.float64]:
        """Guessed chance that each open node must be fed before the proof ends, best first, in (0, 1]."""
        finite = np.maximum(promise, LEAST_SCORE)
        below = finite[0] - finite
        return np.asarray(np.exp(-below / (REACH + np.log(self.k))))

    def _nearest_to_end(
        self, trie: Trie, chosen: Nodes, promise: NDArray[np.float64]
    ) -> tuple[Nodes, NDArray[np.float64]]:
        """Orders open nodes by an estimate of entries below them: with little budget left, finish some."""
        nodes = self.nodes
        depth = np.maximum(nodes.depth[chosen], 1)
        pace = float(np.mean(np.maximum(nodes.score[chosen], LEAST_SCORE) / depth))
        to_come = trie.remaining(nodes.lo[chosen], nodes.hi[chosen], nodes.depth[chosen]).mean
        estimate = np.maximum(promise, LEAST_SCORE) + pace * to_come
        order = best(estimate, nodes.lo[chosen], chosen.size)
        return chosen[order], estimate[order]

    def _skip_forced(self, chosen: Nodes) -> Nodes:
        """The branching node at or below each chosen node: forced tokens score 0 and wait until it is fed."""
        nodes, at = self.nodes, chosen.copy()
        while True:
            nodes.reveal(at)
            forced = np.flatnonzero(nodes.count[at] == 1)
            if forced.size == 0:
                break
            at[forced] = nodes.first[at[forced]]
        moved = at != chosen
        self.open = np.concatenate((self.open[~np.isin(self.open, chosen[moved])], at[moved]))
        return at

    def result(self) -> SearchResult:
        nodes = self.nodes
        bound = max(float(nodes.total(self.open).max(initial=-np.inf)), self.unreachable)
        complete = self.entries.size == self.k
        worst = float(self.scores[-1]) if complete else 0.0
        gap = certified_gap(bound, worst, complete)
        return SearchResult(self.entries, self.scores, gap, nodes.forwards, nodes.rows)


def _seeded_levels(nodes: Frontier, seeds: NDArray[np.int64], max_rows: int) -> list[Nodes]:
    """The root, and below it the paths of the seeds as deep as `max_rows` allows."""
    levels = [np.array([ROOT])]
    budget = max_rows
    while True:
        below = nodes.list_children(levels[-1])
        inner = below[~nodes.leaf[below]]
        if nodes.renormalised:
            inner = inner[nodes.hi[inner] - nodes.lo[inner] > 1]
        holds = np.searchsorted(seeds, nodes.hi[inner]) > np.searchsorted(seeds, nodes.lo[inner])
        inner = inner[holds]
        budget -= inner.size
        if inner.size == 0 or budget < 0:
            return levels
        levels.append(inner)
