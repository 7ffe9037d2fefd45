"""The answer of `stepwise` in fewer forwards: its pruning replayed over scores of nodes fed ahead of need.

A forward is made only when the replay meets a node without scores. What it feeds besides is a guess about
cost (`lookahead`) and never changes the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from adtrie.config import RowCost
from adtrie.search.beam import run_steps
from adtrie.search.deadline import OutOfTime
from adtrie.search.frontier import ROOT, Frontier
from adtrie.search.lookahead import Lookahead
from adtrie.search.rank import best, certified_gap
from adtrie.search.scorer import (
    MAX_FORWARD_ROWS,
    MAX_K,
    MAX_WIDTH,
    Scorer,
    SearchResult,
    check_count,
    check_prior,
    check_prompt,
)
from adtrie.search.seeds import check_seeds, known_seeds, score_seeds

if TYPE_CHECKING:
    from adtrie.catalogue.prior import Bonus
    from adtrie.catalogue.trie import Trie


def verify(
    scorer: Scorer,
    trie: Trie,
    prompt: Any,
    k: int,
    width: int,
    cost: RowCost,
    max_rows_per_forward: int = 1024,
    seeds: ArrayLike | None = None,
    *,
    prior: Bonus | None = None,
) -> SearchResult:
    """The entries, scores and gap of `stepwise(scorer, trie, prompt, k, width, seeds, prior=prior)`.

    Each forward feeds the rows that `cost` predicts to be cheapest, at most `max_rows_per_forward` beside the
    prompt's. With a `TimedScorer` the beam ends with its time: the answer is what it has finished, possibly
    nothing. Raises InputError for a bad argument.
    """
    k, width = check_count("k", k, MAX_K), check_count("width", width, MAX_WIDTH)
    max_rows = check_count("max_rows_per_forward", max_rows_per_forward, MAX_FORWARD_ROWS)
    prior = check_prior(prior, trie.num_entries)
    named = np.sort(check_seeds(seeds, trie.num_entries))
    nodes = Frontier(scorer, trie, check_prompt(prompt), prior)
    lookahead = Lookahead(nodes, trie, cost, max_rows)
    scores_alone = prior is None and not scorer.renormalised and named.size == 0
    beams, dropped = np.array([ROOT]), -np.inf
    try:
        lookahead.feed(beams, width)
        while (live := beams[~nodes.leaf[beams]]).size:
            nodes.reveal(live)
            needed = live[nodes.is_open(live)]
            if scores_alone and needed.size == live.size and lookahead.feeds_only(live.size):
                beams, least, late = run_steps(nodes, trie, beams, width, lookahead.feeds_only)
                dropped = max(dropped, least)
                if late is not None:
                    raise late
                continue
            if needed.size:
                lookahead.feed(needed, 1.0 + (width - beams.size) / live.size)
                continue
            pool = np.concatenate((beams[nodes.leaf[beams]], nodes.children(live)))
            totals = nodes.total(pool)
            kept = best(totals, nodes.lo[pool], width)
            if kept.size < pool.size:
                dropped = max(dropped, float(np.delete(totals, kept).max()))
            beams = pool[kept]
        score_seeds(nodes, named, max_rows)
    except OutOfTime:
        live = ~nodes.leaf[beams]
        dropped = max(dropped, float(nodes.total(beams[live]).max(initial=-np.inf)))
        beams = beams[~live]
    if named.size:
        beams = np.union1d(beams, known_seeds(nodes, named)[0])
        beams = beams[best(nodes.total(beams), nodes.lo[beams], k)]
    entries, scores = nodes.lo[beams[:k]], nodes.total(beams[:k])
    gap = certified_gap(dropped, scores, min(k, trie.num_entries))
    return SearchResult(entries, scores, gap, nodes.forwards, nodes.rows)
