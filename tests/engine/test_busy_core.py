"""A forward whose other threads are late goes on in one thread after any layer, with the same bits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from test_session import random_tree
from test_stop import asked, stopped

from adtrie.engine import Engine
from adtrie.models import Checkpoint


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("rows", [1, 21, 300])
def test_one_thread_goes_on_after_any_layer(llama: Checkpoint, isa: str, threads: int, rows: int) -> None:
    tree = asked(*random_tree(rows, rows, llama.spec.vocab_size))
    engine = Engine(llama, weights="int4", isa=isa, threads=threads)
    session = engine.session()
    expected = session.score(*tree)
    for layer in [*range(llama.spec.num_layers), -1]:
        engine._model.leave_at(layer)
        session.reset()
        np.testing.assert_array_equal(session.score(*tree), expected)


def test_left_threads_begin_every_forward_but_a_few(llama: Checkpoint) -> None:
    """The seconds of stages say who worked: in the last layer nobody but the caller."""
    engine = Engine(llama, threads=2)
    tree, session = asked(*random_tree(3, 30, llama.spec.vocab_size)), engine.session()
    engine._model.leave_at(0)
    for _ in range(3):
        engine._model.profile(True)
        for _ in range(40):  # on a busy machine up to 16 in a row are the caller's alone
            session.reset()
            session.score(*tree)
        seconds = engine._model.stage_seconds
        assert seconds["embed"][1][0] > 0.0 == seconds["final"][1][0]


def test_stopped_while_alone(llama: Checkpoint) -> None:
    engine = Engine(llama, threads=2)
    tree, session = asked(*random_tree(7, 40, llama.spec.vocab_size)), engine.session()
    expected = session.score(*tree)
    engine._model.leave_at(0)
    for looks in itertools.count():
        session.reset()
        if not stopped(session, tree, looks):
            break
        assert session.num_rows == 0
        np.testing.assert_array_equal(session.score(*tree), expected)
    assert looks >= 5 * llama.spec.num_layers


def test_an_engine_ends_while_a_thread_that_it_left_may_still_leave(llama: Checkpoint) -> None:
    for number in range(30):
        engine = Engine(llama, threads=2)
        engine._model.leave_at(number % llama.spec.num_layers)
        engine.session().score(*asked(*random_tree(number, 9, llama.spec.vocab_size)))
        del engine
