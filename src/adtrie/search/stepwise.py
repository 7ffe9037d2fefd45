"""Width-limited beam search over a catalogue, token by token: the definition that `verify` must reproduce.

Written to be read. Knows no row cost and speculates nothing: one forward per token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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

    def __getitem__(self, keep: NDArray[Any]) -> _Pool:
        return _Pool(*(column[keep] for column in vars(self).values()))

    def __add__(self, other: _Pool) -> _Pool:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return _Pool(*(np.concatenate(pair) for pair in pairs))


def stepwise(
    scorer: Scorer, trie: Trie, prompt: Any, k: int, width: int, *, prior: Bonus | None = None
) -> SearchResult:
    """The best min(k, width) entries that a beam of `width` keeps to the end.

    Hypotheses are ranked by their log-probability plus the highest `prior` of an entry they can become.
    `gap` bounds what the beam dropped on the way. With a `TimedScorer` the beam ends with its time: the
    answer is what it has finished, possibly nothing. Raises InputError for a bad argument.
    """
    k, width = check_count("k", k, MAX_K), check_count("width", width, MAX_WIDTH)
    tokens, prior = check_prompt(prompt), check_prior(prior, trie.num_entries)
    beams, totals, dropped = _root(trie), np.zeros(1), -np.inf
    forwards = num_rows = 0
    while (live := beams[~beams.finished]).lo.size:
        try:
            children = _children(scorer, trie, live, num_rows, tokens if forwards == 0 else None)
        except OutOfTime:
            dropped = max(dropped, float(totals[~beams.finished].max()))
            break
        forwards, num_rows = forwards + 1, num_rows + (live.lo.size if num_rows else int(tokens.size))
        beams = beams[beams.finished] + children
        totals = beams.score if prior is None else beams.score + prior.best(beams.lo, beams.hi)
        kept = best(totals, beams.lo, width)
        if kept.size < totals.size:
            dropped = max(dropped, float(np.delete(totals, kept).max()))
        beams, totals = beams[kept], totals[kept]
    entries, scores = beams.lo[beams.finished][:k], totals[beams.finished][:k]
    gap = certified_gap(dropped, scores, min(k, trie.num_entries))
    return SearchResult(entries, scores, gap, forwards, max(num_rows - int(tokens.size), 0))


def _root(trie: Trie) -> _Pool:
    """The root as the one live hypothesis, score 0."""
    none = np.zeros(1, dtype=np.int32)
    all_entries = np.full(1, trie.num_entries, dtype=np.int64)
    return _Pool(np.zeros(1, np.int64), all_entries, none, none, none - 1, np.zeros(1), np.zeros(1, np.bool_))


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
    depth = (live.depth + 1)[owner].astype(np.int32)
    return _Pool(below.lo, below.hi, depth, below.tokens, row, live.score[owner] + scores, below.is_leaf)
