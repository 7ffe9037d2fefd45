"""Forwards that are stopped, by a fake source: answers are in time whatever they take, and gaps stay true."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from search_fakes import COSTS, PROMPT, HashScorer, copy, keyword_trie, scorers, tries
from test_deadline import COST, Machine, ask, assert_truthful

from adtrie.catalogue.trie import Trie
from adtrie.search import Pace, RowCost, enumerate_all, exact
from adtrie.search.deadline import FEW, STOPPABLE, StoppingScorer
from adtrie.search.recording import Explored, Recorder


class StoppableMachine(Machine):
    """A machine each of whose forwards takes a time of its own: factors of `slower`, over and over.

    A stopped forward has used up its time, and no row of it reaches the scorer.
    """

    def __init__(self, scorer: HashScorer, cost: RowCost, slower: list[float]) -> None:
        super().__init__(scorer, cost)
        self.factors, self.begun, self.stopped = slower, 0, 0

    def score_within(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
        ms: float,
    ) -> NDArray[np.float32] | None:
        self.slower = self.factors[self.begun % len(self.factors)]
        self.begun += 1
        if self.cost.ms(tokens.size) * self.slower <= ms:
            return self.score(tokens, parents, child_ptr, child_tokens)
        self.now += max(ms, 0.0) / 1e3
        self.stopped += 1
        return None


def brave() -> Pace:
    """A pace that has seen enough forwards that were as predicted."""
    pace = Pace(STOPPABLE)
    for _ in range(FEW):
        pace.saw_forward(1.0, 1.0)
    return pace


factors = st.lists(st.sampled_from([0.5, 1.0, 1.0, 1.3, 3.0, 1e6]), min_size=1, max_size=6)
times = st.one_of(st.sampled_from([0.0, 2.9, 3.0]), st.floats(0.0, 60.0))
modes = st.sampled_from(["exact", "exact", "verify", "stepwise"])


@given(tries(), scorers(), st.sampled_from(COSTS), factors, st.integers(1, 20), times, modes)
@settings(max_examples=300, deadline=None)
def test_in_time_and_truthful(
    trie: Trie, scorer: HashScorer, cost: RowCost, slower: list[float], k: int, ms: float, mode: str
) -> None:
    truth = enumerate_all(copy(scorer), trie, PROMPT)
    machine = StoppableMachine(scorer, cost, slower)
    found = ask(machine, trie, k, ms, brave(), mode)
    assert machine.now * 1e3 <= ms * (1 + 1e-9)
    assert machine.stopped <= 1, "nothing is begun after a forward was stopped"
    assert (found.forwards, found.rows) == (len(scorer.calls), max(scorer.paths.size - PROMPT.size, 0))
    assert_truthful(found, truth, min(k, trie.num_entries))


@given(tries(), scorers(), st.integers(0, 5), st.integers(1, 20), st.booleans())
@settings(max_examples=200, deadline=None)
def test_what_was_stopped_is_open_to_explain_too(
    trie: Trie, scorer: HashScorer, completed: int, k: int, seeded: bool
) -> None:
    """Stopped at the forward of that number: the answer is that of the forwards before it."""
    machine = StoppableMachine(scorer, COST, [1.0] * completed + [1e6])
    recorder, deadline = Recorder(machine), machine.deadline(1e6, brave())
    seeds = np.arange(min(3, trie.num_entries)) if seeded else None
    found = exact(recorder, trie, PROMPT, k, COST, seeds=seeds, deadline=deadline)
    assert found.forwards == len(recorder.forwards) <= completed
    assert_truthful(found, enumerate_all(copy(scorer), trie, PROMPT), min(k, trie.num_entries))
    if machine.stopped:
        assert found.gap > 0.0, "an answer that is proven asks for no forward"
    if recorder.forwards and not scorer.renormalised:
        assert set(found.entries.tolist()) <= set(Explored.of(recorder, trie).lo.tolist())


def test_probably_in_time_is_enough() -> None:
    """A tenth of the forwards takes three times as long: prediction ignores them, no answer is late."""
    trie, pace = keyword_trie(2_000), brave()
    answered = 0
    for query in range(100):
        slow = [3.0] if query % 10 == 0 else [1.0]
        machine = StoppableMachine(HashScorer(query, sigma=3.0, leak=1.0), COST, slow)
        answered += ask(machine, trie, 10, 8.0, pace).forwards > 0
        assert machine.now * 1e3 <= 8.0 * (1 + 1e-9)
    assert pace.factor == pytest.approx(1.0)
    assert answered >= 90


def test_busy_for_a_while_is_forgotten() -> None:
    """A pace full of slow forwards refuses all that would be in time again: not for long."""
    trie, pace = keyword_trie(100), Pace(STOPPABLE)
    for _ in range(1000):
        pace.saw_forward(1.0, 10.0)
    answered = [
        ask(StoppableMachine(HashScorer(query), COST, [1.0]), trie, 3, 20.0, pace).forwards > 0
        for query in range(80 * STOPPABLE.refused)
    ]
    assert all(answered[-10 * STOPPABLE.refused :])


def test_a_scorer_that_cannot_stop_takes_its_time() -> None:
    machine = Machine(HashScorer(1), COST, slower=5.0)
    deadline = machine.deadline(4.0, brave())
    rows = PROMPT, np.arange(-1, 2, dtype=np.int32), np.array([0, 0, 0, 1]), np.array([5], np.int32)
    assert StoppingScorer(machine, deadline).score(*rows).shape == (1,)
    assert deadline.left_ms() < 0
