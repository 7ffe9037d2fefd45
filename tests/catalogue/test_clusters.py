"""Balanced clusters: sizes within one in every group, equal for equal arguments, near rows together."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.catalogue import balanced_codes
from adtrie.errors import InputError


def sizes_per_group(codes, level):
    """Rows of each part, by group of equal codes above it."""
    groups: dict[tuple[int, ...], Counter[int]] = {}
    for code in codes.tolist():
        groups.setdefault(tuple(code[:level]), Counter())[code[level]] += 1
    return groups


@given(
    st.integers(1, 200),
    st.integers(1, 5),
    st.lists(st.integers(2, 9), min_size=1, max_size=4),
    st.integers(0, 2**32),
    st.sampled_from(["spread", "equal", "two points"]),
)
@settings(max_examples=60, deadline=None)
def test_parts_of_a_group_differ_by_at_most_one(num_rows, width, branching, seed, kind):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((num_rows, width))
    if kind == "equal":
        vectors[:] = vectors[0]
    elif kind == "two points":
        vectors = np.sign(vectors)
    codes = balanced_codes(vectors, branching, seed=1)
    assert codes.shape == (num_rows, len(branching)) and codes.dtype == np.int32
    for level, parts in enumerate(branching):
        for found in sizes_per_group(codes, level).values():
            size = found.total()
            assert sorted(found) == list(range(min(size, parts)))
            assert set(found.values()) <= {size // parts, -(-size // parts)}


def test_equal_arguments_give_equal_codes_and_leave_the_vectors_alone():
    vectors = np.random.default_rng(5).standard_normal((500, 8)).astype(np.float32)
    kept = vectors.copy()
    first, second = (balanced_codes(vectors, (4, 4), seed=9) for _ in range(2))
    assert np.array_equal(first, second) and np.array_equal(vectors, kept)


def test_separate_groups_are_found():
    rng = np.random.default_rng(2)
    group = np.arange(400) % 4
    centres = np.array([[0, 0], [30, 0], [0, 30], [30, 30]])
    codes = balanced_codes(centres[group] + rng.standard_normal((400, 2)), (4,))[:, 0]
    assert len({(int(a), int(b)) for a, b in zip(group, codes, strict=True)}) == 4


def test_near_rows_share_codes():
    """The spread within groups is far below that of a random partition with the same sizes."""
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((2000, 3))
    codes = balanced_codes(vectors, (16,))[:, 0]

    def spread(parts):
        return sum(vectors[parts == part].var(axis=0).sum() for part in range(16))

    assert spread(codes) < 0.5 * spread(rng.permutation(codes))


def test_magnitudes_do_not_matter():
    vectors = np.random.default_rng(1).standard_normal((64, 4))
    assert np.array_equal(balanced_codes(vectors, (8,)), balanced_codes(vectors * 2.0**300, (8,)))


@pytest.mark.parametrize(
    "vectors",
    [
        [1.0, 2.0],
        np.zeros((0, 4)),
        np.zeros((4, 0)),
        np.array([["a"]]),
        [[1.0, float("nan")]],
        [[1.0, float("inf")]],
        [[1.0], [1.0, 2.0]],
        np.zeros((2, 2), complex),
    ],
)
def test_refuses_vectors(vectors):
    with pytest.raises(InputError, match="vectors"):
        balanced_codes(vectors, (2,))


@pytest.mark.parametrize("branching", [(), (1,), (0,), (-2,), (2.0,), (True,), (70000,), (2,) * 33])
def test_refuses_branching(branching):
    with pytest.raises(InputError, match="branching"):
        balanced_codes([[1.0], [2.0]], branching)
