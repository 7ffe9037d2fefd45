"""One request on one catalogue: its options turned into a search. Knows no algorithm and no model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adtrie.catalogue import MAX_COMPACT, Bonus, Catalogue, Compact, EntrySet, Prior, Selection, Sum, Trie
from adtrie.config import RowCost
from adtrie.errors import InputError
from adtrie.request import TargetOptions
from adtrie.search.deadline import Deadline, TimedScorer
from adtrie.search.exact import exact
from adtrie.search.finished import Caps
from adtrie.search.scorer import BoundingScorer, Scorer, SearchResult, check_prior
from adtrie.search.seeds import check_seeds
from adtrie.search.stepwise import stepwise
from adtrie.search.verify import verify
from adtrie.search.whole import MAX_ENTRIES, whole_set


@dataclass(frozen=True, eq=False)
class Lookup:
    """What one request searches: the trie, how many entries, what is added to scores, which limits hold.

    The bids are those of the moment in which this is made. `entries`: which may be returned, if they are few.
    """

    options: TargetOptions
    trie: Trie
    k: int
    entries: EntrySet | None
    bonus: Bonus | None
    caps: Caps | None
    seeds: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        catalogue: Catalogue,
        options: TargetOptions,
        prior: Bonus | None = None,
        selection: Selection | None = None,
        seeds: ArrayLike | None = None,
    ) -> Lookup | None:
        """None when no entry may be returned. InputError for prior, seeds or attribute that do not fit."""
        bonus = check_prior(prior, catalogue.num_entries)
        named = check_seeds(seeds, catalogue.num_entries)
        caps = _caps_of(catalogue, options.cap, selection)
        if selection is None:
            k = min(options.k, catalogue.num_entries)
            bonus = _bonus_of(catalogue, options.bid_weight, bonus, None)
            return cls(options, catalogue.trie, k, None, bonus, caps, named)
        if not len(selection):
            return None
        k = min(options.k, len(selection))
        if caps is not None:
            k = caps.num_possible(k, selection.entries)
        few = selection.entries if len(selection) <= MAX_ENTRIES else None
        named = named[selection.entries.contains(named)] if named.size else named
        bonus = _bonus_of(catalogue, options.bid_weight, bonus, selection)
        return cls(options, selection.trie, k, few, bonus, caps, named)

    def run(
        self, scorer: Scorer, prompt: Any, cost: Callable[[], RowCost], deadline: Deadline | None = None
    ) -> SearchResult:
        """The entries asked for. `cost` is asked for only where the search needs it."""
        options = self.options
        if options.mode == "exact":
            return self._exact(scorer, prompt, cost(), deadline)
        beam = scorer if deadline is None else TimedScorer(scorer, deadline)
        k, width, bonus = self.k, options.beam_width, self.bonus
        if options.mode == "stepwise":
            return stepwise(beam, self.trie, prompt, k, width, self.seeds, prior=bonus)
        return verify(beam, self.trie, prompt, k, width, cost(), options.max_rows, self.seeds, prior=bonus)

    def _exact(self, scorer: Scorer, prompt: Any, cost: RowCost, deadline: Deadline | None) -> SearchResult:
        options, seeds = self.options, self.seeds
        if options.bounded and not (isinstance(scorer, BoundingScorer) and scorer.bounded):
            raise InputError("normaliser: bounded is for requests one at a time, without an explanation")
        if self.entries is not None:
            whole = whole_set(self.trie, self.entries, len(prompt), self.k, cost, options.max_rows)
            seeds = seeds if whole is None else whole
        return exact(
            scorer,
            self.trie,
            prompt,
            self.k,
            cost,
            options.max_rows,
            seeds,
            prior=self.bonus,
            prefer=options.prefer,
            deadline=deadline,
            caps=self.caps,
        )


Run = Callable[[Scorer, Any, Callable[[], RowCost], Deadline | None], SearchResult]  # as `Lookup.run`
NOTHING = SearchResult(np.zeros(0, np.int64), np.zeros(0), 0.0, 0, 0)


def _bonus_of(
    catalogue: Catalogue, weight: float, prior: Bonus | None, selection: Selection | None
) -> Bonus | None:
    """The prior and the weighted bids together, of the selection only; None without any."""
    parts = [] if prior is None else [prior]
    if weight > 0:
        parts.append(catalogue.bid_bonus(weight, selection))
    if not parts:
        return None
    bonus = Sum(parts) if len(parts) > 1 else parts[0]
    if selection is None or len(selection) > MAX_COMPACT:
        return bonus
    return Compact(bonus, selection.entries)  # no bound looks at an entry that may not be returned


def _caps_of(catalogue: Catalogue, cap: tuple[int, str] | None, selection: Selection | None) -> Caps | None:
    """The limit of the request with the groups of its catalogue; None without one."""
    return None if cap is None else Caps(catalogue.groups(cap[1], selection), cap[0])


def added(prior: Bonus | None, constants: NDArray[np.float64] | None) -> Bonus | None:
    """`prior` and a constant more for each entry, float64[N]; None with neither."""
    if constants is None:
        return prior
    return Prior(constants) if prior is None else Sum([prior, Prior(constants)])
