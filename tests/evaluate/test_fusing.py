"""Learning a fusion: the optimum against its definition, weights that made the data, what does not tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from adtrie.catalogue.fusion import FEATURES, Fusion
from adtrie.errors import InputError
from adtrie.evaluate.fusing import (
    PENALTY,
    FusedFloor,
    Scored,
    learn_fusion,
    logit,
    scored_candidates,
    without_model,
)
from adtrie.evaluate.questions import Question

Float64 = NDArray[np.float64]
ALONE = dict.fromkeys(FEATURES, 1.0)


def objective(weights: Float64, columns: list[Float64], right: list[NDArray[np.bool_]]) -> float:
    """The penalised log-likelihood as one would write it, with columns scaled to a deviation of 1."""
    scale = np.concatenate(columns).std(axis=0) + 1e-9
    total = -0.5 * PENALTY * float((weights * scale) @ (weights * scale))
    for table, good in zip(columns, right, strict=True):
        mass = np.exp(table @ weights)
        total += float(np.log(mass[good].sum() / mass.sum()))
    return total


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 4))
def test_no_step_from_the_optimum_gains(seed: int, num_queries: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    columns = [rng.normal(size=(rng.integers(2, 7), width)) for _ in range(num_queries)]
    right = [rng.random(len(table)) < 0.4 for table in columns]
    for good in right:
        good[0] = True
    found = logit(columns, right)
    best = objective(found, columns, right)
    for step in rng.normal(scale=0.02, size=(40, width)):
        assert objective(found + step, columns, right) <= best + 1e-6


def made(rng: np.random.Generator, num_queries: int, weights: Float64) -> list[Scored]:
    queries = []
    for _ in range(num_queries):
        table = rng.normal(size=(8, 2 + len(FEATURES)))
        chance = np.exp(table @ weights)
        right = np.arange(8) == rng.choice(8, p=chance / chance.sum())
        queries.append(Scored(table[:, 0], table[:, 1], table[:, 2:], right))
    return queries


def test_weights_that_made_the_data_are_found() -> None:
    true = np.array([0.5, -0.3, 2.0, 1.0, 0.0, -1.0, 0.25])
    found = learn_fusion(made(np.random.default_rng(0), 4000, true), ALONE, {"from": "noise"})
    assert list(found.nats.values()) == pytest.approx(list(true[2:] / true[0]), abs=0.3)
    assert found.alpha == pytest.approx(0.6, abs=0.1) and found.alone == ALONE
    assert found.learned_from == {"from": "noise", "rows": 4000, "usable": 4000}


def test_what_does_not_tell_is_refused() -> None:
    query = Scored(np.zeros(2), np.zeros(2), np.zeros((2, 5)), np.zeros(2, bool))
    with pytest.raises(InputError, match="none of the 1 dev rows"):
        learn_fusion([query], ALONE, {})
    against = made(np.random.default_rng(1), 50, np.array([-2.0, 0, 1, 0, 0, 0, 0]))
    with pytest.raises(InputError, match="score does not help"):
        learn_fusion(against, ALONE, {})


class FakeNeighbours:
    """Neighbours by hand: entry 1 for every query, features by entry number."""

    def of(self, query: str) -> NDArray[np.int64]:
        return np.array([1])

    def features(self, query: str) -> Float64:
        return np.arange(20.0).reshape(4, 5)


def test_candidates_are_what_is_found_and_what_is_near() -> None:
    asked = [Question("q", "b", frozenset({"b"})), Question("r", "z", frozenset())]
    seen: list[tuple[str, list[int]]] = []

    def score(query: str, entries: NDArray[np.int64]) -> dict[str, float]:
        seen.append((query, entries.tolist()))
        return {} if query == "r" else {"b": -1.0, "d": -2.0}

    near: Any = FakeNeighbours()
    (one,) = scored_candidates(
        asked, list("abcd"), near, lambda query: np.array([3, 1]), score, -np.arange(4.0)
    )
    assert seen == [("q", [1, 3]), ("r", [1, 3])]
    assert one.scores.tolist() == [-1.0, -2.0] and one.unconditional.tolist() == [-1, -3]
    assert one.right.tolist() == [True, False]
    assert one.features.tolist() == [[5, 6, 7, 8, 9], [15, 16, 17, 18, 19]]


def test_the_floor_ranks_by_resemblance_alone() -> None:
    near: Any = FakeNeighbours()
    near.fusion = Fusion(ALONE, 0.0, ALONE, {})
    assert FusedFloor(near, list("abcd")).rank(["x", "y"], 2) == [["d", "c"], ["d", "c"]]


def test_without_a_model_the_neighbours_are_ranked() -> None:
    near: Any = FakeNeighbours()
    near.of = lambda query: np.array([0, 3])
    asked = [Question(query, "d", frozenset({"d"})) for query in "qrs"]
    learned = without_model([*asked, Question("t", "b", frozenset({"b"}))], list("abcd"), near)
    assert min(learned.alone.values()) > 0 and learned.alpha == 0.0 and not any(learned.nats.values())
    with pytest.raises(InputError, match="none of the 1 dev rows"):
        without_model([Question("t", "b", frozenset({"b"}))], list("abcd"), near)
