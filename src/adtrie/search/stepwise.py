"""Width-limited beam search over a catalogue, token by token: the definition that `verify` must reproduce.

Written to be read. Knows no row cost and speculates nothing: one forward per token.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adtrie.search.rank import best, certified_gap
from adtrie.search.scorer import (
    MAX_K,
    MAX_WIDTH,
    Scorer,
    SearchResult,
    check_count,
    check_prior,
    check_prompt,
    check_seeds,
    child_scores,
)

if TYPE_CHECKING:
    from adtrie.catalogue.prior import Prior
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
    prior: Prior | None = None,
) -> SearchResult:
    """The best k of the entries that a beam of `width` keeps to the end and of the entries `seeds`.

    Hypotheses are ranked by their log-probability plus the highest `prior` of an entry they can become.
    `gap` bounds what the beam dropped on the way. Raises InputError for a bad argument.
    """
    k, width = check_count("k", k, MAX_K), check_count("width", width, MAX_WIDTH)
    tokens, prior = check_prompt(prompt), check_prior(prior, trie.num_entries)
    named = check_seeds(seeds, trie.num_entries)
    pool = _children(scorer, trie, _root(trie), tokens, np.arange(-1, tokens.size - 1, dtype=np.int32))
    forwards, num_rows, dropped = 1, int(tokens.size), -np.inf
    while True:
        beams = np.flatnonzero(pool.beam)
        totals = pool.score if prior is None else pool.score + prior.best(pool.lo, pool.hi)
        kept = beams[best(totals[beams], pool.lo[beams], width)]
        if kept.size < beams.size:
            dropped = max(dropped, float(totals[np.setdiff1d(beams, kept)].max()))
        pool = pool[kept] + _beside(pool, kept, named)
        live = pool[~pool.finished]
        if live.lo.size == 0:
            break
        fed = num_rows + np.arange(live.lo.size, dtype=np.int32)
        children = _children(scorer, trie, live, live.token, live.row, fed)
        pool = pool[pool.finished] + children
        forwards, num_rows = forwards + 1, num_rows + live.lo.size
    totals = pool.score if prior is None else pool.score + prior.best(pool.lo, pool.hi)
    order = best(totals, pool.lo, k)
    entries, scores = pool.lo[order], totals[order]
    gap = certified_gap(dropped, float(scores[-1]), scores.size == min(k, trie.num_entries))
    return SearchResult(entries, scores, gap, forwards, num_rows - int(tokens.size))


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
    scorer: Scorer,
    trie: Trie,
    live: _Pool,
    tokens: NDArray[np.int32],
    parents: NDArray[np.int32],
    fed: NDArray[np.int32] | None = None,
) -> _Pool:
    """The children of `live` after feeding `tokens`: a row each, or (fed is None) the prompt for the root."""
    below = trie.children(live.lo, live.hi, live.depth)
    ptr = below.ptr
    if fed is None:
        fed = np.full(1, tokens.size - 1, dtype=np.int32)
        ptr = np.concatenate((np.zeros(tokens.size, np.int64), ptr[1:]))
    scores = child_scores(scorer, tokens, parents, ptr, below.tokens)
    owner = np.repeat(np.arange(live.lo.size), np.diff(below.ptr))
    depth, scores = (live.depth + 1)[owner].astype(np.int32), live.score[owner] + scores
    return _Pool(below.lo, below.hi, depth, below.tokens, fed[owner], scores, below.is_leaf, live.beam[owner])
