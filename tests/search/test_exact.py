"""exact against scoring every entry; what it says when the row budget is too small."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_fakes import COSTS, PROMPT, HashScorer, copy, keyword_trie, make_trie, scorers, tries

from adtrie.catalogue.trie import Trie
from adtrie.errors import CapacityError
from adtrie.search import RowCost, SearchResult, enumerate_all, exact

costs = st.sampled_from(COSTS)


def assert_top(found: SearchResult, truth: SearchResult, k: int) -> None:
    assert found.entries.tolist() == truth.entries[:k].tolist()
    assert np.array_equal(found.scores, truth.scores[:k])
    assert found.gap == 0.0


@given(tries(), scorers(), costs, st.integers(1, 60))
@settings(max_examples=300, deadline=None)
def test_equals_enumeration_with_ties(trie: Trie, scorer: HashScorer, cost: RowCost, k: int) -> None:
    truth = enumerate_all(copy(scorer), trie, PROMPT)
    found = exact(scorer, trie, PROMPT, k, cost)
    assert_top(found, truth, k)
    assert found.forwards == len(scorer.calls)
    assert found.rows == scorer.paths.size - PROMPT.size


@given(tries(), scorers(), costs, st.integers(1, 20), st.data())
@settings(max_examples=100, deadline=None)
def test_seeds_do_not_change_the_answer(
    trie: Trie, scorer: HashScorer, cost: RowCost, k: int, data: st.DataObject
) -> None:
    seeds = data.draw(st.lists(st.integers(0, trie.num_entries - 1), max_size=8))
    truth = enumerate_all(copy(scorer), trie, PROMPT)
    assert_top(exact(scorer, trie, PROMPT, k, cost, seeds=seeds), truth, k)


@given(tries(), scorers(), costs, st.integers(1, 20), st.integers(1, 30))
@settings(max_examples=200, deadline=None)
def test_the_gap_is_truthful_at_any_budget(
    trie: Trie, scorer: HashScorer, cost: RowCost, k: int, max_rows: int
) -> None:
    truth = enumerate_all(copy(scorer), trie, PROMPT)
    found = exact(scorer, trie, PROMPT, k, cost, max_rows)
    k = min(k, trie.num_entries)
    assert found.rows <= max_rows and found.rows == scorer.paths.size - PROMPT.size
    assert found.gap >= 0.0
    if found.entries.size < k:
        assert found.gap == np.inf
    else:
        assert truth.scores[k - 1] <= found.scores[-1] + found.gap
    true_scores = dict(zip(truth.entries.tolist(), truth.scores.tolist(), strict=True))
    assert [true_scores[e] for e in found.entries.tolist()] == found.scores.tolist()
    if found.gap == 0.0:
        assert np.array_equal(found.scores, truth.scores[:k])


@pytest.fixture(scope="module")
def keywords() -> Trie:
    return keyword_trie(2_000)


@pytest.mark.parametrize("renormalised", [False, True])
@pytest.mark.parametrize("k", [1, 10])
def test_keyword_catalogue(keywords: Trie, k: int, renormalised: bool) -> None:
    for query in range(4):
        scorer = HashScorer(query, sigma=4.0, leak=1.0, renormalised=renormalised)
        truth = enumerate_all(copy(scorer), keywords, PROMPT)
        found = exact(scorer, keywords, PROMPT, k, RowCost.kneed(8))
        assert_top(found, truth, k)
        assert found.rows < truth.rows / 4


def test_one_row_at_a_time_is_the_fewest_rows(keywords: Trie) -> None:
    """Best-first with one row per round feeds only nodes whose bound reaches the k-th score."""
    scorer = HashScorer(3, sigma=4.0, leak=1.0)
    truth = enumerate_all(copy(scorer), keywords, PROMPT)
    found = exact(scorer, keywords, PROMPT, 1, RowCost.kneed(1))
    assert_top(found, truth, 1)
    many = exact(copy(scorer), keywords, PROMPT, 1, RowCost.flat())
    assert found.rows < many.rows and found.forwards > many.forwards


def test_seeding_the_answer_saves_rows(keywords: Trie) -> None:
    scorer = HashScorer(1, sigma=4.0, leak=1.0)
    plain = exact(copy(scorer), keywords, PROMPT, 1, RowCost.kneed(8))
    seeded = exact(copy(scorer), keywords, PROMPT, 1, RowCost.kneed(8), seeds=plain.entries)
    assert seeded.forwards <= plain.forwards and seeded.entries.tolist() == plain.entries.tolist()


def test_in_a_small_budget_the_first_seeds_are_scored_whole(keywords: Trie) -> None:
    for query in range(4):
        scorer = HashScorer(query, sigma=1.0, leak=1.0)
        seeds = np.random.default_rng(query).permutation(keywords.num_entries)[:40]
        rows = int(keywords.length(seeds[:2]).sum())  # more than the paths of both take
        found = exact(scorer, keywords, PROMPT, 40, RowCost.flat(), max_rows=rows, seeds=seeds)
        assert set(seeds[:2].tolist()) <= set(found.entries.tolist())


def test_a_small_budget_still_finishes_some_entries(keywords: Trie) -> None:
    for query in range(4):
        scorer = HashScorer(query, sigma=1.0, leak=1.0)
        found = exact(scorer, keywords, PROMPT, 1, RowCost.kneed(8), max_rows=64)
        assert found.entries.size == 1 and 0.0 < found.gap < np.inf


def test_a_catalogue_of_one_entry() -> None:
    trie = make_trie([[4, 5, 6]])
    found = exact(HashScorer(), trie, PROMPT, 3, RowCost.flat())
    assert (found.entries.tolist(), found.gap, found.forwards, found.rows) == ([0], 0.0, 1, 3)
    found = exact(HashScorer(renormalised=True), trie, PROMPT, 3, RowCost.flat())
    assert (found.scores.tolist(), found.gap, found.rows) == ([0.0], 0.0, 0)


def test_equal_scores_prefer_the_lower_entry() -> None:
    trie = make_trie([[a, b] for a in range(4) for b in range(4)])
    even = HashScorer(sigma=0.0, leak=0.0)
    assert exact(even, trie, PROMPT, 5, RowCost.kneed(1)).entries.tolist() == [0, 1, 2, 3, 4]


def test_enumeration_refuses_more_rows_than_allowed(keywords: Trie) -> None:
    with pytest.raises(CapacityError, match="use exact"):
        enumerate_all(HashScorer(), keywords, PROMPT, max_rows=100)


@given(tries(), scorers(), st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_enumeration_scores_are_path_sums(trie: Trie, scorer: HashScorer, batch_rows: int) -> None:
    """Each entry once, its score the float64 sum over its path from the root down, in any batching."""
    found = enumerate_all(copy(scorer), trie, PROMPT, batch_rows)
    assert sorted(found.entries.tolist()) == list(range(trie.num_entries))
    whole = enumerate_all(scorer, trie, PROMPT)
    assert np.array_equal(found.scores, whole.scores) and found.rows == whole.rows
    assert (np.diff(found.scores) <= 0).all()
    if scorer.renormalised and not scorer.step:
        assert np.exp(found.scores).sum() == pytest.approx(1.0, abs=1e-4)
