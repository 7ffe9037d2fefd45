"""Laws of sessions: any feeding order, thread count or company gives the same bits; limits are errors."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.engine import Engine, Session
from adtrie.engine.reference import ReferenceForward
from adtrie.engine.weights import WeightFormat, stored_form
from adtrie.errors import CapacityError, InputError
from adtrie.models import Checkpoint


def random_tree(seed: int, size: int, vocab: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and parents int32[size]; parents before children, several roots."""
    rng = np.random.default_rng(seed)
    parents = np.array([rng.integers(-1, i) if i else -1 for i in range(size)], dtype=np.int32)
    if size > 40:  # a long chain first, so that contiguous runs cross key blocks
        parents[:40] = np.arange(-1, 39)
    return rng.integers(0, vocab, size).astype(np.int32), parents


def score_in_pieces(session: Session, tokens: np.ndarray, parents: np.ndarray, cuts: list[int]) -> np.ndarray:
    children = np.array([0, 3, 17, 200, 287], dtype=np.int32)
    out, edges = [], [0, *cuts, len(tokens)]
    for a, b in itertools.pairwise(edges):
        if a == b:
            continue
        ptr = np.arange(b - a + 1, dtype=np.int64) * len(children)
        out.append(session.score(tokens[a:b], parents[a:b], ptr, np.tile(children, b - a)))
    return np.concatenate(out)


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("score", ["raw", "renormalised"])
def test_feeding_order_threads_and_company_change_no_bit(
    llama: Checkpoint, isa: str, weights: str, score: str
) -> None:
    engines = [Engine(llama, weights=weights, isa=isa, threads=n) for n in (1, 2, 5)]
    prefix = np.arange(5, 25, dtype=np.int32)

    @settings(max_examples=12, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.data())
    def check(seed: int, size: int, data: st.DataObject) -> None:
        tokens, parents = random_tree(seed, size, llama.spec.vocab_size)
        cuts = sorted(data.draw(st.lists(st.integers(0, size), max_size=4)))
        expected = score_in_pieces(engines[0].session(prefix, score), tokens, parents, [])
        for engine in engines:
            np.testing.assert_array_equal(
                score_in_pieces(engine.session(prefix, score), tokens, parents, cuts), expected
            )

    check()


def test_prefix_is_only_a_saving(llama: Checkpoint) -> None:
    """Prompt rows fed after a cached prefix or with it give the same bits."""
    engine = Engine(llama)
    tokens = np.arange(30, 60, dtype=np.int32)
    chain = np.arange(-1, 29, dtype=np.int32)
    whole = engine.session().logits(tokens, chain)
    for cut in (1, 7, 16, 29):
        session = engine.session(tokens[:cut])
        for _ in range(2):  # and again after a reset
            rest = session.logits(tokens[cut:], chain[: 30 - cut])
            np.testing.assert_array_equal(rest, whole[cut:])
            assert session.num_rows == 30 - cut
            session.reset()


def test_paths_in_a_hundred_runs(llama: Checkpoint, isa: str) -> None:
    """Eight chains below one prefix that grow by turns, so that every run is one row: as each chain alone."""
    engine, prefix = Engine(llama, isa=isa), np.arange(3, dtype=np.int32)
    chains, length = 8, 100
    tokens = np.random.default_rng(1).integers(0, 288, (length, chains)).astype(np.int32)
    together, places = engine.session(prefix), np.arange(chains, dtype=np.int32)
    levels = [together.forward(tokens[0], np.full(chains, -1, np.int32))]
    for level in range(1, length):
        levels.append(together.forward(tokens[level], places + chains * (level - 1)))
    for chain in range(0, chains, 3):
        alone = engine.session(prefix).forward(
            tokens[:, chain].copy(), np.arange(-1, length - 1, dtype=np.int32)
        )
        np.testing.assert_array_equal(np.stack(levels)[:, chain], alone)


def test_rows_of_a_beam_are_as_alone(llama: Checkpoint, isa: str) -> None:
    """Twenty rows a level, more than a group, each below any of the last level; few of them are asked for."""
    engine, prefix = Engine(llama, isa=isa, threads=2), np.arange(21, dtype=np.int32)
    rng, width, levels = np.random.default_rng(2), 20, 7
    session, children = engine.session(prefix), np.array([1, 50, 200], dtype=np.int32)
    paths: list[list[int]] = [[]] * width
    parents = np.full(width, -1, np.int32)
    for level in range(levels):
        chosen = rng.integers(0, width, width)
        if level:
            parents = (chosen + width * (level - 1)).astype(np.int32)
        tokens = rng.integers(0, 288, width).astype(np.int32)
        paths = [[*paths[chosen[row]], int(tokens[row])] for row in range(width)]
        asked = rng.random(width) < 0.3
        ptr = np.concatenate([[0], np.cumsum(np.where(asked, children.size, 0))]).astype(np.int64)
        scores = session.score(tokens, parents, ptr, np.tile(children, asked.sum()))
        for row in np.flatnonzero(asked):
            path = np.array(paths[row], dtype=np.int32)
            chain = np.arange(-1, path.size - 1, dtype=np.int32)
            ends = np.where(np.arange(path.size + 1) < path.size, 0, children.size).astype(np.int64)
            alone = engine.session(prefix).score(path, chain, ends, children)
            np.testing.assert_array_equal(scores[ptr[row] : ptr[row + 1]], alone)


def test_more_rows_than_one_pass(llama: Checkpoint) -> None:
    engine = Engine(llama, weights="float32", activations="float32")
    tokens = np.random.default_rng(0).integers(0, 288, 300).astype(np.int32)
    whole = engine.session().logits(tokens, np.arange(-1, 299, dtype=np.int32))
    session = engine.session()
    starts = (0, 100, 200)
    parts = [session.logits(tokens[i : i + 100], np.arange(i - 1, i + 99, dtype=np.int32)) for i in starts]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_logits_that_are_held_stay_as_they_were(llama: Checkpoint) -> None:
    """Their memory is used again only once nobody has it, and may outlive its session."""
    session = Engine(llama).session()
    tokens = np.arange(40, dtype=np.int32)
    held, copies = [], []
    for at in range(0, 40, 4):
        held.append(
            session.logits(tokens[at : at + 4], np.arange(at - 1, at + 3, dtype=np.int32), at // 4 % 4)
        )
        copies.append(held[-1].copy())
        if at % 3 == 0:  # given back in another order than taken
            held.pop(0), copies.pop(0)
    del session
    for kept, expected in zip(held, copies, strict=True):
        np.testing.assert_array_equal(kept, expected)
    whole = Engine(llama).session().logits(tokens, np.arange(-1, 39, dtype=np.int32))
    np.testing.assert_array_equal(held[-1], whole[37:])


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_quantized_weights_are_the_stored_form(llama: Checkpoint, isa: str, weights: WeightFormat) -> None:
    """Float activations: the reference over the dequantized weights, to rounding. 8-bit ones: near it."""

    def tensor(name: str) -> Any:
        if "norm" in name:
            return llama.vector(name)
        return stored_form(name, llama.matrix(name), weights)

    tokens = np.random.default_rng(1).integers(0, 288, 20).astype(np.int32)
    reference = ReferenceForward(llama.spec, tensor)
    expected = reference.logits(reference.forward(tokens, np.arange(-1, 19)))
    floats = Engine(llama, weights=weights, activations="float32", isa=isa).logits(tokens)
    np.testing.assert_allclose(floats, expected, atol=2e-5)
    ints = Engine(llama, weights=weights, activations="int8", isa=isa).logits(tokens)
    assert np.sqrt(np.mean((ints - expected) ** 2)) <= 0.03 * np.sqrt(np.mean(expected**2))


def test_limits_are_errors(llama: Checkpoint) -> None:
    engine = Engine(llama)
    session = engine.session(max_rows=16)
    tokens, chain = np.zeros(17, np.int32), np.arange(-1, 16, dtype=np.int32)
    with pytest.raises(CapacityError, match="does not fit"):
        session.forward(tokens, chain)
    for bad_token in (-1, 288, 2**31 - 1):
        with pytest.raises(InputError, match="vocabulary"):
            session.forward(np.array([bad_token], np.int32), np.array([-1], np.int32))
    for bad_parent in (0, 5, -2):
        with pytest.raises(InputError, match="parent"):
            session.forward(np.array([1], np.int32), np.array([bad_parent], np.int32))
    assert session.num_rows == 0  # nothing of a refused forward stays
    long = engine.session(max_rows=1000)
    with pytest.raises(CapacityError, match="context"):
        long.forward(np.zeros(513, np.int32), np.arange(-1, 512, dtype=np.int32))
    with pytest.raises(InputError, match="ascending"):
        session.score(tokens[:1], chain[:1], np.array([0, 2]), np.array([5, 4], np.int32))
    with pytest.raises(InputError, match="child_ptr"):
        session.score(tokens[:1], chain[:1], np.array([0, 3]), np.array([4, 5], np.int32))


@pytest.mark.parametrize(
    "options",
    [
        {"weights": "int3"},
        {"activations": "fp8"},
        {"threads": 0},
        {"threads": True},
        {"threads": 10**6},
        {"isa": "mmx"},
    ],
)
def test_unknown_options_are_refused(llama: Checkpoint, options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Engine(llama, **options)  # type: ignore[arg-type]
