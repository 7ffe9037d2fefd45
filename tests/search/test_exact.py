"""exact against scoring every entry."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from search_fakes import COSTS, PROMPT, HashScorer, copy, scorers, tries

from adtrie.catalogue.trie import Trie
from adtrie.search import RowCost, enumerate_all, exact

costs = st.sampled_from(COSTS)


@given(tries(), scorers(), costs, st.integers(1, 60))
@settings(max_examples=300, deadline=None)
def test_equals_enumeration_with_ties(trie: Trie, scorer: HashScorer, cost: RowCost, k: int) -> None:
    truth = enumerate_all(copy(scorer), trie, PROMPT)
    found = exact(scorer, trie, PROMPT, k, cost)
    assert found.entries.tolist() == truth.entries[:k].tolist()
    assert np.array_equal(found.scores, truth.scores[:k])
    assert found.gap == 0.0
    assert found.forwards == len(scorer.calls)
    assert found.rows == scorer.paths.size - PROMPT.size
