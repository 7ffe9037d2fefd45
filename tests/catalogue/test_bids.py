"""Range maxima against plain maxima, versions that stay as they were, bids of rows as bonus of entries."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from adtrie.catalogue import Bids, Bonus, Compact, EntrySet, Prior, Sum
from adtrie.catalogue.range_max import BLOCK, MaxVersion, max_tree, range_max
from adtrie.errors import InputError

seeds = st.integers(0, 2**32)


def ranges(rng: np.random.Generator, size: int, count: int = 40) -> tuple[NDArray[Any], NDArray[Any]]:
    """Random ranges [lo, hi) of positions, single ones and the whole among them."""
    ends = np.sort(rng.integers(0, size + 1, (count, 2)), axis=1)
    lo, hi = ends[ends[:, 0] < ends[:, 1]].T
    single = rng.integers(0, size, 5)
    return np.concatenate((lo, single, [0])), np.concatenate((hi, single + 1, [size]))


def plain_max(values: NDArray[np.float64], lo: NDArray[Any], hi: NDArray[Any]) -> list[float]:
    return [float(values[a:b].max()) for a, b in zip(lo, hi, strict=True)]


@given(seeds, st.integers(1, 70))
def test_range_max(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=size)
    lo, hi = ranges(rng, size)
    assert range_max(max_tree(values), lo + size, hi + size).tolist() == plain_max(values, lo, hi)


@given(seeds, st.sampled_from([1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 7]), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_every_version_stays_readable(seed: int, size: int, num_changes: int) -> None:
    """Some versions are dropped on the way, so that their blocks are used again."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=size)
    kept = [(MaxVersion.of(values), values)]
    for _ in range(num_changes):
        before, values = kept[int(rng.integers(len(kept)))]  # also of an old one: a change begins anywhere
        at = rng.choice(size, min(size, int(rng.choice([1, 3, 40, 2_000]))), replace=False)
        values = values.copy()
        values[at] = rng.normal(size=at.size)
        kept.append((before.set(at, values[at]), values))
        del before
        if rng.random() < 0.4:
            del kept[int(rng.integers(len(kept)))]
            gc.collect()
        for version, expected in kept:
            lo, hi = ranges(rng, size, 12)
            assert version.best(lo, hi).tolist() == plain_max(expected, lo, hi)
            assert version.values(np.arange(size)).tolist() == expected.tolist()
            assert version.every().tolist() == expected.tolist()


def test_blocks_are_used_again() -> None:
    """A thousand changes beside one old reader take the room of a few, not of a thousand."""
    old = now = MaxVersion.full(4 * BLOCK, 0.0)
    for number in range(1_000):
        now = now.set(np.array([number % (4 * BLOCK)]), np.array([float(number)]))
    assert now._blocks.shape[0] < 100
    assert old.best(np.array([0]), np.array([4 * BLOCK])).tolist() == [0.0]
    assert now.best(np.array([0]), np.array([4 * BLOCK])).tolist() == [999.0]


@st.composite
def rows_of_entries(draw: st.DrawFn) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """Row pointers of some entries, and a bid of each row; equal bids are likely."""
    counts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=30))
    bids = draw(st.lists(st.sampled_from([0.5, 1.0, 2.0, 7.5]), min_size=sum(counts), max_size=sum(counts)))
    return np.cumsum([0, *counts]).astype(np.uint32), np.array(bids)


@given(rows_of_entries(), st.sampled_from([0.0, 0.3, 5.0]), seeds)
@settings(deadline=None)
def test_the_bonus_of_entries_and_ranges(
    catalogue: tuple[NDArray[np.uint32], NDArray[np.float64]], weight: float, seed: int
) -> None:
    ptr, bids = catalogue
    rng = np.random.default_rng(seed)
    bonus = Bids(bids, ptr).bonus(weight)
    lo, hi = ranges(rng, ptr.size - 1)
    assert bonus.num_entries == ptr.size - 1
    expected = weight * np.log(plain_max(bids, ptr[lo].astype(int), ptr[hi].astype(int)))
    found, alone = bonus.best(lo, hi), hi - lo == 1
    assert found[alone].tolist() == expected[alone].tolist()
    assert (found >= expected).all() and found == pytest.approx(expected, rel=1e-14, abs=1e-300)


@given(rows_of_entries(), seeds, st.booleans())
@settings(deadline=None)
def test_within_a_selection_only_its_rows_count(
    catalogue: tuple[NDArray[np.uint32], NDArray[np.float64]], seed: int, large: bool
) -> None:
    """Exact for single entries; for ranges no lower than their entries, and tight for few entries."""
    ptr, bids = catalogue
    ptr = ptr.astype(np.int64)
    rng = np.random.default_rng(seed)
    mask = rng.random(bids.size) < 0.5
    mask[rng.integers(bids.size)] = True
    counts = np.add.reduceat(mask, ptr[:-1])
    entries, rows = EntrySet.of_mask(counts > 0), EntrySet.of_mask(mask)
    values = rng.normal(size=ptr.size - 1)
    bonus: Bonus = Sum([Bids(bids, ptr.astype(np.uint32)).bonus(2.0, rows), Prior(values)])
    if not large:
        bonus = Compact(bonus, entries)
    masked = np.where(mask, np.log(bids), -np.inf)
    members = entries.members()
    own = np.array([2.0 * masked[ptr[e] : ptr[e + 1]].max() + values[e] for e in members])
    assert bonus.best(members, members + 1).tolist() == own.tolist()
    lo, hi = ranges(rng, ptr.size - 1)
    some = entries.count(lo, hi) > 0
    for a, b, bound in zip(lo[some], hi[some], bonus.best(lo[some], hi[some]), strict=True):
        inside = (members >= a) & (members < b)
        assert bound >= own[inside].max()
        if not large:
            assert bound == own[inside].max()


@given(rows_of_entries(), seeds)
@settings(deadline=None)
def test_the_best_row_of_each_entry(
    catalogue: tuple[NDArray[np.uint32], NDArray[np.float64]], seed: int
) -> None:
    ptr, bids = catalogue
    mask = np.random.default_rng(seed).random(bids.size) < 0.6
    entries = np.arange(ptr.size - 1)
    best = Bids(bids, ptr).highest(EntrySet.of_mask(mask)).best_rows(entries)[0]
    everyone = Bids(bids, ptr).highest().best_rows(entries)[0]
    for entry in range(ptr.size - 1):
        rows = list(range(ptr[entry], ptr[entry + 1]))
        assert everyone[entry] == max(rows, key=lambda row: bids[row])
        if allowed := [row for row in rows if mask[row]]:
            assert best[entry] == max(allowed, key=lambda row: bids[row])


def test_changes_are_for_later_requests() -> None:
    bids = Bids([1.0, 2.0, 4.0], np.array([0, 2, 3], np.uint32))
    before = bids.bonus(1.0)
    bids.set([1, 0, 1], [8.0, 3.0, 16.0])
    lo, hi = np.array([0, 1]), np.array([1, 2])
    assert before.best(lo, hi).tolist() == np.log([2.0, 4.0]).tolist()
    assert bids.bonus(1.0).best(lo, hi).tolist() == np.log([16.0, 4.0]).tolist()
    assert bids.of([0, 1, 2]) == pytest.approx([3.0, 16.0, 4.0])


HUGE = [1e308, 1.7976931348623157e308, 5e-324]


def test_huge_and_tiny_bids_are_bids() -> None:
    bonus = Bids(HUGE).bonus(1_000.0)
    found = bonus.best(np.arange(3), np.arange(1, 4))
    assert np.isfinite(found).all() and (np.abs(found) <= 1e6).all()


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf"), "1", None, True, 10**400])
def test_bad_bids(bad: Any) -> None:
    with pytest.raises(InputError, match="bids: expected"):
        Bids([1.0, bad] if bad is not True else [True, True])
    with pytest.raises(InputError, match="bids: expected"):
        Bids([1.0]).set([0], [bad])


@pytest.mark.parametrize("bad", [[1], [-1], [0.5], ["0"], [[0]], [True]])
def test_bad_rows(bad: Any) -> None:
    with pytest.raises(InputError, match="rows: expected"):
        Bids([1.0]).set(bad, [1.0])


def test_one_bid_per_row() -> None:
    with pytest.raises(InputError, match="one bid per row"):
        Bids([1.0, 2.0]).set([0, 1], [1.0])


@pytest.mark.parametrize("bad", [-1, -1e-9, float("nan"), float("inf"), 1_001, "1", None, True, [1.0]])
def test_bad_weights(bad: Any) -> None:
    with pytest.raises(InputError, match="bid weight: expected a number from 0 to 1000"):
        Bids([1.0]).bonus(bad)


def test_priors_of_different_catalogues_do_not_add_up() -> None:
    with pytest.raises(InputError, match="cannot be added"):
        Sum([Prior([1.0]), Prior([1.0, 2.0])])
