"""Deadlines on a fake clock: met where the prediction holds, else learned; answers truthful in any case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from search_fakes import COSTS, PROMPT, HashScorer, copy, keyword_trie, scorers, tries

from adtrie.catalogue.trie import Trie
from adtrie.errors import InputError
from adtrie.search import Deadline, Pace, RowCost, SearchResult, enumerate_all, exact, stepwise, verify
from adtrie.search.deadline import CERTAIN, FEW, TimedScorer

COST = RowCost.measured([1, 8, 64, 1024], [3.0, 4.0, 12.0, 200.0])


class Machine:
    """A clock, and a scorer that moves it: `slower` times what the row cost says, and host work after."""

    def __init__(self, scorer: HashScorer, cost: RowCost, slower: float = 1.0, host_ms: float = 0.0) -> None:
        self.scorer, self.cost, self.slower, self.host_ms = scorer, cost, slower, host_ms
        self.renormalised = scorer.renormalised
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def score(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        self.now += (self.cost.ms(tokens.size) * self.slower + self.host_ms) / 1e3
        return self.scorer.score(tokens, parents, child_ptr, child_tokens)

    def deadline(self, ms: float, pace: Pace) -> Deadline:
        return Deadline(ms, self.cost, self.clock, pace)


def experienced(ratio: float = 1.0) -> Pace:
    """A pace that has seen enough forwards, all of them `ratio` times what the table says."""
    pace = Pace()
    for _ in range(FEW):
        pace.saw_forward(1.0, ratio)
    return pace


def ask(machine: Machine, trie: Trie, k: int, ms: float, pace: Pace, mode: str = "exact") -> SearchResult:
    deadline = machine.deadline(ms, pace)
    if mode == "exact":
        return exact(machine, trie, PROMPT, k, machine.cost, deadline=deadline)
    if mode == "verify":
        return verify(TimedScorer(machine, deadline), trie, PROMPT, k, k, machine.cost)
    return stepwise(TimedScorer(machine, deadline), trie, PROMPT, k, k)


def assert_truthful(found: SearchResult, truth: SearchResult, k: int) -> None:
    scores = dict(zip(truth.entries.tolist(), truth.scores.tolist(), strict=True))
    assert [scores[e] for e in found.entries.tolist()] == found.scores.tolist()
    assert len(set(found.entries.tolist())) == found.entries.size
    if found.entries.size < k:
        assert found.gap == np.inf
    else:
        assert truth.scores[k - 1] <= found.scores[-1] + found.gap
    if found.gap == 0.0:
        assert np.array_equal(found.scores, truth.scores[:k])


times = st.one_of(st.sampled_from([0.0, 2.9, 3.0]), st.floats(0.0, 60.0), st.just(1e6))
modes = st.sampled_from(["exact", "verify", "stepwise"])


@given(tries(), scorers(), st.sampled_from(COSTS), st.integers(1, 20), times, modes)
@settings(max_examples=200, deadline=None)
def test_met_and_truthful(
    trie: Trie, scorer: HashScorer, cost: RowCost, k: int, ms: float, mode: str
) -> None:
    truth = enumerate_all(copy(scorer), trie, PROMPT)
    machine = Machine(scorer, cost)
    found = ask(machine, trie, k, ms, experienced(), mode)
    k = min(k, trie.num_entries)
    assert machine.now * 1e3 <= ms * (1 + 1e-9)
    assert (found.forwards, found.rows) == (len(scorer.calls), max(scorer.paths.size - PROMPT.size, 0))
    assert_truthful(found, truth, k)
    if ms == 1e6 and mode == "exact":
        assert found.gap == 0.0


@pytest.mark.parametrize("mode", ["exact", "verify", "stepwise"])
def test_no_time_is_an_empty_answer(mode: str) -> None:
    scorer = HashScorer()
    found = ask(Machine(scorer, COST), keyword_trie(50), 3, 0.0, experienced(), mode)
    assert (found.entries.size, found.scores.size, found.gap, found.forwards, found.rows) == (
        0,
        0,
        np.inf,
        0,
        0,
    )
    assert scorer.calls == []


@pytest.mark.parametrize("bad", [-1, -1e-9, float("nan"), float("inf"), 1e10, "5", None, True, [5], 5j])
def test_bad_deadlines(bad: Any) -> None:
    with pytest.raises(InputError, match="deadline_ms: expected"):
        Deadline(bad, COST)


@pytest.fixture(scope="module")
def keywords() -> Trie:
    return keyword_trie(2_000)


def test_a_machine_slower_than_its_table_is_learned(keywords: Trie) -> None:
    """Three times slower, with work after each forward: only the first requests may be late."""
    pace, late = Pace(), []
    for query in range(30):
        machine = Machine(HashScorer(query, sigma=3.0, leak=1.0), COST, slower=3.0, host_ms=0.7)
        found = ask(machine, keywords, 10, 60.0, pace)
        late.append(machine.now * 1e3 > 60.0)
        assert query < 5 or found.forwards > 0
    assert not any(late[3:])


def test_one_pause_does_not_stop_all_later_requests(keywords: Trie) -> None:
    pace = experienced()
    pace.saw_forward(1.0, 1e4)
    pace.saw_forward(1.0, 1e4)
    assert pace.factor == 1e4
    answered = [
        ask(Machine(HashScorer(query), COST), keywords, 3, 30.0, pace).forwards > 0
        for query in range(2 * CERTAIN.refused + 20)
    ]
    assert all(answered[2 * CERTAIN.refused :]), "each pause refuses so many requests, no more"


def test_more_time_is_not_worse_and_beats_a_beam_of_that_time(keywords: Trie) -> None:
    """Summed over queries: the probability found until the moment a verified beam of that width ends."""

    def mass(found: SearchResult) -> float:
        return float(np.exp(found.scores).sum())

    for width in (1, 4, 10):
        beams = ours = 0.0
        for query in range(12):
            machine = Machine(HashScorer(query, sigma=4.0, leak=1.0), COST)
            beams += mass(verify(machine, keywords, PROMPT, width, width, COST))
            again = Machine(HashScorer(query, sigma=4.0, leak=1.0), COST)
            ours += mass(ask(again, keywords, 10, machine.now * 1e3 + 1e-6, experienced()))
        assert ours >= beams
