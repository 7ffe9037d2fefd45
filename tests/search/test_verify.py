"""verify must return what stepwise returns, whatever rows cost and however few fit a forward."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_fakes import COSTS, PROMPT, HashScorer, copy, keyword_trie, make_trie, scorers, tries

from adtrie.catalogue.trie import Trie
from adtrie.search import RowCost, enumerate_all, stepwise, verify

QUERIES = range(12)


@given(
    tries(),
    scorers(),
    st.sampled_from(COSTS),
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from([1, 2, 3, 7, 1024]),
)
@settings(max_examples=300, deadline=None)
def test_equals_stepwise_bit_for_bit(
    trie: Trie, scorer: HashScorer, cost: RowCost, k: int, width: int, max_rows: int
) -> None:
    expected = stepwise(copy(scorer), trie, PROMPT, k, width)
    found = verify(scorer, trie, PROMPT, k, width, cost, max_rows)
    assert found.entries.tolist() == expected.entries.tolist()
    assert np.array_equal(found.scores, expected.scores)
    assert found.gap == expected.gap
    assert found.forwards == len(scorer.calls)
    assert found.rows == scorer.paths.size - PROMPT.size
    assert scorer.calls[0] <= PROMPT.size + max_rows and max(scorer.calls[1:], default=0) <= max_rows


@given(
    tries(),
    scorers(),
    st.sampled_from(COSTS),
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from([1, 2, 3, 7, 1024]),
    st.data(),
)
@settings(max_examples=300, deadline=None)
def test_seeds_join_the_beam(
    trie: Trie, scorer: HashScorer, cost: RowCost, k: int, width: int, max_rows: int, data: st.DataObject
) -> None:
    """Both give the best k of what the beam keeps and the seeds, scored as enumeration scores them."""
    seeds = data.draw(st.lists(st.integers(0, trie.num_entries - 1), max_size=9))
    expected = stepwise(copy(scorer), trie, PROMPT, k, width, seeds)
    found = verify(scorer, trie, PROMPT, k, width, cost, max_rows, seeds)
    assert found.entries.tolist() == expected.entries.tolist()
    assert np.array_equal(found.scores, expected.scores)
    assert found.gap == expected.gap
    assert max(scorer.calls[1:], default=0) <= max_rows
    beam = stepwise(copy(scorer), trie, PROMPT, width, width)
    every = enumerate_all(copy(scorer), trie, PROMPT)
    scores = dict(zip(every.entries.tolist(), every.scores.tolist(), strict=True))
    union = sorted({*beam.entries.tolist(), *seeds}, key=lambda entry: (-scores[entry], entry))[:k]
    assert found.entries.tolist() == union
    left_out = max((scores[entry] for entry in scores if entry not in union), default=-np.inf)
    assert left_out <= found.scores[-1] + found.gap + 1e-9


@pytest.fixture(scope="module")
def keywords() -> Trie:
    return keyword_trie(2_000)


def model(query: int, renormalised: bool = False) -> HashScorer:
    return HashScorer(query, sigma=3.0, leak=1.0, renormalised=renormalised)


@pytest.mark.parametrize("renormalised", [False, True])
def test_free_rows_at_least_halve_the_forwards(keywords: Trie, renormalised: bool) -> None:
    for query in QUERIES:
        expected = stepwise(model(query, renormalised), keywords, PROMPT, 10, 10)
        found = verify(model(query, renormalised), keywords, PROMPT, 10, 10, RowCost.flat(), 1024)
        assert np.array_equal(found.scores, expected.scores)
        assert 2 * found.forwards <= expected.forwards


@pytest.mark.parametrize("cost", [*COSTS, RowCost.kneed(50)])
def test_predicted_milliseconds_do_not_exceed_those_of_stepwise(keywords: Trie, cost: RowCost) -> None:
    plain, ahead = 0.0, 0.0
    for query in QUERIES:
        one, other = model(query), model(query)
        stepwise(one, keywords, PROMPT, 10, 10)
        verify(other, keywords, PROMPT, 10, 10, cost)
        plain, ahead = plain + one.milliseconds(cost), ahead + other.milliseconds(cost)
    assert ahead <= plain * 1.0001


def test_a_catalogue_of_one_entry_is_one_forward() -> None:
    trie = make_trie([[4, 5, 6]])
    found = verify(HashScorer(), trie, PROMPT, 3, 3, RowCost.flat())
    assert (found.entries.tolist(), found.gap, found.forwards, found.rows) == ([0], 0.0, 1, 3)


def test_renormalised_forced_tokens_take_no_row() -> None:
    trie = make_trie([[4, 5, 6, 1], [7, 8, 9]])
    found = verify(HashScorer(renormalised=True), trie, PROMPT, 2, 2, RowCost.kneed(1))
    assert (found.forwards, found.rows) == (1, 0)


def test_skipped_forced_tokens_are_fed_with_the_branching_node_they_lead_to() -> None:
    trie = make_trie([[4, 5, 6, 1], [4, 5, 6, 2], [7]])
    found = verify(HashScorer(renormalised=True), trie, PROMPT, 3, 3, RowCost.flat(), 1)
    assert (found.forwards, found.rows) == (3, 3)  # 4 with the prompt, then 5, then 6


def fans(rng: random.Random) -> Trie:
    """Nodes with many children, of which every other one's lead to single entries with long forced ends."""
    sequences = []
    for fan in range(rng.randrange(3, 12)):
        head = [fan, *(rng.randrange(3) for _ in range(rng.randrange(3)))]
        for child in range(rng.randrange(3, 60)):
            tail = [100 + rng.randrange(5) for _ in range(rng.randrange(1, 6))]
            for last in range(rng.choice([1, 1, 1, 2, 3]) if fan % 2 else 1):
                sequences.append([*head, child, *tail, last])
    return make_trie(sequences)


def test_rows_guessed_above_the_row_limit() -> None:
    """Forced ends make the guess of a subtree's rows too high; the sum once fell outside the price table."""
    for seed in range(40):
        rng = random.Random(seed)
        trie, max_rows, width = fans(rng), rng.randrange(60, 151), rng.choice([5, 10, 20, 40])
        scorer = HashScorer(seed, rng.choice([0.5, 3.0]), renormalised=True)
        expected = stepwise(copy(scorer), trie, PROMPT, width, width)
        found = verify(scorer, trie, PROMPT, width, width, RowCost.flat(), max_rows)
        assert found.entries.tolist() == expected.entries.tolist() and found.gap == expected.gap


def test_nothing_is_fed_ahead_where_every_row_takes_its_time(keywords: Trie) -> None:
    for query in QUERIES:
        found = verify(model(query), keywords, PROMPT, 10, 10, RowCost.kneed(1))
        assert found.rows == stepwise(model(query), keywords, PROMPT, 10, 10).rows
