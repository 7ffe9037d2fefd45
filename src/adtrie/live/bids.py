"""Bids and groups of the entries of a version: those of the base's rows, and of the rows added to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue import EntrySet
from adtrie.catalogue.bids import HighestBids
from adtrie.catalogue.columns import Column
from adtrie.catalogue.groups import Int32, RowGroups, as_number, check_single
from adtrie.catalogue.range_max import Float64, max_tree, range_max
from adtrie.catalogue.sequences import Int64
from adtrie.live.state import Mask, State


@dataclass(frozen=True, eq=False)
class _Best:
    """The added row with the highest bid of each entry that has one, the first of several.

    entries int64[n]: ascending, numbered as `MergedTrie` does; rows int64[n]; bids: a tree of n maxima.
    """

    entries: Int64
    rows: Int64
    bids: Float64

    @classmethod
    def of(cls, state: State, chosen: Mask) -> _Best:
        """Of the added rows in `chosen`."""
        rows: Int64 = np.flatnonzero(chosen)
        owner, bids = state.owner[rows], state.added_bids[rows]
        number_of = np.zeros(len(state.entries), np.int64)
        number_of[state.entries.number] = state.entries.gaps.at + np.arange(len(state.entries))
        entries = owner + state.entries.gaps.at.searchsorted(owner, side="right")
        entries[owner < 0] = number_of[-1 - owner[owner < 0]]
        order = np.lexsort((rows, -bids, entries))
        entries = entries[order]
        first = np.flatnonzero(np.diff(entries, prepend=-1))
        return cls(entries[first], rows[order][first], max_tree(bids[order][first]))


class LiveBids:
    """The highest bids of the entries of a version, and the rows that have them: `Highest`."""

    def __init__(self, state: State, rows: EntrySet, added: Mask) -> None:
        """Only the rows of the base in `rows` and the added ones in `added` count."""
        self._added_at = state.entries.gaps.at + np.arange(len(state.entries))
        self._base = HighestBids(state.bids, state.base.parts.row_ptr, rows)
        self._best = _Best.of(state, added)
        self.num_entries = state.base.num_entries + len(state.entries)

    def best(self, lo: Int64, hi: Int64) -> Float64:
        """float64[n]: as `Highest`; -inf where no row counts."""
        found = np.full(lo.size, -np.inf)
        base_lo, base_hi = lo - self._added_at.searchsorted(lo), hi - self._added_at.searchsorted(hi)
        some = np.flatnonzero(base_hi > base_lo)
        found[some] = self._base.best(base_lo[some], base_hi[some])
        best = self._best
        first, last = best.entries.searchsorted(lo), best.entries.searchsorted(hi)
        some, size = np.flatnonzero(last > first), best.entries.size
        found[some] = np.maximum(found[some], range_max(best.bids, first[some] + size, last[some] + size))
        return found

    def best_rows(self, entries: Int64) -> Int64:
        """int64[n]: of each entry the row with the highest bid, the first of several; -1 where none counts.

        Row R + j is added row j.
        """
        before = self._added_at.searchsorted(entries)
        of_base = before == self._added_at.searchsorted(entries + 1)
        rows, bids = np.full(entries.size, -1), np.full(entries.size, -np.inf)
        rows[of_base], bids[of_base] = self._base.best_rows((entries - before)[of_base])
        rows[bids == -np.inf] = -1
        best, num_base = self._best, self._base.num_rows
        if best.entries.size:
            at = best.entries.searchsorted(entries)
            known = best.entries.take(at, mode="clip") == entries
            higher = known & (best.bids.take(at + best.entries.size, mode="clip") > bids)
            rows[higher] = num_base + best.rows[at[higher]]
        return rows


def groups_of_added(base: RowGroups | None, column: Column | None, num_rows: int) -> Int32:
    """int32[num_rows]: the group of each added row; a value that the base has not makes a new one.

    None for an attribute that no row there has. Raises InputError when a row has several values.
    """
    groups = np.full(num_rows, -1, np.int32)
    if column is None:
        return groups
    check_single(column)
    first_new = 0 if base is None else base.num_groups
    new: dict[str | float, int] = {}
    for rows, value in _values(column):
        number = -1 if base is None else base.of_value(value)
        if number < 0:
            number = new.setdefault(as_number(value), first_new + len(new))
        groups[rows] = number
    return groups


def _values(column: Column) -> list[tuple[NDArray[np.uint32], str | float]]:
    """The rows of each value."""
    ptr = column.text_ptr.tolist()
    texts = [(column.text_rows[ptr[i] : ptr[i + 1]], column.texts.text(i)) for i in range(len(column.texts))]
    numbers = zip(column.number_rows[:, None], column.numbers.tolist(), strict=True)
    return [*texts, *numbers]
