"""Searches with a prior: exact against brute force over all entries, verify against stepwise, the gaps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from search_fakes import COSTS, PROMPT, HashScorer, copy, keyword_trie, make_trie, scorers, tries

from adtrie.catalogue import Prior
from adtrie.catalogue.trie import Trie
from adtrie.errors import InputError
from adtrie.search import RowCost, SearchResult, enumerate_all, exact, stepwise, verify

FLAT = RowCost.flat()
costs = st.sampled_from(COSTS)
seeds = st.integers(0, 2**32)
# Weak, as strong as the scores, and so strong that it decides alone; the steps make ties.
scales = st.sampled_from([0.01, 2.0, 30.0, 1e5])
steps = st.sampled_from([0.0, 0.0, 1.0, 3.0])


def random_values(num_entries: int, seed: int, scale: float, step: float) -> NDArray[np.float64]:
    values = np.clip(np.random.default_rng(seed).normal(0.0, scale, num_entries), -1e6, 1e6)
    return np.round(values / step) * step if step else values


@st.composite
def tries_with_priors(draw: st.DrawFn) -> tuple[Trie, Prior]:
    """A trie and constants of any sign for its entries."""
    trie = draw(tries())
    return trie, Prior(random_values(trie.num_entries, draw(seeds), draw(scales), draw(steps)))


both = tries_with_priors()


def all_totals(scorer: HashScorer, trie: Trie, prior: Prior) -> NDArray[np.float64]:
    """Log-probability plus prior of every entry, float64[N], without a search that knows of priors."""
    found = enumerate_all(copy(scorer), trie, PROMPT)
    totals = np.empty(trie.num_entries)
    totals[found.entries] = found.scores + prior.values[found.entries]
    return totals


def assert_top(found: SearchResult, totals: NDArray[np.float64], k: int) -> None:
    """`found` is proven and holds the first k by (total falling, entry rising)."""
    order = sorted(range(totals.size), key=lambda entry: (-totals[entry], entry))[:k]
    assert found.entries.tolist() == order
    assert found.scores.tolist() == totals[order].tolist()
    assert found.gap == 0.0


def assert_gap(found: SearchResult, totals: NDArray[np.float64]) -> None:
    """Scores are those of the entries; nothing left out is above the last one by more than the gap."""
    assert found.scores.tolist() == totals[found.entries].tolist()
    assert (np.diff(found.scores) <= 0.0).all()
    left_out = np.delete(totals, found.entries)
    if found.entries.size and left_out.size and found.gap < np.inf:
        assert left_out.max() - found.scores[-1] <= found.gap


def same(found: SearchResult, expected: SearchResult) -> bool:
    return (
        found.entries.tolist() == expected.entries.tolist()
        and found.scores.tobytes() == expected.scores.tobytes()
        and found.gap == expected.gap
    )


@given(both, scorers(), costs, st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_exact_equals_brute_force(
    catalogue: tuple[Trie, Prior], scorer: HashScorer, cost: RowCost, k: int
) -> None:
    trie, prior = catalogue
    totals = all_totals(scorer, trie, prior)
    found = exact(scorer, trie, PROMPT, k, cost, prior=prior)
    assert_top(found, totals, k)
    assert found.rows == scorer.paths.size - PROMPT.size


@given(both, scorers(), costs, st.integers(1, 20), st.data())
@settings(max_examples=100, deadline=None)
def test_seeds_do_not_change_the_answer(
    catalogue: tuple[Trie, Prior], scorer: HashScorer, cost: RowCost, k: int, data: st.DataObject
) -> None:
    trie, prior = catalogue
    guesses = data.draw(st.lists(st.integers(0, trie.num_entries - 1), max_size=8))
    totals = all_totals(scorer, trie, prior)
    assert_top(exact(scorer, trie, PROMPT, k, cost, seeds=guesses, prior=prior), totals, k)


@given(both, scorers(), costs, st.integers(1, 20), st.integers(1, 30))
@settings(max_examples=100, deadline=None)
def test_the_gap_is_truthful_at_any_budget(
    catalogue: tuple[Trie, Prior], scorer: HashScorer, cost: RowCost, k: int, max_rows: int
) -> None:
    trie, prior = catalogue
    totals = all_totals(scorer, trie, prior)
    found = exact(scorer, trie, PROMPT, k, cost, max_rows, prior=prior)
    assert found.rows <= max_rows
    assert (found.gap == np.inf) == (found.entries.size < min(k, trie.num_entries))
    assert_gap(found, totals)
    if found.gap == 0.0:
        assert np.array_equal(found.scores, np.sort(totals)[::-1][:k])


@given(both, scorers(), costs, st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 2, 3, 7, 1024]))
@settings(max_examples=100, deadline=None)
def test_verify_equals_stepwise_bit_for_bit(
    catalogue: tuple[Trie, Prior], scorer: HashScorer, cost: RowCost, k: int, width: int, max_rows: int
) -> None:
    trie, prior = catalogue
    expected = stepwise(copy(scorer), trie, PROMPT, k, width, prior=prior)
    found = verify(copy(scorer), trie, PROMPT, k, width, cost, max_rows, prior=prior)
    assert same(found, expected)
    assert_gap(found, all_totals(scorer, trie, prior))


def test_a_beam_ranks_by_score_plus_the_best_prior_it_can_reach() -> None:
    """Width 1 follows the prior of the one entry that it can become, not the likelier prefix."""
    trie = make_trie([[a, b] for a in range(5) for b in range(5)])
    for wanted in range(trie.num_entries):
        prior = Prior(np.where(np.arange(trie.num_entries) == wanted, 50.0, 0.0))
        found = stepwise(HashScorer(), trie, PROMPT, 1, 1, prior=prior)
        assert found.entries.tolist() == [wanted] and found.gap == 0.0 and found.scores[0] > 0.0


@given(both, scorers(), st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_a_beam_that_drops_nothing_is_exact(
    catalogue: tuple[Trie, Prior], scorer: HashScorer, k: int
) -> None:
    trie, prior = catalogue
    found = stepwise(copy(scorer), trie, PROMPT, k, 256, prior=prior)
    assert_top(found, all_totals(scorer, trie, prior), k)


Search = Callable[[HashScorer, Trie, Prior | None], SearchResult]
SEARCHES: dict[str, Search] = {
    "stepwise": lambda scorer, trie, prior: stepwise(scorer, trie, PROMPT, 3, 4, prior=prior),
    "verify": lambda scorer, trie, prior: verify(scorer, trie, PROMPT, 3, 4, COSTS[3], prior=prior),
    "exact": lambda scorer, trie, prior: exact(scorer, trie, PROMPT, 3, COSTS[3], 40, prior=prior),
}


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
@given(trie=tries(), scorer=scorers())
@settings(max_examples=60, deadline=None)
def test_zeros_are_no_prior(search: Search, trie: Trie, scorer: HashScorer) -> None:
    """Answer, gap, forwards and rows alike."""
    plain, zeros = copy(scorer), copy(scorer)
    expected = search(plain, trie, None)
    found = search(zeros, trie, Prior(np.zeros(trie.num_entries)))
    assert np.array_equal(found.scores, expected.scores) and found.gap == expected.gap
    assert found.entries.tolist() == expected.entries.tolist()
    assert zeros.calls == plain.calls


@pytest.fixture(scope="module")
def keywords() -> Trie:
    return keyword_trie(2_000)


@pytest.mark.parametrize("renormalised", [False, True])
def test_keyword_catalogue(keywords: Trie, renormalised: bool) -> None:
    """The bound is tight enough to leave most rows unfed."""
    prior = Prior(random_values(keywords.num_entries, 5, 1.0, 0.0))
    for query in range(3):
        scorer = HashScorer(query, sigma=4.0, leak=1.0, renormalised=renormalised)
        totals = all_totals(scorer, keywords, prior)
        found = exact(copy(scorer), keywords, PROMPT, 10, RowCost.kneed(8), prior=prior)
        assert_top(found, totals, 10)
        assert found.rows < keywords.num_rows(0, keywords.num_entries, 0)[0] / 3
        beam = stepwise(copy(scorer), keywords, PROMPT, 10, 10, prior=prior)
        assert same(verify(scorer, keywords, PROMPT, 10, 10, FLAT, prior=prior), beam)


def test_the_gap_of_an_early_end_counts_the_prior() -> None:
    """The two rows allowed finish the seed; the other entry is likely only by its prior."""
    trie, prior = make_trie([[0, 1], [2, 3]]), Prior([0.0, 50.0])
    totals = all_totals(HashScorer(), trie, prior)
    found = exact(HashScorer(), trie, PROMPT, 1, RowCost.kneed(1), 2, seeds=[0], prior=prior)
    assert found.entries.tolist() == [0] and 40.0 < found.gap < np.inf
    assert_gap(found, totals)


def test_a_bound_that_ties_may_hold_a_lower_entry() -> None:
    """Probabilities 1/4, 1/4, 1/2; the prior makes them equal, and the seed finishes the last one first."""
    trie = make_trie([[0, 1, 2], [0, 3], [5]])
    even = HashScorer(sigma=0.0, leak=0.0)
    scores = all_totals(even, trie, Prior(np.zeros(3)))
    prior = Prior(scores[0] - scores)
    found = exact(even, trie, PROMPT, 1, RowCost.kneed(1), seeds=[2], prior=prior)
    assert found.entries.tolist() == [0] and found.gap == 0.0


@pytest.mark.parametrize("bad", [Prior([1.0]), Prior(np.zeros(4)), [0.0, 0.0, 0.0], 1.0, "prior"], ids=type)
def test_priors_that_do_not_fit(bad: Any) -> None:
    trie = make_trie([[1, 2], [1, 3], [4]])
    for search in SEARCHES.values():
        scorer = HashScorer()
        with pytest.raises(InputError, match="prior: expected"):
            search(scorer, trie, bad)
        assert scorer.calls == []
