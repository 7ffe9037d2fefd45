"""Laws of lanes: in common forwards each request gets the bits it gets alone; limits are errors."""

from __future__ import annotations

from threading import Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_execution_plan import schedules

from adtrie.engine import Engine
from adtrie.engine.lanes import BLOCK, LOGITS, LaneGroup, RequestRows, Rows
from adtrie.errors import CapacityError, InputError
from adtrie.models import Checkpoint

PREFIX = np.arange(5, 26, dtype=np.int32)
CHILDREN = np.array([0, 3, 17, 200, 287], dtype=np.int32)
Tree = tuple[np.ndarray, np.ndarray]


def tree(seed: int, size: int) -> Tree:
    """Tokens and parents int32[size]; a chain first, like a prompt."""
    rng = np.random.default_rng(seed)
    parents = np.array([rng.integers(-1, i) if i else -1 for i in range(size)], dtype=np.int32)
    chain = int(rng.integers(0, size + 1))
    parents[:chain] = np.arange(-1, chain - 1)
    return rng.integers(0, 288, size).astype(np.int32), parents


def children_of(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """CSR of the children asked for: none of a third of the rows."""
    asked = tokens % 3 > 0
    ptr = np.concatenate([[0], np.cumsum(asked * len(CHILDREN))]).astype(np.int64)
    return ptr, np.tile(CHILDREN, int(asked.sum()))


def rows_of(request: RequestRows, tokens: np.ndarray, parents: np.ndarray) -> Rows:
    places = request.append(len(tokens))
    return Rows(tokens, request.of(parents), places, *children_of(tokens))


def alone(engine: Engine, score: str, one: Tree) -> np.ndarray:
    tokens, parents = one
    return engine.session(PREFIX, score).score(tokens, parents, *children_of(tokens))


def in_company(group: LaneGroup, trees: list[Tree], seed: int, lanes: list[int]) -> list[np.ndarray]:
    """Scores of each tree when pieces of all of them share forwards of the lanes named."""
    rng = np.random.default_rng(seed)
    requests = [group.open(1000) for _ in trees]
    rows = [rows_of(request, *one) for request, one in zip(requests, trees, strict=True)]
    found: list[list[np.ndarray]] = [[] for _ in trees]
    fed, turn = [0] * len(trees), 0
    every = [*group.single, group.wide]
    while any(done < part.size for done, part in zip(fed, rows, strict=True)):
        parts, owners = [], []
        for i in rng.permutation(len(trees)):
            end = min(rows[i].size, fed[i] + int(rng.integers(0, 9)))
            if end > fed[i]:
                parts.append(rows[i].part(fed[i], end))
                owners.append(i)
                fed[i] = end
        if parts:
            scores = every[lanes[turn % len(lanes)] % len(every)].score(parts)
            turn += 1
            cuts = np.cumsum([part.child_tokens.size for part in parts])[:-1]
            for i, piece in zip(owners, np.split(scores, cuts), strict=True):
                found[i].append(piece)
    for request in requests:
        request.close()
    assert group.rows_in_use == 0
    return [np.concatenate(pieces) for pieces in found]


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("score", ["raw", "renormalised"])
def test_company_changes_no_bit(llama: Checkpoint, isa: str, weights: str, score: str) -> None:
    engines = [Engine(llama, weights=weights, isa=isa, threads=n) for n in (1, 2)]
    groups = [LaneGroup(engine, PREFIX, score, 4096) for engine in engines]

    @settings(max_examples=12, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 50)), min_size=1, max_size=6),
        st.integers(0, 2**32 - 1),
        st.lists(st.integers(0, 2), min_size=1, max_size=4),
    )
    def check(sizes: list[tuple[int, int]], seed: int, lanes: list[int]) -> None:
        trees = [tree(*size) for size in sizes]
        expected = [alone(engines[0], score, one) for one in trees]
        for group in groups:
            for got, wanted in zip(in_company(group, trees, seed, lanes), expected, strict=True):
                np.testing.assert_array_equal(got, wanted)

    check()


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8", "int4"])
def test_logits_are_those_of_a_session(llama: Checkpoint, isa: str, weights: str) -> None:
    """Of the rows that have children only, in whatever company."""
    for threads in (1, 2):
        engine = Engine(llama, weights=weights, isa=isa, threads=threads)
        group, vocab = LaneGroup(engine, PREFIX, LOGITS, 512), engine.spec.vocab_size
        requests, parts, expected = [], [], []
        for seed in range(3):
            tokens, parents = tree(seed, 9 + seed)
            wanted = np.random.default_rng(seed).random(tokens.size) < 0.5
            session = engine.session(PREFIX, "raw", 64)
            expected.append(session.logits(tokens, parents)[wanted])
            request = group.open(64)
            places = request.append(tokens.size)
            ptr = np.concatenate(([0], np.cumsum(wanted * vocab)))
            unread = np.broadcast_to(np.int32(0), int(ptr[-1]))
            parts.append(Rows(tokens, request.of(parents), places, ptr, unread))
            requests.append(request)
        for lane in (group.wide, *group.single):
            got = lane.score(parts).reshape(-1, vocab)
            np.testing.assert_array_equal(got, np.concatenate(expected))
            group._core.release(np.concatenate([part.places for part in parts]))


@pytest.mark.parametrize("weights", ["float32", "int4"])
def test_lanes_follow_the_schedule_and_no_bit_changes(llama: Checkpoint, isa: str, weights: str) -> None:
    plain = Engine(llama, weights=weights, isa=isa, threads=1)
    engine = Engine(llama, weights=weights, isa=isa, threads=2)
    trees = [tree(seed, 10 + 7 * seed) for seed in range(5)]
    expected = [alone(plain, "raw", one) for one in trees]

    @settings(max_examples=12, deadline=None)
    @given(schedules, st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2), min_size=1, max_size=4))
    def check(schedule: list[list[int]], seed: int, lanes: list[int]) -> None:
        engine._model.set_schedule(np.array(schedule, np.int32))
        np.testing.assert_array_equal(engine._model.with_threads(1).schedule, schedule)
        got = in_company(LaneGroup(engine, PREFIX, "raw", 4096), trees, seed, lanes)
        for scores, wanted in zip(got, expected, strict=True):
            np.testing.assert_array_equal(scores, wanted)

    check()


def test_lanes_feed_at_the_same_time(llama: Checkpoint) -> None:
    engine = Engine(llama, threads=2)
    group = LaneGroup(engine, PREFIX, "raw", 4096)
    trees = [tree(seed, 60) for seed in range(8)]
    expected = [alone(engine, "raw", one) for one in trees]
    found: dict[int, np.ndarray] = {}

    def feed(lane: int) -> None:
        for number in range(lane, len(trees), 2):
            request = group.open(100)
            rows = rows_of(request, *trees[number])
            pieces = [group.single[lane].score([rows.part(i, i + 6)]) for i in range(0, 60, 6)]
            found[number] = np.concatenate(pieces)
            request.close()

    threads = [Thread(target=feed, args=(lane,)) for lane in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, scores in found.items():
        np.testing.assert_array_equal(scores, expected[number])
    assert len(found) == len(trees)


def test_nothing_stays_of_a_refused_forward(llama: Checkpoint) -> None:
    engine = Engine(llama, threads=1)
    group = LaneGroup(engine, PREFIX, "raw", 1024)
    good, bad = group.open(100), group.open(100)
    tokens, parents = tree(1, 20)
    rows = rows_of(good, tokens, parents)
    for token, match in ((288, "vocabulary"), (-1, "vocabulary")):
        wrong = rows_of(bad, np.array([4, token], np.int32), np.array([-1, -1], np.int32))
        with pytest.raises(InputError, match=match):
            group.single[0].score([rows, wrong])
    np.testing.assert_array_equal(group.single[0].score([rows]), alone(engine, "raw", (tokens, parents)))
    with pytest.raises(InputError, match="taken"):  # a row is fed once
        group.wide.score([rows])


def test_limits_are_errors(llama: Checkpoint) -> None:
    engine = Engine(llama, threads=1)
    group = LaneGroup(engine, PREFIX, "raw", 4 * BLOCK)
    request, other = group.open(3 * BLOCK), group.open(1000)
    with pytest.raises(CapacityError, match="does not fit"):
        request.append(3 * BLOCK + 1)
    request.append(3 * BLOCK)
    with pytest.raises(CapacityError, match="beside those of other requests"):
        other.append(BLOCK + 1)
    for parent in (-2, 3 * BLOCK):
        with pytest.raises(InputError, match="not an earlier row"):
            request.of(np.array([parent], np.int32))
    request.close()
    assert other.append(4 * BLOCK).size == 4 * BLOCK
    with pytest.raises(InputError, match="raw or renormalised"):
        LaneGroup(engine, PREFIX, "cooked", 64)
    deep = LaneGroup(engine, PREFIX, "raw", 1024).open(1024)
    long = rows_of(deep, np.zeros(512, np.int32), np.arange(-1, 511, dtype=np.int32))
    with pytest.raises(CapacityError, match="context"):
        LaneGroup(engine, PREFIX, "raw", 1024).wide.score([long])


def test_a_group_without_prefix(llama: Checkpoint) -> None:
    engine = Engine(llama, threads=1)
    group = LaneGroup(engine, np.zeros(0, np.int32), "raw", 64)
    tokens, parents = tree(2, 10)
    rows = rows_of(group.open(64), tokens, parents)
    ptr, children = rows.child_ptr, rows.child_tokens
    expected = engine.session().score(tokens, parents, ptr, children)
    np.testing.assert_array_equal(group.wide.score([rows]), expected)
