"""A forward that is stopped, wherever it is, leaves its session as it was; what follows has the same bits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from test_session import random_tree

from adtrie import _core
from adtrie.engine import Engine, Session
from adtrie.models import Checkpoint

CHILDREN = np.array([0, 3, 17, 200, 287], dtype=np.int32)
Asked = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def asked(tokens: np.ndarray, parents: np.ndarray) -> Asked:
    """What `score` takes: children of every other row."""
    count = np.arange(tokens.size) % 2 * CHILDREN.size
    ptr = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    return tokens, parents, ptr, np.tile(CHILDREN, int(ptr[-1]) // CHILDREN.size)


def stopped(session: Session, rows: Asked, looks: int) -> bool:
    """Whether a forward of `rows` ended at that look at the clock."""
    return session._score(*rows, _core.Stop(1e9, looks)) is None


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("score", ["raw", "renormalised"])
def test_stopped_anywhere_nothing_stays(llama: Checkpoint, isa: str, threads: int, score: str) -> None:
    """Other rows are stopped at every look at the clock there is; those fed afterwards score as ever."""
    engine = Engine(llama, weights="int4", isa=isa, threads=threads)
    first, second, third = (asked(*random_tree(seed, 21, llama.spec.vocab_size)) for seed in (1, 2, 3))
    prefix = np.arange(5, 25, dtype=np.int32)
    plain, session = (engine.session(prefix, score) for _ in range(2))
    expected = [plain.score(*first), plain.score(*second)]

    for looks in itertools.count():
        session.reset()
        np.testing.assert_array_equal(session.score(*first), expected[0])
        if not stopped(session, third, looks):
            break
        assert session.num_rows == first[0].size
        np.testing.assert_array_equal(session.score(*second), expected[1])
    assert looks >= 5 * llama.spec.num_layers, "every stage of every layer was tried"


def test_a_prompt_may_be_stopped_and_begun_again(llama: Checkpoint, isa: str) -> None:
    engine = Engine(llama, isa=isa, threads=2)
    chain = asked(np.arange(30, 60, dtype=np.int32), np.arange(-1, 29, dtype=np.int32))
    expected, session = engine.session().score(*chain), engine.session()
    for looks in range(6):
        assert stopped(session, chain, looks)
        assert session.num_rows == 0
    np.testing.assert_array_equal(session.score(*chain), expected)


def test_more_rows_than_one_pass_are_stopped_in_the_second(llama: Checkpoint) -> None:
    engine = Engine(llama, threads=2)
    rows = asked(*random_tree(4, 300, llama.spec.vocab_size))
    session = engine.session()
    looks = next(looks for looks in itertools.count() if not stopped(session, rows, looks))
    session.reset()
    assert looks > 2 * 5 * llama.spec.num_layers
    assert stopped(session, rows, 2 * looks // 3)  # the head has few of them, and not always as many
    np.testing.assert_array_equal(session.score(*rows), engine.session().score(*rows))


def test_by_the_clock(llama: Checkpoint) -> None:
    """No time is too little, a day is enough: no other time has a certain outcome."""
    engine = Engine(llama, threads=2)
    rows = asked(*random_tree(5, 30, llama.spec.vocab_size))
    session = engine.session()
    for ms in (0.0, -1.0, -1e9):
        assert session.score_within(*rows, ms) is None
    assert session.num_rows == 0
    np.testing.assert_array_equal(session.score_within(*rows, 86_400_000.0), engine.session().score(*rows))
