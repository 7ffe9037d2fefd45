"""One request on one catalogue: its options turned into a search. Knows no algorithm and no model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from adtrie.catalogue import Bonus, Catalogue, Selection, Sum, Trie
from adtrie.config import RowCost
from adtrie.request import TargetOptions
from adtrie.search.deadline import Deadline, TimedScorer
from adtrie.search.exact import exact
from adtrie.search.finished import Caps
from adtrie.search.scorer import Scorer, SearchResult, check_prior
from adtrie.search.stepwise import stepwise
from adtrie.search.verify import verify
from adtrie.search.whole import whole_set


def look_up(
    scorer: Scorer,
    catalogue: Catalogue,
    prompt: Any,
    options: TargetOptions,
    cost: Callable[[], RowCost],
    *,
    prior: Bonus | None = None,
    selection: Selection | None = None,
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
    bonus = _bonus(catalogue, options.bid_weight, prior, selection)
    if options.mode != "exact":
        beam = scorer if deadline is None else TimedScorer(scorer, deadline)
        if options.mode == "stepwise":
            return stepwise(beam, trie, prompt, k, options.beam_width, prior=bonus)
        return verify(beam, trie, prompt, k, options.beam_width, cost(), options.max_rows, prior=bonus)
    caps = _caps(catalogue, options.cap, selection)
    if caps is not None:
        k = caps.num_possible(k, None if selection is None else selection.entries.members())
    seeds = None
    if selection is not None:
        seeds = whole_set(trie, selection.entries, len(prompt), k, cost(), options.max_rows)
    return exact(
        scorer,
        trie,
        prompt,
        k,
        cost(),
        options.max_rows,
        seeds,
        prior=bonus,
        prefer=options.prefer,
        deadline=deadline,
        caps=caps,
    )


def _bonus(
    catalogue: Catalogue, weight: float, prior: Bonus | None, selection: Selection | None
) -> Bonus | None:
    """The prior and the weighted bids together, of the selection only; None without any."""
    parts = [] if prior is None else [prior]
    check_prior(prior, catalogue.num_entries)
    if weight > 0:
        parts.append(catalogue.bids.bonus(weight))
    if selection is not None:
        parts = [part.within(selection.entries, selection.rows) for part in parts]
    return Sum(parts) if len(parts) > 1 else parts[0] if parts else None


def _caps(catalogue: Catalogue, cap: tuple[int, str] | None, selection: Selection | None) -> Caps | None:
    return None if cap is None else Caps(catalogue.groups(cap[1], selection), cap[0])
