"""Laws of continuous batching: answers as alone, fair shares, errors and cancellation hit one request."""

from __future__ import annotations

from concurrent.futures import CancelledError
from threading import Barrier, Event, active_count

import numpy as np
import pytest
from batch_fakes import FakeGroup
from hypothesis import given, settings
from hypothesis import strategies as st
from search_fakes import COSTS, PROMPT, HashScorer, copy, keyword_trie, scorers, tries

from adtrie.catalogue.trie import Trie
from adtrie.config import RowCost
from adtrie.engine.batching import (
    Batcher,
    BatchScorer,
    cost_in_company,
    fair_shares,
    saturating_rows,
    share_of_a_lane,
)
from adtrie.errors import CapacityError, InputError
from adtrie.search.exact import exact
from adtrie.search.scorer import Scorer, SearchResult
from adtrie.search.stepwise import stepwise
from adtrie.search.verify import verify

COST = RowCost.measured([1, 8, 64, 1024], [3.0, 4.0, 12.0, 200.0])


def run(mode: str, scorer: Scorer, trie: Trie, prompt: np.ndarray, k: int) -> SearchResult:
    if mode == "exact":
        return exact(scorer, trie, prompt, k, COST, 10_000)
    if mode == "verify":
        return verify(scorer, trie, prompt, k, 4, COST)
    return stepwise(scorer, trie, prompt, k, 4)


def shown(result: SearchResult) -> tuple[object, ...]:
    entries, scores = result.entries.tolist(), result.scores.tolist()
    return entries, scores, result.gap, result.forwards, result.rows


MODES = st.sampled_from(["exact", "verify", "stepwise"])


@settings(max_examples=30, deadline=None)
@given(
    tries(),
    scorers(),
    st.lists(st.tuples(MODES, st.integers(1, 5)), min_size=1, max_size=9),
    st.integers(1, 40),
    st.integers(1, 3),
    st.integers(1, 9),
)
def test_answers_and_their_order_are_those_alone(
    trie: Trie, model: HashScorer, asked: list[tuple[str, int]], rows: int, num_lanes: int, concurrency: int
) -> None:
    prompts = [np.array([*PROMPT[:-1], i], np.int32) for i in range(len(asked))]
    expected = []
    for (mode, k), prompt in zip(asked, prompts, strict=True):
        alone = copy(model)
        alone.prompt = prompt
        expected.append(shown(run(mode, alone, trie, prompt, k)))
    group = FakeGroup(model, num_lanes)
    with Batcher(group, rows, concurrency, len(asked)) as batcher:
        pending = [
            batcher.submit(lambda scorer, m=mode, p=prompt, k=k: run(m, scorer, trie, p, k), 10_000)
            for (mode, k), prompt in zip(asked, prompts, strict=True)
        ]
        assert [shown(one.result(30)) for one in pending] == expected
    assert group.num_closed == len(asked)
    assert max(sum(shares) for shares in group.forwards) <= rows * num_lanes


@given(st.lists(st.integers(1, 50), max_size=20), st.integers(0, 100))
def test_shares_are_even_and_use_all_room(wanted: list[int], more: int) -> None:
    room = len(wanted) + more
    shares = fair_shares(wanted, room)
    assert sum(shares) == min(room, sum(wanted))
    assert all(1 <= got <= want for got, want in zip(shares, wanted, strict=True))
    cut = [got for got, want in zip(shares, wanted, strict=True) if got < want]
    if cut:  # nobody has more than one that wants more, but for what is over: that goes to the oldest
        even = min(cut)
        assert sum(max(got - even, 0) for got in shares) < len(wanted) + max(wanted)
        assert all(got >= min(want, even) for got, want in zip(shares, wanted, strict=True))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(1, 4))
def test_a_lane_takes_its_part_of_all_rows_and_no_call_more(rows: list[int], lanes: int) -> None:
    taken = share_of_a_lane(rows, lanes)
    assert lanes * sum(rows[:taken]) >= sum(rows) > lanes * sum(rows[: taken - 1])


def test_two_requests_that_wait_have_a_lane_each() -> None:
    group, both = FakeGroup(HashScorer(), num_lanes=2, pause_s=0.02), Barrier(2)

    def job(scorer: BatchScorer) -> None:
        for _ in range(3):
            both.wait()
            rows(scorer, [1, 2])

    with Batcher(group, 64, 2, 2) as batcher:
        for one in [batcher.submit(job, 100) for _ in range(2)]:
            one.result(30)
    assert group.forwards == [[2]] * 6


def rows(scorer: BatchScorer, tokens: list[int], parent: int = -1) -> list[float]:
    """One forward of rows that all continue one row; a score of each."""
    count = len(tokens)
    ptr = np.arange(count + 1, dtype=np.int64)
    return scorer.score(
        np.array(tokens, np.int32), np.full(count, parent, np.int32), ptr, np.zeros(count, np.int32)
    ).tolist()


def test_a_long_request_does_not_starve_a_short_one() -> None:
    group = FakeGroup(HashScorer(), num_lanes=1, pause_s=0.001)
    began = Event()

    def long(scorer: BatchScorer) -> int:
        began.set()
        return len(rows(scorer, list(range(4000))))

    def short(scorer: BatchScorer) -> int:
        for i in range(3):
            rows(scorer, [i])
        return len(group.forwards)

    with Batcher(group, 16, 8, 8) as batcher:
        first = batcher.submit(long, 10_000)
        began.wait()
        at = len(group.forwards)
        assert batcher.submit(short, 10).result(30) - at < 100  # of the 250 that the long one takes
        assert first.result(30) == 4000
    assert max(map(sum, group.forwards)) <= 16


@pytest.mark.parametrize("num_lanes", [1, 2])
def test_an_error_hits_its_own_request(num_lanes: int) -> None:
    group = FakeGroup(HashScorer(), num_lanes, pause_s=0.0005)

    def good(scorer: BatchScorer) -> int:
        return sum(len(rows(scorer, [1, 2, 3])) for _ in range(20))

    def bad_row(scorer: BatchScorer) -> int:
        return len(rows(scorer, [5, 99_999]))

    def bad_search(scorer: BatchScorer) -> int:
        rows(scorer, [5])
        raise ZeroDivisionError("mine")

    with Batcher(group, 32, 8, 8) as batcher:
        pending = [batcher.submit(job, 100) for job in (good, bad_row, good, bad_search, good)]
        assert [pending[i].result(30) for i in (0, 2, 4)] == [60, 60, 60]
        with pytest.raises(ValueError, match="99_999"):
            pending[1].result(30)
        with pytest.raises(ZeroDivisionError, match="mine"):
            pending[3].result(30)
        wrong = batcher.submit(lambda scorer: scorer.score(*[np.zeros(2, np.int32)] * 4), 100)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="child_ptr"):
            wrong.result(30)
    assert group.num_closed == 6


def test_the_queue_is_bounded_and_cancelled_requests_end() -> None:
    group = FakeGroup(HashScorer(), 1, pause_s=0.001)
    go = Event()

    def blocked(scorer: BatchScorer) -> int:
        go.wait()
        return len(rows(scorer, [1]))

    def endless(scorer: BatchScorer) -> int:
        while True:
            rows(scorer, [1])

    before = active_count()
    batcher = Batcher(group, 8, 2, 2)
    running = [batcher.submit(job, 10**6) for job in (blocked, endless)]
    queued = [batcher.submit(blocked, 10) for _ in range(2)]
    with pytest.raises(CapacityError, match="no more may"):
        batcher.submit(blocked, 10)
    queued[0].cancel()
    batcher.submit(blocked, 10)
    running[1].cancel()
    for pending in (queued[0], running[1]):
        with pytest.raises(CancelledError):
            pending.result(30)
    go.set()
    assert running[0].result(30) == queued[1].result(30) == 1
    left = batcher.submit(endless, 10**6)
    batcher.close()
    with pytest.raises(CancelledError):
        left.result(30)
    with pytest.raises(InputError, match="closed"):
        batcher.submit(blocked, 10)
    batcher.close()  # again is fine
    assert active_count() <= before


def test_rows_and_cost_in_company() -> None:
    cost = RowCost.measured([1, 2, 4, 8, 16, 32, 64], [10, 11, 12, 16, 24, 46, 92])
    assert saturating_rows(cost) == 16
    assert saturating_rows(RowCost.flat()) == 2
    assert saturating_rows(RowCost.measured([1, 512], [10, 11])) == 128
    company = cost_in_company(cost, 16)
    assert company.ms(17) - company.ms(1) == pytest.approx(24)
    assert company.ms(1) < cost.ms(1)
    for one in COSTS:
        assert cost_in_company(one, saturating_rows(one)).ms(100) > 0


def test_real_searches_in_company() -> None:
    """Long enough that requests meet in forwards."""
    trie, model = keyword_trie(300), HashScorer(3, sigma=3.0)
    prompts = [np.array([*PROMPT[:-1], i], np.int32) for i in range(30)]
    group = FakeGroup(model, 2)
    with Batcher(group, 32, 30, 30) as batcher:
        pending = [batcher.submit(lambda s, p=p: run("verify", s, trie, p, 3), 10_000) for p in prompts]
        found = [shown(one.result(30)) for one in pending]
    for prompt, got in zip(prompts, found, strict=True):
        alone = HashScorer(3, sigma=3.0, prompt=prompt)
        assert got == shown(run("verify", alone, trie, prompt, 3))
    assert max(map(len, group.forwards)) > 1
