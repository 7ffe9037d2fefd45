"""Scoring all entries in chunks: the scores of enumerate_all, in bounded rows per chunk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_fakes import PROMPT, HashScorer, copy, keyword_trie, scorers, tries

from adtrie.catalogue.trie import Trie
from adtrie.errors import InputError
from adtrie.search import enumerate_all, score_entries


@given(tries(), scorers(), st.sampled_from([1, 3, 10, 4096]))
@settings(max_examples=150, deadline=None)
def test_chunks_do_not_change_the_scores(trie: Trie, scorer: HashScorer, chunk_rows: int) -> None:
    started: list[HashScorer] = []
    done: list[tuple[int, int]] = []

    def restart() -> HashScorer:
        started.append(copy(scorer))
        return started[-1]

    scores = score_entries(restart, trie, PROMPT, chunk_rows, lambda *counts: done.append(counts))
    expected = enumerate_all(copy(scorer), trie, PROMPT)
    assert scores[expected.entries].tobytes() == expected.scores.tobytes()
    edges = [0, *(stop for stop, _ in done)]
    assert done[-1] == (trie.num_entries, trie.num_entries) and len(done) == len(started)
    for chunk, first, stop in zip(started, edges[:-1], edges[1:], strict=True):
        assert stop - first == 1 or chunk.paths.size - PROMPT.size <= chunk_rows


def test_a_chunk_takes_as_many_entries_as_fit() -> None:
    trie, started = keyword_trie(500), []

    def restart() -> HashScorer:
        started.append(HashScorer())
        return started[-1]

    score_entries(restart, trie, PROMPT, chunk_rows=200)
    rows = np.array([scorer.paths.size - PROMPT.size for scorer in started])
    assert rows.max() <= 200 and rows[:-1].min() > 200 - trie.max_depth


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, None])
def test_chunk_sizes_that_are_refused(bad: int) -> None:
    with pytest.raises(InputError, match="chunk_rows: expected"):
        score_entries(HashScorer, keyword_trie(3), PROMPT, bad)
