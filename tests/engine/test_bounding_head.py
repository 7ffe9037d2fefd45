"""Laws of bounded sessions: no score is below the full one, settled scores are the full ones to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_session import random_tree, score_in_pieces

from adtrie.engine import Engine, Session
from adtrie.errors import InputError
from adtrie.models import Checkpoint, open_checkpoint
from golden import golden_folder

CHILDREN = np.array([0, 3, 17, 200, 287], dtype=np.int32)  # those of `score_in_pieces`
FREQUENT = np.array([1, 3, 16, 17, 18, 40, 41, 100, 250], dtype=np.int32)


def listed(rows: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(rows + 1, dtype=np.int64) * len(CHILDREN), np.tile(CHILDREN, rows)


def settled(session: Session, rows: np.ndarray) -> np.ndarray:
    return session.settle(rows.astype(np.int32), *listed(rows.size)).reshape(rows.size, -1)


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8", "int4"])
def test_bounds_hold_and_are_the_same_in_any_company(llama: Checkpoint, isa: str, weights: str) -> None:
    engines = [Engine(llama, weights=weights, isa=isa, threads=n) for n in (1, 2, 5)]  # type: ignore[arg-type]
    for engine in engines:
        engine.set_frequent(FREQUENT)
    prefix = np.arange(5, 25, dtype=np.int32)

    @settings(max_examples=10, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.data())
    def check(seed: int, size: int, data: st.DataObject) -> None:
        tokens, parents = random_tree(seed, size, llama.spec.vocab_size)
        cuts = sorted(data.draw(st.lists(st.integers(0, size), max_size=4)))
        rows = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=9)))
        full = score_in_pieces(engines[0].session(prefix), tokens, parents, []).reshape(size, -1)
        bounds = score_in_pieces(engines[0].session(prefix, bounded=True), tokens, parents, [])
        assert (bounds.reshape(size, -1) >= full).all()
        for engine in engines:
            session = engine.session(prefix, bounded=True)
            np.testing.assert_array_equal(score_in_pieces(session, tokens, parents, cuts), bounds)
            np.testing.assert_array_equal(settled(session, rows), full[rows])

    check()


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(0, 287), min_size=1), st.integers(0, 2**32 - 1))
def test_the_normaliser_is_that_of_frequent_tokens_and_children(
    llama_folder: Checkpoint, frequent: set[int], seed: int
) -> None:
    """The definition in NumPy; with all tokens it is the full one but for what rounding is given."""
    engine = Engine(llama_folder, weights="float32")
    engine.set_frequent(np.array(sorted(frequent), dtype=np.int32))
    tokens, parents = random_tree(seed, 6, 288)
    logits = engine.session().logits(tokens, parents).astype(np.float64)
    counted = sorted(frequent | set(CHILDREN.tolist()))
    expected = logits[:, CHILDREN] - np.logaddexp.reduce(logits[:, counted], axis=1, keepdims=True)
    found = score_in_pieces(engine.session(bounded=True), tokens, parents, []).reshape(6, -1)
    np.testing.assert_allclose(found, expected, atol=5e-4)
    assert (found >= expected).all()


@pytest.fixture(scope="module")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return open_checkpoint(golden_folder("llama", tmp_path_factory.mktemp("llama")))


def test_rows_are_settled_after_a_reset_as_before(llama: Checkpoint) -> None:
    engine = Engine(llama)
    engine.set_frequent(FREQUENT)
    session, plain = engine.session([5, 6], bounded=True), engine.session([5, 6])
    for seed in (1, 2):
        tokens, parents = random_tree(seed, 12, 288)
        session.reset(), plain.reset()
        score_in_pieces(session, tokens, parents, [5])
        full = score_in_pieces(plain, tokens, parents, []).reshape(12, -1)
        np.testing.assert_array_equal(settled(session, np.arange(12)), full)


def test_what_cannot_be_bounded_is_refused(llama: Checkpoint) -> None:
    engine = Engine(llama)
    with pytest.raises(InputError, match="set_frequent"):
        engine.session(bounded=True)
    for wrong in ([], [3, 3], [288], [-1]):
        with pytest.raises(InputError, match="frequent"):
            engine.set_frequent(np.array(wrong, np.int32))
    engine.set_frequent(FREQUENT)
    with pytest.raises(InputError, match="once"):
        engine.set_frequent(FREQUENT)
    with pytest.raises(InputError, match="raw"):
        engine.session(score="renormalised", bounded=True)
    session = engine.session(bounded=True)
    score_in_pieces(session, *random_tree(0, 4, 288), [])
    for row in (-1, 4):
        with pytest.raises(InputError, match="settled"):
            settled(session, np.array([row]))
    with pytest.raises(InputError, match="settled"):
        settled(engine.session(), np.array([0]))
