"""Arguments from outside: each bad value is one InputError; NaN from a model is one ModelError."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from search_fakes import PROMPT, HashScorer, make_trie

from adtrie.errors import InputError, ModelError
from adtrie.search import (
    MAX_FORWARD_ROWS,
    MAX_K,
    MAX_ROWS,
    MAX_WIDTH,
    RowCost,
    enumerate_all,
    exact,
    stepwise,
    verify,
)

TRIE = make_trie([[1, 2], [1, 3], [4]])
FLAT = RowCost.flat()
NO_COUNT = [0, -1, True, np.True_, 1.0, 1.5, float("nan"), "3", None, [1], 10**400, np.float32(2)]


@pytest.mark.parametrize("bad", NO_COUNT)
def test_counts(bad: Any) -> None:
    for call in (
        lambda: stepwise(HashScorer(), TRIE, PROMPT, bad, 2),
        lambda: stepwise(HashScorer(), TRIE, PROMPT, 1, bad),
        lambda: verify(HashScorer(), TRIE, PROMPT, bad, 2, FLAT),
        lambda: verify(HashScorer(), TRIE, PROMPT, 1, bad, FLAT),
        lambda: verify(HashScorer(), TRIE, PROMPT, 1, 2, FLAT, bad),
        lambda: exact(HashScorer(), TRIE, PROMPT, bad, FLAT),
        lambda: exact(HashScorer(), TRIE, PROMPT, 1, FLAT, bad),
        lambda: enumerate_all(HashScorer(), TRIE, PROMPT, bad),
    ):
        with pytest.raises(InputError, match="expected an integer from 1"):
            call()


def test_upper_limits() -> None:
    for call in (
        lambda: stepwise(HashScorer(), TRIE, PROMPT, MAX_K + 1, 2),
        lambda: stepwise(HashScorer(), TRIE, PROMPT, 1, MAX_WIDTH + 1),
        lambda: exact(HashScorer(), TRIE, PROMPT, 1, FLAT, MAX_ROWS + 1),
        lambda: verify(HashScorer(), TRIE, PROMPT, 1, 1, FLAT, MAX_FORWARD_ROWS + 1),
    ):
        with pytest.raises(InputError, match="got"):
            call()


def test_numpy_integers_and_the_limits_themselves_are_accepted() -> None:
    assert exact(HashScorer(), TRIE, PROMPT, np.int64(2), FLAT, np.int32(50)).entries.size == 2
    assert exact(HashScorer(), TRIE, PROMPT, MAX_K, FLAT, MAX_ROWS).entries.size == 3
    assert verify(HashScorer(), TRIE, PROMPT, MAX_K, MAX_WIDTH, FLAT, MAX_FORWARD_ROWS).entries.size == 3


@pytest.mark.parametrize(
    "bad", [[], [[1, 2]], [1.5], ["a"], [-1], [2**31], [[1], [1, 2]], None, 3, [True], "abc"]
)
def test_prompts(bad: Any) -> None:
    for call in (
        lambda: stepwise(HashScorer(), TRIE, bad, 1, 2),
        lambda: verify(HashScorer(), TRIE, bad, 1, 2, FLAT),
        lambda: exact(HashScorer(), TRIE, bad, 1, FLAT),
        lambda: enumerate_all(HashScorer(), TRIE, bad),
    ):
        with pytest.raises(InputError, match="prompt: expected"):
            call()


def test_a_list_is_a_prompt() -> None:
    assert exact(HashScorer(), TRIE, PROMPT.tolist(), 1, FLAT).entries.size == 1


@pytest.mark.parametrize("bad", [[3], [-1], [0.5], ["x"], [[0, 1]], [[0], [1, 2]], [True], 0, 2**70])
def test_seeds(bad: Any) -> None:
    with pytest.raises(InputError, match="seeds: expected"):
        exact(HashScorer(), TRIE, PROMPT, 1, FLAT, seeds=bad)


class _Fixed(HashScorer):
    """Every child scores `value`."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def log_probabilities(
        self, paths: NDArray[np.uint64], ptr: NDArray[np.int64], tokens: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        return np.full(tokens.size, self.value, np.float32)


def test_nan_scores_are_refused() -> None:
    for call in (
        lambda s: stepwise(s, TRIE, PROMPT, 1, 2),
        lambda s: verify(s, TRIE, PROMPT, 1, 2, FLAT),
        lambda s: exact(s, TRIE, PROMPT, 1, FLAT),
        lambda s: enumerate_all(s, TRIE, PROMPT),
    ):
        with pytest.raises(ModelError, match="NaN"):
            call(_Fixed(float("nan")))


@pytest.mark.parametrize("value", [-np.inf, 0.0, 1e-6])
def test_impossible_and_certain_children(value: float) -> None:
    """-inf everywhere is a tie like any other; rounding above 0 counts as 0."""
    for found in (
        stepwise(_Fixed(value), TRIE, PROMPT, 3, 3),
        verify(_Fixed(value), TRIE, PROMPT, 3, 3, FLAT),
        exact(_Fixed(value), TRIE, PROMPT, 3, RowCost.kneed(1)),
    ):
        assert found.entries.tolist() == [0, 1, 2] and found.gap == 0.0
        assert found.scores.tolist() == [min(value, 0.0)] * 3


def test_row_cost_interpolates_and_extends() -> None:
    cost = RowCost.measured([8, 1, 16], [4.0, 2.0, 12.0])
    assert [cost.ms(n) for n in (0, 1, 8, 12, 16, 20)] == [0.0, 2.0, 4.0, 8.0, 12.0, 16.0]
    assert RowCost.measured([4], [3.0]).ms(1000) == 3.0


@pytest.mark.parametrize(
    ("rows", "ms"),
    [
        ([], []),
        ([0], [1.0]),
        ([1, 1], [1.0, 2.0]),
        ([1], [0.0]),
        ([1], [float("nan")]),
        ([1], [float("inf")]),
        ([1, 2], [1.0]),
        ([[1]], [[1.0]]),
        (["a"], [1.0]),
        ([2**70], [1.0]),
    ],
)
def test_row_cost_refuses(rows: Any, ms: Any) -> None:
    with pytest.raises(InputError, match="row cost"):
        RowCost.measured(rows, ms)
