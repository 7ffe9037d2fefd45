"""Ranges of rows in the order of their values against Python sets, native and NumPy; bad arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.catalogue import native, row_order
from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.row_order import RowOrder


def marked(rows: list[int], num_rows: int, ranges: list[tuple[int, int]]) -> set[int]:
    """The rows that `mark` finds."""
    order = RowOrder(np.array(rows, np.uint32), num_rows)
    words = np.zeros(-(-num_rows // 64), np.uint64)
    first, last = np.array(ranges, np.int64).reshape(-1, 2).T
    order.mark(words, np.ascontiguousarray(first), np.ascontiguousarray(last))
    assert not words[-1] >> np.uint64((num_rows - 1) % 64) >> np.uint64(1)
    return set(EntrySet.of_words(words, num_rows).members().tolist())


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_equals_sets(data: st.DataObject) -> None:
    num_rows = data.draw(st.sampled_from([1, 63, 64, 65, 200, 1_000]))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    rows = random.permutation(num_rows)[: data.draw(st.integers(0, num_rows))].tolist()
    rows += data.draw(st.lists(st.integers(0, num_rows + 9), max_size=2))  # repeats and damage
    ends = st.tuples(st.integers(0, len(rows)), st.integers(0, len(rows)))
    ranges = data.draw(st.lists(ends, max_size=6))
    wanted = {row for first, last in ranges for row in rows[first:last] if row < num_rows}
    assert marked(rows, num_rows, ranges) == wanted
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "trie", None)
        assert marked(rows, num_rows, ranges) == wanted


@pytest.mark.parametrize("repeated", [False, True])
def test_blocks_of_several_places(repeated: bool) -> None:
    """More rows than blocks have numbers; ranges that begin and end inside of blocks."""
    random, num_rows = np.random.default_rng(2), 200_000
    rows = random.permutation(num_rows)[:170_001]
    if repeated:
        rows[7] = rows[8]
    order = RowOrder(rows.astype(np.uint32), num_rows)
    assert order.width == 667 and (order.blocks is None) == repeated
    for ranges in ([(4, 169_999)], [(0, 170_001)], [(1, 50_000), (60_001, 60_003), (120_000, 170_001)]):
        wanted = {row for first, last in ranges for row in rows[first:last].tolist()}
        assert marked(rows.tolist(), num_rows, ranges) == wanted


@pytest.mark.skipif(native.trie is None, reason="adtrie._trie was not built")
@given(st.integers(0, 2**32), st.integers(1, 300))
@settings(max_examples=80, deadline=None)
def test_native_equals_numpy(seed: int, num_rows: int) -> None:
    random = np.random.default_rng(seed)
    blocks = random.choice(np.array([0, 1, 2, 127, 128, 254, 255], np.uint8), num_rows)
    ends = np.sort(random.choice(np.concatenate([blocks, blocks + np.uint8(1)]), (3, 2)), axis=1)
    found, wanted = np.zeros((2, -(-num_rows // 64)), np.uint64)
    row_order._mark_between(found, blocks, *np.ascontiguousarray(ends.T))
    row_order.slow_mark_between(wanted, blocks, *ends.T)
    assert found.tolist() == wanted.tolist()
    for rows in (random.integers(0, num_rows + 5, 400), np.sort(random.integers(0, num_rows, 400))):
        first, last = random.integers(0, 401, (2, 5))
        row_order._mark_ranges(found, rows.astype(np.uint32), first, last, num_rows)
        row_order.slow_mark_ranges(wanted, rows.astype(np.uint32), first, last, num_rows)
        assert found.tolist() == wanted.tolist()


@pytest.mark.skipif(native.trie is None, reason="adtrie._trie was not built")
def test_arrays_that_do_not_fit_are_refused() -> None:
    words, rows, numbers = np.zeros(1, np.uint64), np.arange(5, dtype=np.uint32), np.zeros(5, np.uint8)
    one, two = np.array([0]), np.array([0, 1])
    for first, last, size in (
        (one, two, 5),
        (one - 1, one, 5),
        (one, one + 6, 5),
        (one, one, 65),
        (one, one, -1),
    ):
        with pytest.raises(ValueError, match=r"fit|length"):
            native.trie.mark_ranges(words, rows, first, last, size)
    for one_first, one_last, many in (
        (numbers[:1] + 1, numbers[:1], numbers),
        (numbers[:1], numbers, numbers),
    ):
        with pytest.raises(ValueError, match="first"):
            native.trie.mark_between(words, many, one_first, one_last)
    with pytest.raises(ValueError, match="words do not fit"):
        native.trie.mark_between(words, np.zeros(65, np.uint8), numbers[:1], numbers[:1])
