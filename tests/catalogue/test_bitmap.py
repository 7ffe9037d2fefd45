"""EntrySet against Python sets: ranks, selection, algebra, sizes around the word edges, bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.catalogue.bitmap import MAX_SIZE, EntrySet
from adtrie.errors import InputError

sizes = st.sampled_from([1, 2, 63, 64, 65, 127, 128, 129, 300])


@st.composite
def subsets(draw: st.DrawFn, size: int | None = None) -> tuple[EntrySet, set[int]]:
    """A set and its members: sparse, dense, empty and full."""
    size = draw(sizes) if size is None else size
    kind = draw(st.sampled_from(["few", "many", "none", "all", "mask"]))
    if kind in ("none", "all"):
        return (EntrySet.none(size), set()) if kind == "none" else (EntrySet.every(size), set(range(size)))
    if kind == "mask":
        bits = draw(st.integers(0, 2**size - 1))
        mask = np.array([bits >> e & 1 for e in range(size)], bool)
        return EntrySet.of_mask(mask), set(np.flatnonzero(mask).tolist())
    few = draw(st.lists(st.integers(0, size - 1), max_size=12))
    chosen = EntrySet.of_entries(np.array(few, np.int64), size)
    return (chosen, set(few)) if kind == "few" else (~chosen, set(range(size)) - set(few))


@settings(deadline=None)
@given(subsets())
def test_members_ranks_and_selection(pair: tuple[EntrySet, set[int]]) -> None:
    chosen, members = pair
    ordered = sorted(members)
    every = np.arange(chosen.size + 1)
    assert len(chosen) == len(members) and chosen.members().tolist() == ordered
    assert chosen.contains(every).tolist() == [e in members for e in every.tolist()]
    assert chosen.rank(every).tolist() == [sum(m < e for m in ordered) for e in every.tolist()]
    assert chosen.select(np.arange(len(members) + 2)).tolist() == [*ordered, chosen.size, chosen.size]
    assert chosen.ranks.tolist() == chosen.slow_ranks().tolist()
    wanted = [next((m for m in ordered if m >= e), chosen.size) for e in every.tolist()]
    assert chosen.next(every).tolist() == wanted


@settings(deadline=None)
@given(subsets(), st.data())
def test_counts_of_intervals(pair: tuple[EntrySet, set[int]], data: st.DataObject) -> None:
    chosen, members = pair
    ends = st.tuples(st.integers(0, chosen.size), st.integers(0, chosen.size)).map(sorted)
    intervals = np.array(data.draw(st.lists(ends, min_size=1, max_size=9)))
    counts = chosen.count(intervals[:, 0], intervals[:, 1])
    assert counts.tolist() == [sum(lo <= m < hi for m in members) for lo, hi in intervals.tolist()]
    some = intervals[intervals[:, 1] > intervals[:, 0]]
    has = chosen.has_any(some[:, 0], some[:, 1]).tolist() if len(some) else []
    assert has == [any(lo <= m < hi for m in members) for lo, hi in some.tolist()]


@settings(deadline=None)
@given(st.data(), sizes)
def test_algebra(data: st.DataObject, size: int) -> None:
    (a, in_a), (b, in_b) = data.draw(subsets(size)), data.draw(subsets(size))
    for found, wanted in (
        (a & b, in_a & in_b),
        (a | b, in_a | in_b),
        (a - b, in_a - in_b),
        (~a, set(range(size)) - in_a),
        (a.adding(list(in_b) + list(in_b)), in_a | in_b),
        (a.dropping(np.array([*in_b, *in_b], np.int64)), in_a - in_b),
    ):
        assert set(found.members().tolist()) == wanted and len(found) == len(wanted)
    assert np.array_equal((~(a & b)).words, (~a | ~b).words)
    assert np.flatnonzero(a.mask()).tolist() == sorted(in_a)
    for change in (a.adding, a.dropping):
        with pytest.raises(InputError, match="expected numbers from 0"):
            change([size])


@settings(deadline=None)
@given(subsets(), st.data())
def test_without_places(pair: tuple[EntrySet, set[int]], data: st.DataObject) -> None:
    chosen, _ = pair
    some = st.sets(st.integers(0, chosen.size - 1), max_size=chosen.size - 1)
    places = np.array(sorted(data.draw(some)), np.uint32)
    left = chosen.without_places(places)
    assert left.mask().tolist() == np.delete(
        chosen.mask(), places
    ).tolist() and left.size == chosen.size - len(places)
    assert np.array_equal(left.words, EntrySet.of_mask(left.mask()).words)


def test_a_hundred_thousand_entries() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random(100_000) < 0.3
    chosen = EntrySet.of_mask(mask)
    assert np.array_equal(chosen.members(), np.flatnonzero(mask))
    shuffled = EntrySet.of_entries(rng.permutation(np.flatnonzero(mask)), 100_000)
    assert np.array_equal(shuffled.words, chosen.words)
    assert np.array_equal(chosen.rank(np.arange(100_001)), np.concatenate(([0], np.cumsum(mask))))
    assert chosen.num_bytes < 100_000 * 0.19 + 64


@pytest.mark.parametrize("places", [[0], [1], [70, 4_000], [63, 64, 65, 200], list(range(0, 5_003, 97))])
def test_without_few_of_many_places(places: list[int]) -> None:
    mask = np.random.default_rng(5).random(5_003) < 0.5
    left = EntrySet.of_mask(mask).without_places(np.array(places, np.uint32))
    assert left.mask().tolist() == np.delete(mask, places).tolist()


def test_words_that_do_not_fit() -> None:
    assert EntrySet.of_words(np.array([5], np.uint64), 3).members().tolist() == [0, 2]
    for words in (np.zeros(2, np.uint64), np.zeros(1, np.int64), np.zeros((1, 1), np.uint64)):
        with pytest.raises(InputError, match="expected uint64"):
            EntrySet.of_words(words, 3)


def test_it_cannot_be_written() -> None:
    chosen = EntrySet.of_entries([3], 10)
    for array in (chosen.words, chosen.ranks):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_positions_outside_are_clipped() -> None:
    chosen = EntrySet.every(70)
    assert chosen.rank(np.array([-5, 70, 1 << 40])).tolist() == [0, 70, 70]
    assert chosen.select(np.array([-1, 70, 1 << 40])).tolist() == [70, 70, 70]
    assert chosen.contains(np.array([-1, 70, 1 << 40])).tolist() == [False] * 3


@pytest.mark.parametrize("size", [0, -1, MAX_SIZE + 1, True, 2.0, "3", None])
def test_sizes(size: Any) -> None:
    for make in (EntrySet.none, EntrySet.every, lambda n: EntrySet.of_entries([], n)):
        with pytest.raises(InputError, match="expected a size"):
            make(size)


@pytest.mark.parametrize("entries", [[-1], [10], [1.0], ["a"], [[1], [1, 2]], [[1, 2]], 3, [True], None])
def test_entry_numbers(entries: Any) -> None:
    with pytest.raises(InputError, match="entries: expected"):
        EntrySet.of_entries(entries, 10)


@pytest.mark.parametrize("mask", [[0, 1], [[True]], True, [], None])
def test_masks(mask: Any) -> None:
    with pytest.raises(InputError, match="expected"):
        EntrySet.of_mask(np.array(mask))


def test_sets_of_other_sizes() -> None:
    one, other = EntrySet.every(5), EntrySet.every(6)
    for combine in (lambda a, b: a & b, lambda a, b: a | b, lambda a, b: a - b):
        with pytest.raises(InputError, match="over 5 entries, got one over 6"):
            combine(one, other)
    with pytest.raises(InputError, match="got set"):
        _ = one & {1}  # type: ignore[operator]
