"""Every search over the eligible entries returns what it returns over a trie built from them alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from search_fakes import COSTS, PROMPT, HashScorer, copy, keyword_trie, make_trie, scorers, tries

from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.eligible import EligibleTrie
from adtrie.catalogue.trie import Trie
from adtrie.search import RowCost, SearchResult, enumerate_all, exact, stepwise, verify
from adtrie.search.whole import MAX_ENTRIES, whole_set

Pair = tuple[EligibleTrie, Trie, NDArray[np.int64]]
costs = st.sampled_from(COSTS)


def pair(trie: Trie, eligible: EntrySet) -> Pair:
    """The view, the trie built anew from the eligible entries, and the numbers of its entries in the view."""
    members = eligible.members()
    return EligibleTrie(trie, eligible), make_trie([trie.tokens(e)[:-1].tolist() for e in members]), members


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """A few, most or all entries of tries of every shape."""
    trie = draw(tries())
    n = trie.num_entries
    few = EntrySet.of_entries(draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=9)), n)
    most = ~few if len(few) < n else few
    return pair(trie, draw(st.sampled_from([few, most, EntrySet.every(n)])))


def assert_same(found: SearchResult, wanted: SearchResult, members: NDArray[np.int64]) -> None:
    assert found.entries.tolist() == members[wanted.entries].tolist()
    assert np.array_equal(found.scores, wanted.scores)
    assert found.gap == wanted.gap


@given(pairs(), scorers(), st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=200, deadline=None)
def test_stepwise(both: Pair, scorer: HashScorer, k: int, width: int) -> None:
    view, new, members = both
    wanted = stepwise(copy(scorer), new, PROMPT, k, width)
    found = stepwise(scorer, view, PROMPT, k, width)
    assert_same(found, wanted, members)
    assert (found.forwards, found.rows) == (wanted.forwards, wanted.rows)


@given(pairs(), scorers(), costs, st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 2, 3, 1024]))
@settings(max_examples=200, deadline=None)
def test_verify(both: Pair, scorer: HashScorer, cost: RowCost, k: int, width: int, max_rows: int) -> None:
    view, new, members = both
    wanted = stepwise(copy(scorer), new, PROMPT, k, width)
    assert_same(verify(scorer, view, PROMPT, k, width, cost, max_rows), wanted, members)


@given(pairs(), scorers(), costs, st.integers(1, 60))
@settings(max_examples=200, deadline=None)
def test_exact(both: Pair, scorer: HashScorer, cost: RowCost, k: int) -> None:
    view, new, members = both
    wanted = exact(copy(scorer), new, PROMPT, k, cost)
    found = exact(scorer, view, PROMPT, k, cost)
    assert_same(found, wanted, members)
    assert found.gap == 0.0 and found.entries.size == min(k, members.size)


@given(pairs(), scorers(), costs, st.integers(1, 20), st.integers(1, 30))
@settings(max_examples=150, deadline=None)
def test_the_gap_is_truthful_at_any_budget(
    both: Pair, scorer: HashScorer, cost: RowCost, k: int, max_rows: int
) -> None:
    view, new, members = both
    truth = enumerate_all(copy(scorer), new, PROMPT)
    found = exact(scorer, view, PROMPT, k, cost, max_rows)
    k = min(k, members.size)
    true_scores = dict(zip(members[truth.entries].tolist(), truth.scores.tolist(), strict=True))
    assert [true_scores[e] for e in found.entries.tolist()] == found.scores.tolist()
    if found.entries.size < k:
        assert found.gap == np.inf
    else:
        assert truth.scores[k - 1] <= found.scores[-1] + found.gap


@given(pairs(), scorers(), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_enumeration(both: Pair, scorer: HashScorer, batch_rows: int) -> None:
    view, new, members = both
    wanted = enumerate_all(copy(scorer), new, PROMPT, batch_rows)
    found = enumerate_all(scorer, view, PROMPT, batch_rows)
    assert_same(found, wanted, members)
    assert (found.forwards, found.rows) == (wanted.forwards, wanted.rows)


@given(pairs(), scorers(), costs, st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_a_small_set_scored_whole(both: Pair, scorer: HashScorer, cost: RowCost, k: int) -> None:
    """Seeding all entries changes no answer; where rows are free it is done, and takes one forward."""
    view, new, members = both
    wanted = exact(copy(scorer), new, PROMPT, k, cost)
    seeds = whole_set(view, view.eligible, PROMPT.size, k, cost, 4096)
    found = exact(scorer, view, PROMPT, k, cost, seeds=seeds)
    assert_same(found, wanted, members)
    if cost is COSTS[0]:
        assert seeds is not None and seeds.tolist() == members.tolist()
    if seeds is not None:
        assert found.forwards == 1


@pytest.fixture(scope="module")
def keywords() -> Trie:
    return keyword_trie(2_000)


@pytest.mark.parametrize("renormalised", [False, True])
@pytest.mark.parametrize("share", [0.005, 0.1, 0.9])
def test_keyword_catalogue(keywords: Trie, share: float, renormalised: bool) -> None:
    mask = np.random.default_rng(4).random(keywords.num_entries) < share
    view, new, members = pair(keywords, EntrySet.of_mask(mask))
    for query in range(3):
        scorer = HashScorer(query, sigma=4.0, leak=1.0, renormalised=renormalised)
        truth = enumerate_all(copy(scorer), new, PROMPT)
        found = exact(copy(scorer), view, PROMPT, 10, RowCost.kneed(8))
        assert found.entries.tolist() == members[truth.entries[:10]].tolist() and found.gap == 0.0
        assert np.array_equal(found.scores, truth.scores[:10])
        wanted = stepwise(copy(scorer), new, PROMPT, 10, 10)
        assert_same(verify(copy(scorer), view, PROMPT, 10, 10, RowCost.kneed(8)), wanted, members)
        assert_same(stepwise(copy(scorer), view, PROMPT, 10, 10), wanted, members)


def test_renormalised_scores_are_over_eligible_tokens_only() -> None:
    trie = make_trie([[1, 5, 2], [1, 6, 3], [1, 6, 4], [2, 7]])
    view = EligibleTrie(trie, EntrySet.of_entries([1], 4))
    for search in (
        exact(HashScorer(renormalised=True), view, PROMPT, 3, RowCost.flat()),
        verify(HashScorer(renormalised=True), view, PROMPT, 3, 3, RowCost.kneed(1)),
        stepwise(HashScorer(renormalised=True), view, PROMPT, 3, 3),
    ):
        assert (search.entries.tolist(), search.scores.tolist(), search.gap) == ([1], [0.0], 0.0)


def test_a_set_is_searched_where_rows_are_dear_or_it_is_large(keywords: Trie) -> None:
    few = EntrySet.of_entries(range(0, 2_000, 10), 2_000)
    view = EligibleTrie(keywords, few)
    assert whole_set(view, few, 40, 10, RowCost.flat(), 4096) is not None
    assert whole_set(view, few, 40, 10, RowCost.kneed(8), 4096) is None
    assert whole_set(view, few, 40, 10, RowCost.flat(), 100) is None
    many = EntrySet.of_entries(range(MAX_ENTRIES + 1), 2_000)
    assert whole_set(EligibleTrie(keywords, many), many, 40, 10, RowCost.flat(), 65_536) is None


def test_a_hundred_thousand_entries() -> None:
    """One in a thousand eligible: found among all, with the rows of the eligible entries at most."""
    random = np.random.default_rng(0)
    tokens = random.integers(0, 40, (100_000, 5))
    distinct = np.unique(tokens, axis=0)
    end = np.full((len(distinct), 1), 1_000_000)
    flat = np.concatenate((distinct, end), axis=1)
    trie, _ = Trie.from_sequences(flat.ravel(), np.arange(len(flat) + 1) * 6)
    eligible = EntrySet.of_mask(random.random(len(distinct)) < 0.001)
    view, new, members = pair(trie, eligible)
    truth = enumerate_all(HashScorer(), new, PROMPT)
    found = exact(HashScorer(), view, PROMPT, 5, RowCost.kneed(8))
    assert found.entries.tolist() == members[truth.entries[:5]].tolist() and found.gap == 0.0
    assert found.rows <= truth.rows
