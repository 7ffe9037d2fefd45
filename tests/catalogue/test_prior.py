"""Prior: range maxima against brute force, changes of one constant, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.catalogue import Prior
from adtrie.errors import InputError

values = st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, -0.0, 1.0, -1e6]), min_size=1, max_size=70)


def all_ranges(size: int) -> tuple[np.ndarray, np.ndarray]:
    lo, hi = np.triu_indices(size)
    return lo.astype(np.int64), hi.astype(np.int64) + 1


@given(values)
@settings(max_examples=100, deadline=None)
def test_best_is_the_maximum_of_every_range(numbers: list[float]) -> None:
    lo, hi = all_ranges(len(numbers))
    found = Prior(numbers).best(lo, hi)
    assert found.tolist() == [max(numbers[a:b]) for a, b in zip(lo, hi, strict=True)]
    assert not np.signbit(found[found == 0.0]).any()


def test_ranges_of_a_large_prior() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=100_003)
    lo, hi = np.sort(rng.integers(0, numbers.size, (2, 300)), axis=0)
    lo, hi = np.append(lo, 0), np.append(hi + 1, numbers.size)
    prior = Prior(numbers)
    assert prior.best(lo, hi).tolist() == [numbers[a:b].max() for a, b in zip(lo, hi, strict=True)]
    assert prior.num_bytes == 2 * numbers.nbytes


@given(values, st.lists(st.tuples(st.integers(0, 69), st.floats(-1e6, 1e6)), max_size=10))
@settings(max_examples=50, deadline=None)
def test_set_equals_building_anew(numbers: list[float], changes: list[tuple[int, float]]) -> None:
    prior, numbers = Prior(numbers), list(numbers)
    for place, value in changes:
        entry = place % len(numbers)
        numbers[entry] = value
        prior.set(entry, value)
    ranges = all_ranges(len(numbers))
    assert np.array_equal(prior.values, numbers)
    assert np.array_equal(prior.best(*ranges), Prior(numbers).best(*ranges))


def test_values_are_read_only_and_a_copy() -> None:
    numbers = np.array([1.0, 2.0])
    prior = Prior(numbers)
    numbers[0] = 9.0
    assert prior.values.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="read-only"):
        prior.values[0] = 3.0


def test_ranges_outside_the_catalogue_do_not_crash() -> None:
    """As a damaged snapshot may ask for them."""
    lo, hi = np.array([0, 5, 2**40, 3]), np.array([2**40, 2, 2**41, 3])
    assert Prior([1.0, 2.0]).best(lo, hi).shape == (4,)


def test_from_unconditional_favours_what_is_rare() -> None:
    prior = Prior.from_unconditional(np.array([-4.0, -30.0], np.float32), 0.5)
    assert prior.values.tolist() == [2.0, 15.0]
    assert Prior.from_unconditional([-4, -30], 0).values.tolist() == [0.0, 0.0]


BAD_VALUES: list[Any] = [
    [],
    [[1.0, 2.0]],
    [[1.0], [1.0, 2.0]],
    ["a"],
    [None],
    None,
    3.0,
    "abc",
    [True],
    [1j],
    [float("nan")],
    [0.0, float("inf")],
    [0.0, -float("inf")],
    [1.1e6],
    [-(2**63)],
    [2**64 - 1],
    [10**400],
    np.array(["NaT"], "datetime64[s]"),
]


@pytest.mark.parametrize("bad", BAD_VALUES, ids=repr)
def test_values_that_are_refused(bad: Any) -> None:
    with pytest.raises(InputError, match="prior: expected"):
        Prior(bad)


@pytest.mark.parametrize("bad", [True, "1", None, float("nan"), float("inf"), 1e7, 10**400, [1.0]], ids=type)
def test_alphas_that_are_refused(bad: Any) -> None:
    with pytest.raises(InputError, match="alpha: expected"):
        Prior.from_unconditional([-1.0], bad)


def test_an_impossible_entry_has_no_prior() -> None:
    with pytest.raises(InputError, match="log_probabilities: expected"):
        Prior.from_unconditional([-1.0, -np.inf], 0.5)
    with pytest.raises(InputError, match="prior: expected"):
        Prior.from_unconditional([-1e8], 1.0)


@pytest.mark.parametrize("entry", [-1, 2, 10**400, 0.0, "0", None])
def test_set_outside_the_catalogue(entry: Any) -> None:
    with pytest.raises(InputError, match="entry: expected"):
        Prior([1.0, 2.0]).set(entry, 0.0)


def test_set_refuses_what_the_constructor_refuses() -> None:
    prior = Prior([1.0, 2.0])
    for bad in (float("nan"), 2e6, "x", None, [1.0]):
        with pytest.raises(InputError, match="prior: expected"):
            prior.set(0, bad)  # type: ignore[arg-type]
    assert prior.values.tolist() == [1.0, 2.0] and prior.best(np.array([0]), np.array([2])) == [2.0]
