"""Metrics against direct definitions, their laws and their errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adtrie.errors import InputError
from adtrie.evaluate.metrics import mrr, paired_bootstrap, percentiles, ranks, recall_at_k

RANKS = st.lists(st.integers(0, 30), min_size=1, max_size=50)
VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


def test_ranks_count_from_one_and_zero_means_absent() -> None:
    assert ranks([["a", "b"], ["a", "b"], ["b"], []], ["a", "b", "a", "a"]).tolist() == [1, 2, 0, 0]


def test_ranks_of_a_repeated_label_is_its_first_place() -> None:
    assert ranks([["b", "a", "a"]], ["a"]).tolist() == [2]


@given(RANKS, st.integers(1, 40))
def test_recall_is_the_share_found_in_the_first_k(label_ranks: list[int], k: int) -> None:
    assert recall_at_k(label_ranks, k) == pytest.approx(
        sum(1 <= r <= k for r in label_ranks) / len(label_ranks)
    )


@given(RANKS)
def test_mrr_lies_between_recall_at_1_and_recall_at_all(label_ranks: list[int]) -> None:
    expected = sum(1 / r for r in label_ranks if r) / len(label_ranks)
    assert mrr(label_ranks) == pytest.approx(expected)
    assert recall_at_k(label_ranks, 1) <= mrr(label_ranks) + 1e-12
    assert mrr(label_ranks) <= recall_at_k(label_ranks, 30) + 1e-12


@given(VALUES, st.floats(0, 100))
def test_percentile_is_the_nearest_rank(values: list[float], percent: float) -> None:
    (found,) = percentiles(values, [percent])
    ordered = sorted(values)
    assert found in ordered
    at_most = sum(value <= found for value in ordered) / len(ordered)
    below = sum(value < found for value in ordered) / len(ordered)
    assert below - 1e-9 <= percent / 100 <= at_most + 1e-9


def test_percentiles_default_to_the_median_and_p99() -> None:
    assert percentiles(list(range(1, 101))) == (50.0, 99.0)


@given(VALUES, st.integers(0, 2**32 - 1))
def test_bootstrap_depends_on_its_seed_only(values: list[float], seed: int) -> None:
    first = paired_bootstrap(values, values[::-1], seed=seed, resamples=50)
    assert first == paired_bootstrap(values, values[::-1], seed=seed, resamples=50)
    assert first.low <= first.high


@given(VALUES, st.integers(-1000, 1000))
def test_bootstrap_of_a_constant_shift_has_no_width(values: list[float], shift: int) -> None:
    ours = np.round(np.array(values)) + shift  # integers: the differences are exact
    interval = paired_bootstrap(ours, np.round(values), seed=0, resamples=50)
    assert (interval.mean, interval.low, interval.high) == (shift, shift, shift)


def test_bootstrap_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for trial in range(200):
        ours, theirs = rng.normal(1.0, 1.0, 60), rng.normal(0.7, 1.0, 60)
        interval = paired_bootstrap(ours, theirs, seed=trial, resamples=300, level=0.9)
        covered += interval.low <= 0.3 <= interval.high
    assert 160 <= covered <= 198


def test_bootstrap_chunks_do_not_change_its_size() -> None:
    interval = paired_bootstrap([1.0, 2.0], [0.0, 0.0], seed=1, resamples=1000)
    assert (interval.low, interval.high) == (1.0, 2.0)
    assert math.isclose(interval.mean, 1.5)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ranks([["a"]], ["a", "b"]),
        lambda: recall_at_k([1], 0),
        lambda: recall_at_k([], 1),
        lambda: recall_at_k([-1], 1),
        lambda: recall_at_k([0.5], 1),
        lambda: mrr([[1]]),
        lambda: percentiles([]),
        lambda: percentiles([math.nan]),
        lambda: percentiles([1.0], [101.0]),
        lambda: percentiles([1.0], [math.nan]),
        lambda: paired_bootstrap([], [], seed=0),
        lambda: paired_bootstrap([1.0], [1.0, 2.0], seed=0),
        lambda: paired_bootstrap([1.0], [1.0], seed=0, resamples=0),
        lambda: paired_bootstrap([1.0], [1.0], seed=0, level=1.0),
    ],
)
def test_bad_arguments_are_input_errors(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError):
        call()
