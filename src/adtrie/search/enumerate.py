"""Scores every entry of a catalogue: the oracle of `exact`, and what entries score without a query.

Level by level, nothing pruned. Knows no row cost and no prior: that is a constant for the caller to add.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import CapacityError
from adtrie.search.frontier import ROOT, Frontier, Nodes
from adtrie.search.rank import best
from adtrie.search.scorer import MAX_FORWARD_ROWS, MAX_ROWS, Scorer, SearchResult, check_count, check_prompt

if TYPE_CHECKING:
    from adtrie.catalogue.trie import Trie


def enumerate_all(
    scorer: Scorer, trie: Trie, prompt: Any, batch_rows: int = 512, max_rows: int = MAX_ROWS
) -> SearchResult:
    """All entries of the catalogue, best first; at most `batch_rows` trie rows per forward.

    Raises CapacityError when that takes more than `max_rows` rows, InputError for a bad argument.
    """
    batch_rows = check_count("batch_rows", batch_rows, MAX_FORWARD_ROWS)
    max_rows = check_count("max_rows", max_rows, MAX_ROWS)
    tokens = check_prompt(prompt)
    needed = _num_rows(trie, 0, trie.num_entries)
    if needed > max_rows:
        raise CapacityError(
            f"enumerate_all: the catalogue takes {needed} rows, allowed are {max_rows}; use exact instead"
        )
    nodes = Frontier(scorer, trie, tokens)
    leaves = _leaves(nodes, 0, trie.num_entries, batch_rows)
    entries, scores = nodes.lo[leaves], nodes.score[leaves]
    order = best(scores, entries, entries.size)
    return SearchResult(entries[order], scores[order], 0.0, nodes.forwards, nodes.rows)


def score_entries(
    restart: Callable[[], Scorer],
    trie: Trie,
    prompt: Any,
    chunk_rows: int = 4096,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """The score of each entry, float64[N] in catalogue order, bit for bit those of `enumerate_all`.

    `restart` gives a scorer with no row fed. It is called once per chunk of neighbouring entries that take at
    most `chunk_rows` trie rows, or of one entry; `progress(done, N)` is called after each chunk.
    """
    chunk_rows = check_count("chunk_rows", chunk_rows, MAX_ROWS)
    tokens, scores = check_prompt(prompt), np.zeros(trie.num_entries)
    hi = 0
    while (lo := hi) < trie.num_entries:
        hi = _chunk_end(trie, lo, chunk_rows)
        nodes = Frontier(restart(), trie, tokens)
        leaves = _leaves(nodes, lo, hi, batch_rows=512)
        scores[nodes.lo[leaves]] = nodes.score[leaves]
        if progress is not None:
            progress(hi, trie.num_entries)
    return scores


def _leaves(nodes: Frontier, lo: int, hi: int, batch_rows: int) -> Nodes:
    """The scored leaves of the entries [lo, hi), their whole paths fed."""
    level, leaves = np.array([ROOT]), []
    while level.size:
        below = nodes.list_children(level)
        for start in range(0, level.size, batch_rows):
            nodes.feed([level[start : start + batch_rows]])
        below = below[(nodes.hi[below] > lo) & (nodes.lo[below] < hi)]
        done = nodes.leaf[below]
        leaves.append(below[done])
        level = below[~done]
    return np.concatenate(leaves)


def _chunk_end(trie: Trie, lo: int, chunk_rows: int) -> int:
    """The highest hi for which the entries [lo, hi) take at most `chunk_rows` rows, but at least lo + 1."""
    ends = range(lo + 1, trie.num_entries + 1)
    return lo + max(bisect_right(ends, chunk_rows, key=lambda hi: _num_rows(trie, lo, hi)), 1)


def _num_rows(trie: Trie, lo: int, hi: int) -> int:
    """Inner nodes below the root on the paths of the entries [lo, hi)."""
    return int(trie.num_rows(lo, hi, 0)[0])
