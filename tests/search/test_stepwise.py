"""stepwise against a beam over plain tuples, and against enumeration when nothing is dropped."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from search_fakes import PROMPT, HashScorer, copy, make_trie, scorers, tries

from adtrie.catalogue.trie import Trie
from adtrie.search import enumerate_all, stepwise


def beam_oracle(scorer: HashScorer, trie: Trie, width: int) -> list[tuple[float, int]]:
    """(score, entry) of a beam over token tuples, one row per call."""
    sequences = [tuple(trie.tokens(e).tolist()) for e in range(trie.num_entries)]
    rows: dict[tuple[int, ...], int] = {}

    def children(path: tuple[int, ...]) -> list[tuple[float, tuple[int, ...]]]:
        tokens = sorted({s[len(path)] for s in sequences if s[: len(path)] == path})
        fed = PROMPT if not path else np.array(path[-1:], np.int32)
        parents = np.arange(-1, 2) if not path else np.array([rows[path[:-1]]])
        ptr = np.zeros(fed.size + 1, np.int64)
        ptr[-1] = len(tokens)
        rows[path] = scorer.paths.size + fed.size - 1
        scores = scorer.score(fed, parents.astype(np.int32), ptr, np.array(tokens, np.int32))
        return [(min(float(s), 0.0), (*path, t)) for s, t in zip(scores, tokens, strict=True)]

    ends = {s: e for e, s in enumerate(sequences)}
    beam: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    while any(path not in ends for _, path in beam):
        pool = [b for b in beam if b[1] in ends]
        for score, path in beam:
            if path not in ends:
                pool += [(score + s, child) for s, child in children(path)]
        beam = sorted(pool, key=lambda item: (-item[0], item[1]))[:width]
    return [(score, ends[path]) for score, path in beam]


@given(tries(), scorers(), st.integers(1, 8), st.integers(1, 8))
@settings(max_examples=150, deadline=None)
def test_equals_a_beam_of_tuples(trie: Trie, scorer: HashScorer, k: int, width: int) -> None:
    expected = beam_oracle(copy(scorer), trie, width)[:k]
    found = stepwise(scorer, trie, PROMPT, k, width)
    assert list(zip(found.scores.tolist(), found.entries.tolist(), strict=True)) == expected
    assert found.forwards == len(scorer.calls)
    assert found.rows == scorer.paths.size - PROMPT.size


@given(tries(), scorers(), st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_a_beam_that_drops_nothing_is_exact(trie: Trie, scorer: HashScorer, k: int) -> None:
    truth = enumerate_all(copy(scorer), trie, PROMPT)
    found = stepwise(scorer, trie, PROMPT, k, 256)
    assert found.entries.tolist() == truth.entries[:k].tolist()
    assert np.array_equal(found.scores, truth.scores[:k])
    assert found.gap == 0.0


@given(tries(), scorers(), st.integers(1, 10), st.integers(1, 10))
@settings(max_examples=100, deadline=None)
def test_the_gap_bounds_what_the_beam_missed(trie: Trie, scorer: HashScorer, k: int, width: int) -> None:
    truth = enumerate_all(copy(scorer), trie, PROMPT)
    found = stepwise(scorer, trie, PROMPT, k, width)
    missed = np.setdiff1d(truth.entries, found.entries)
    rank = np.empty(trie.num_entries, np.int64)
    rank[truth.entries] = np.arange(trie.num_entries)
    if missed.size:
        assert truth.scores[rank[missed]].max() <= found.scores[-1] + found.gap


def test_an_entry_that_starts_another_entry_is_found() -> None:
    trie = make_trie([[1], [1, 2], [1, 2, 3]])
    found = stepwise(HashScorer(), trie, PROMPT, 3, 3)
    assert sorted(found.entries.tolist()) == [0, 1, 2]
    assert (found.forwards, found.rows) == (4, 3)
