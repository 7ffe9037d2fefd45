"""Scores every entry of a catalogue: the oracle of `exact`, and the plain way for a tiny catalogue.

Level by level, nothing pruned. Knows no row cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from adtrie.errors import CapacityError
from adtrie.search.frontier import ROOT, Frontier
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
    needed = int(trie.num_rows(np.zeros(1, np.int64), np.full(1, trie.num_entries), np.zeros(1, np.int32))[0])
    if needed > max_rows:
        raise CapacityError(
            f"enumerate_all: the catalogue takes {needed} rows, allowed are {max_rows}; use exact instead"
        )
    nodes = Frontier(scorer, trie, tokens)
    level = np.array([ROOT])
    while level.size:
        below = nodes.list_children(level)
        for start in range(0, level.size, batch_rows):
            nodes.feed([level[start : start + batch_rows]])
        level = below[~nodes.leaf[below]]
    leaves = np.flatnonzero(nodes.leaf[: nodes.size])
    entries, scores = nodes.lo[leaves], nodes.score[leaves]
    order = best(scores, entries, entries.size)
    return SearchResult(entries[order], scores[order], 0.0, nodes.forwards, nodes.rows)
