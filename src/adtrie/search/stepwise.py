"""Width-limited beam search over a catalogue, token by token: the definition that `verify` must reproduce.

Written to be read. Knows no row cost and speculates nothing: one forward per token.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adtrie.search.deadline import OutOfTime
from adtrie.search.rank import best, certified_gap
from adtrie.search.scorer import (
    MAX_K,
    MAX_WIDTH,
    Scorer,
    SearchResult,
    check_count,
    check_prior,
    check_prompt,
    child_scores,
)
from adtrie.search.seeds import check_seeds

if TYPE_CHECKING:
    from adtrie.catalogue.prior import Bonus
    from adtrie.catalogue.trie import Trie


@dataclass(frozen=True, eq=False)
class _Pool:
    """n hypotheses: the entries [lo, hi) share the first `depth` tokens; `row` is the row of their parent."""

    lo: NDArray[np.int64]
    hi: NDArray[np.int64]
    depth: NDArray[np.int32]
    token: NDArray[np.int32]
    row: NDArray[np.int32]
    score: NDArray[np.float64]
    finished: NDArray[np.bool_]
    beam: NDArray[np.bool_]  # competes for the width; others only hold a seed

    def __getitem__(self, keep: NDArray[Any]) -> _Pool:
        return _Pool(*(column[keep] for column in vars(self).values()))

    def __add__(self, other: _Pool) -> _Pool:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return _Pool(*(np.concatenate(pair) for pair in pairs))


def stepwise(
    scorer: Scorer,
    trie: Trie,
    prompt: Any,
    k: int,
    width: int,
    seeds: ArrayLike | None = None,
    *,
    prior: Bonus | None = None,
) -> SearchResult:
    """The best k of the entries that a beam of `width` keeps to the end and of the entries `seeds`.

    Hypotheses are ranked by their log-probability plus the highest `prior` of an entry they can become.
    `gap` bounds what the beam dropped on the way. With a `TimedScorer` the beam ends with its time: the
    answer is what it has finished, possibly nothing. Raises InputError for a bad argument.
    """
    k, width = check_count("k", k, MAX_K), check_count("width", width, MAX_WIDTH)
    tokens, prior = check_prompt(prompt), check_prior(prior, trie.num_entries)
    named = np.sort(check_seeds(seeds, trie.num_entries))
    pool, totals, dropped = _root(trie), np.zeros(1), -np.inf
    forwards = num_rows = 0
    while (live := pool[~pool.finished]).lo.size:
        try:
            children = _children(scorer, trie, live, num_rows, tokens if forwards == 0 else None)
        except OutOfTime:
            dropped = max(dropped, float(totals[~pool.finished].max()))
            break
        forwards, num_rows = forwards + 1, num_rows + (live.lo.size if num_rows else int(tokens.size))
        pool = pool[pool.finished] + children
        totals, beams = _totals(pool, prior), np.flatnonzero(pool.beam)
        kept = beams[best(totals[beams], pool.lo[beams], width)]
        if kept.size < beams.size:
            dropped = max(dropped, float(totals[np.setdiff1d(beams, kept)].max()))
        pool = pool[kept] + _beside(pool, kept, named)
        totals = _totals(pool, prior)
    order = np.flatnonzero(pool.finished)
    order = order[best(totals[order], pool.lo[order], k)]
    entries, scores = pool.lo[order], totals[order]
    gap = certified_gap(dropped, scores, min(k, trie.num_entries))
    return SearchResult(entries, scores, gap, forwards, max(num_rows - int(tokens.size), 0))


def _totals(pool: _Pool, prior: Bonus | None) -> NDArray[np.float64]:
    return pool.score if prior is None else pool.score + prior.best(pool.lo, pool.hi)


def _beside(pool: _Pool, kept: NDArray[np.int64], seeds: NDArray[np.int64]) -> _Pool:
    """What holds a seed and was not kept: followed to the end, never again a beam."""
    holds = np.searchsorted(seeds, pool.hi) > np.searchsorted(seeds, pool.lo)
    holds[kept] = False
    named = pool[holds]
    return replace(named, beam=np.zeros(named.lo.size, np.bool_))


def _root(trie: Trie) -> _Pool:
    """The root as the one live hypothesis, score 0."""
    none = np.zeros(1, dtype=np.int32)
    all_entries = np.full(1, trie.num_entries, dtype=np.int64)
    no = np.zeros(1, np.bool_)
    return _Pool(np.zeros(1, np.int64), all_entries, none, none, none - 1, np.zeros(1), no, ~no)


def _children(
    scorer: Scorer, trie: Trie, live: _Pool, num_rows: int, prompt: NDArray[np.int32] | None
) -> _Pool:
    """The children of `live` after feeding a row of each; for the root that is the prompt's last."""
    below = trie.children(live.lo, live.hi, live.depth)
    tokens, parents = live.token, live.row
    if prompt is not None:
        tokens, parents = prompt, np.arange(-1, prompt.size - 1, dtype=np.int32)
    before = tokens.size - live.lo.size  # rows of the prompt before its last: no child is asked for
    ptr = np.concatenate((np.zeros(before, np.int64), below.ptr))
    scores = child_scores(scorer, tokens, parents, ptr, below.tokens)
    owner = np.repeat(np.arange(live.lo.size), np.diff(below.ptr))
    row = (num_rows + before + owner).astype(np.int32)
    depth, scores = (live.depth + 1)[owner].astype(np.int32), live.score[owner] + scores
    return _Pool(below.lo, below.hi, depth, below.tokens, row, scores, below.is_leaf, live.beam[owner])
