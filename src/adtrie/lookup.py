"""One request on one catalogue: its options turned into a search. Knows no algorithm and no model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from adtrie.catalogue import MAX_COMPACT, Bonus, Catalogue, Compact, Selection, Sum, Trie
from adtrie.config import RowCost
from adtrie.request import TargetOptions
from adtrie.search.deadline import Deadline, TimedScorer
from adtrie.search.exact import exact
from adtrie.search.finished import Caps
from adtrie.search.scorer import Scorer, SearchResult, check_prior
from adtrie.search.seeds import check_seeds
from adtrie.search.stepwise import stepwise
from adtrie.search.verify import verify
from adtrie.search.whole import MAX_ENTRIES, whole_set


def look_up(
    scorer: Scorer,
    catalogue: Catalogue,
    prompt: Any,
    options: TargetOptions,
    cost: Callable[[], RowCost],
    *,
    prior: Bonus | None = None,
    selection: Selection | None = None,
    seeds: ArrayLike | None = None,
    deadline: Deadline | None = None,
) -> SearchResult:
    """The entries of `catalogue` (of `selection`) that `options` ask for.

    `cost` is asked for only where the search needs it. Raises InputError for a prior or an attribute that
    does not fit the catalogue.
    """
    if selection is not None and not len(selection):
        return SearchResult(np.zeros(0, np.int64), np.zeros(0), 0.0, 0, 0)
    trie: Trie = catalogue.trie if selection is None else selection.trie
    k = options.k if selection is None else min(options.k, len(selection))
    bonus = bonus_of(catalogue, options.bid_weight, prior, selection)
    named = check_seeds(seeds, trie.num_entries)
    if selection is not None:
        named = named[selection.entries.contains(named)] if named.size else named
    if options.mode != "exact":
        beam = scorer if deadline is None else TimedScorer(scorer, deadline)
        if options.mode == "stepwise":
            return stepwise(beam, trie, prompt, k, options.beam_width, named, prior=bonus)
        return verify(beam, trie, prompt, k, options.beam_width, cost(), options.max_rows, named, prior=bonus)
    caps = caps_of(catalogue, options.cap, selection)
    if selection is not None:
        if caps is not None:
            k = caps.num_possible(k, selection.entries)
        if len(selection) <= MAX_ENTRIES:
            whole = whole_set(trie, selection.entries, len(prompt), k, cost(), options.max_rows)
            named = named if whole is None else whole
    return exact(
        scorer,
        trie,
        prompt,
        k,
        cost(),
        options.max_rows,
        named,
        prior=bonus,
        prefer=options.prefer,
        deadline=deadline,
        caps=caps,
    )


def bonus_of(
    catalogue: Catalogue, weight: float, prior: Bonus | None, selection: Selection | None
) -> Bonus | None:
    """The prior and the weighted bids together, of the selection only; None without any."""
    check_prior(prior, catalogue.num_entries)
    parts = [] if prior is None else [prior]
    if weight > 0:
        parts.append(catalogue.bid_bonus(weight, selection))
    if not parts:
        return None
    bonus = Sum(parts) if len(parts) > 1 else parts[0]
    if selection is None or len(selection) > MAX_COMPACT:
        return bonus
    return Compact(bonus, selection.entries)  # no bound looks at an entry that may not be returned


def caps_of(catalogue: Catalogue, cap: tuple[int, str] | None, selection: Selection | None) -> Caps | None:
    """The limit of the request with the groups of its catalogue; None without one."""
    return None if cap is None else Caps(catalogue.groups(cap[1], selection), cap[0])
