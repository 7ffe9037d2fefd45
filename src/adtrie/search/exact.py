"""The true k best entries of a whole catalogue, by batched best-first branch and bound.

Log-probabilities are at most 0, so a prefix's score, plus the highest prior below it if there is one, bounds
every entry below it. Which rows are fed decides only what the answer costs, never what it is:
docs/design/verification.md has the proof.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adtrie.config import RowCost
from adtrie.search.budget import Budget, Prefer, check_prefer
from adtrie.search.deadline import Deadline, OutOfTime, StoppingScorer
from adtrie.search.finished import Caps, Finished, check_caps
from adtrie.search.frontier import ROOT, Frontier, Nodes
from adtrie.search.guess import (
    BEST_BELOW,
    KNOWN_VARIANCE,
    LEAST_SCORE,
    OWN_TOTAL,
    ROWS_PER_TOKEN,
    SPREAD,
    UNKNOWN_VARIANCE,
    Guesses,
    Step,
    expected_totals,
    kth_best,
    tokens_left,
)
from adtrie.search.rank import best, certified_gap
from adtrie.search.scorer import (
    MAX_K,
    MAX_ROWS,
    BoundingScorer,
    Scorer,
    SearchResult,
    check_count,
    check_prior,
    check_prompt,
)
from adtrie.search.seeds import check_seeds, seeded_levels
from adtrie.search.settling import Settling, most_likely
from adtrie.search.speculate import useful_rows

if TYPE_CHECKING:
    from adtrie.catalogue.prior import Bonus
    from adtrie.catalogue.trie import Trie


def exact(
    scorer: Scorer,
    trie: Trie,
    prompt: Any,
    k: int,
    cost: RowCost,
    max_rows: int = 4096,
    seeds: ArrayLike | None = None,
    *,
    prior: Bonus | None = None,
    prefer: Prefer = "auto",
    deadline: Deadline | None = None,
    caps: Caps | None = None,
) -> SearchResult:
    """The best min(k, N) entries, proven (gap 0.0) unless `max_rows` trie rows or the time were not enough.

    At the end of budget or time: the best found so far and the gap to the best open bound (inf when fewer
    than k finished). `seeds` are entries to score in the first forward, the likeliest first: a guess of the
    answer that can only save rows. `prior` adds a constant to each entry's log-probability; best, gap and
    bounds are of the totals. `prefer` says what is saved: milliseconds by `cost`, rows, or forwards (of up to
    1,024 rows). With `caps`: the best entries of which no group has too many. Of a scorer whose scores are
    bounds, entries that may be among the best are settled: totals are those without bounds. Raises InputError
    for a bad argument.
    """
    k = min(check_count("k", k, MAX_K), trie.num_entries)
    max_rows = check_count("max_rows", max_rows, MAX_ROWS)
    tokens, guesses = check_prompt(prompt), check_seeds(seeds, trie.num_entries)
    bounding = scorer if isinstance(scorer, BoundingScorer) and scorer.bounded else None
    if deadline is not None:
        scorer = StoppingScorer(scorer, deadline)
    nodes = Frontier(scorer, trie, tokens, check_prior(prior, trie.num_entries))
    caps = check_caps(caps, trie.num_entries)
    if caps is not None:
        k = caps.num_possible(k)
    budget = Budget(cost, max_rows, check_prefer(prefer), deadline)
    settling = None if bounding is None else Settling(nodes, bounding)
    search = _Search(nodes, trie, Finished(k, caps), budget, settling)
    levels = search.first_levels(guesses)
    with suppress(OutOfTime):  # what was to be fed is open still, so the gap holds
        while levels:
            search.feed(levels)
            levels = search.next_levels()
    return search.result()


class _Search:
    """Open nodes that may still hold a better entry, and the best entries finished so far."""

    def __init__(
        self, nodes: Frontier, trie: Trie, finished: Finished, budget: Budget, settling: Settling | None
    ) -> None:
        self.nodes, self.trie, self.finished, self.budget = nodes, trie, finished, budget
        self.settling = settling  # None: scores are no bounds
        self.open: Nodes = np.array([ROOT])
        self.unreachable = -np.inf  # best bound among nodes too far down the list for the budget

    def first_levels(self, seeds: NDArray[np.int64]) -> list[Nodes]:
        """The root and what is fed with the prompt; empty when not even the prompt's forward is in time."""
        price = self.budget.prices(-1, self.nodes.prompt_size - 1)  # the root's row is the prompt's last
        if price.size == 0:
            return []
        if seeds.size:
            seeded = seeded_levels(self.nodes, seeds, self._seed_rows(price.size - 1))
            if len(seeded) > 1:
                return seeded
        root = Guesses.of_open(np.array([ROOT]), np.zeros(1), np.ones(1), 0.0)
        return useful_rows(self.nodes, root, BEST_BELOW, price)

    def _seed_rows(self, room: int) -> int:
        """How many of `room` rows seeds may take: half, if time is short and each half finishes an entry.

        What the model thinks likely may be none of the seeds.
        """
        if self.budget.deadline is None:
            return room
        root = np.array([ROOT])
        tokens = float(self.trie.remaining(self.nodes.lo[root], self.nodes.hi[root], root).mean[0])
        return room if room < 2 * ROWS_PER_TOKEN * tokens else room // 2

    def feed(self, levels: list[Nodes]) -> None:
        """One forward; its finished entries may enter the best k, its other new nodes are open."""
        nodes, fed = self.nodes, np.concatenate(levels)
        besides = nodes.prompt_size - 1 if nodes.forwards == 0 else nodes.unfed_above(levels[0]).size
        self.budget.forward(fed.size + besides, lambda: nodes.feed(levels))
        below = nodes.children(fed)
        done = self._is_finished(below)
        self._finish(below[done])
        self.open = np.concatenate((self.open, below[~done]))
        self.open = self.open[nodes.is_open(self.open)]
        self._prune()

    def _finish(self, leaves: Nodes) -> None:
        """Takes in finished entries; where scores are bounds, settles those that may be among the best."""
        nodes, found, settling = self.nodes, self.finished, self.settling
        if settling is None:
            found.add(nodes.lo[leaves], nodes.total(leaves))
            return
        while leaves.size:
            leaves = leaves[found.may_enter(nodes.total(leaves), nodes.lo[leaves], nodes.hi[leaves])]
            chosen = most_likely(nodes, leaves, found.k)
            found.add(nodes.lo[chosen], settling.totals(chosen))
            leaves = np.setdiff1d(leaves, chosen)

    def _is_finished(self, ids: Nodes) -> NDArray[np.bool_]:
        """Leaves; under renormalised scoring any entry alone: its forced rest scores exactly 0."""
        nodes = self.nodes
        alone = nodes.hi[ids] - nodes.lo[ids] == 1
        return np.asarray(alone if nodes.renormalised else alone & nodes.leaf[ids])

    def _prune(self) -> None:
        """Drops nodes that cannot change the best k, and those too far down the list for the budget."""
        nodes = self.nodes
        bound = nodes.total(self.open)
        hopeful = self.finished.may_enter(bound, nodes.lo[self.open], nodes.hi[self.open])
        self.open, bound = self.open[hopeful], bound[hopeful]
        reach = max(self.budget.max_rows - nodes.rows, 1)  # each row opens at most one node of this list
        if self.open.size > 2 * reach:
            order = best(bound, nodes.lo[self.open], reach)
            self.unreachable = max(self.unreachable, float(np.delete(bound, order).max()))
            self.open = self.open[order]

    def next_levels(self) -> list[Nodes]:
        """The rows of the next forward: useful open nodes and guesses below them; empty at the end."""
        nodes = self.nodes
        price = self.budget.prices(nodes.rows)
        if self.open.size == 0 or price.size == 0:
            return []
        guesses, step = self._guesses()
        guesses = guesses[best(guesses.chance, nodes.lo[self.open], price.size)]
        if nodes.renormalised:
            guesses = replace(guesses, nodes=self._skip_forced(guesses.nodes))
        return useful_rows(nodes, guesses, step, price)

    def _guesses(self) -> tuple[Guesses, Step]:
        """Of the open nodes: how useful a row is, and how that changes below them.

        In a hurry a row is useful on the way to one of the best entries, else wherever the proof needs it.
        """
        nodes, found, budget = self.nodes, self.finished, self.budget
        left = tokens_left(nodes, self.trie, self.open)
        expected = expected_totals(nodes, self.open, left)
        hurried, k = budget.is_short(nodes.rows), found.k
        if hurried and not found.full:
            paths = budget.rows_left(nodes.rows) / (ROWS_PER_TOKEN * float(left[expected.argmax()]))
            k = min(k, max(found.entries.size + int(paths), 1))
        least = kth_best(np.concatenate((found.totals, expected)), k)
        if hurried and (budget.deadline is not None or not found.full):
            # One more of k entries counts as much as all of the probability.
            worth = 1 / k + np.exp(np.minimum(nodes.total(self.open), 0.0))
            return Guesses.of_open(self.open, expected, SPREAD**2 * left, least, worth), BEST_BELOW
        variance = np.full(self.open.size, KNOWN_VARIANCE if found.full else UNKNOWN_VARIANCE)
        totals = np.maximum(nodes.total(self.open), LEAST_SCORE)
        return Guesses.of_open(self.open, totals, variance, least), OWN_TOTAL

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
        """What was found, and how much better an unseen entry could be."""
        nodes, found = self.nodes, self.finished
        bound = max(float(nodes.total(self.open).max(initial=-np.inf)), self.unreachable)
        gap = certified_gap(bound, found.totals, found.k)
        return SearchResult(found.entries, found.totals, gap, nodes.forwards, nodes.rows)
