"""Bids of rows as a bonus of entries: weight x log(bid). They change while requests run; knows no score."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adtrie.catalogue.bitmap import EntrySet, check_entries
from adtrie.catalogue.prior import MAX_COMPACT, Bonus, checked_numbers
from adtrie.catalogue.range_max import Float64, MaxTable, MaxVersion, max_tree, range_max
from adtrie.catalogue.sequences import Int64, range_indices
from adtrie.errors import InputError

MAX_WEIGHT = 1_000.0  # times log(bid), which is between -745 and 710, this stays below the limit of a prior


class Bids:
    """A positive bid of each row; rows of entry e are row_ptr[e]:row_ptr[e+1], one each without row_ptr.

    `bonus` gives a request the bids of that moment; `set` changes them for later ones, in some 0.1 ms.
    """

    def __init__(self, bids: ArrayLike, row_ptr: NDArray[np.uint32] | None = None) -> None:
        """InputError for a bid that is not a finite number above 0, naming the row."""
        self._row_ptr = None if row_ptr is None else row_ptr.astype(np.int64)
        self._table = MaxTable(np.log(_check_bids(bids)))
        self._best_rows: tuple[MaxVersion, EntrySet | None, Int64] | None = None

    @property
    def one_row_each(self) -> bool:
        """Whether every entry has one row."""
        return self._row_ptr is None

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self._table.now.size

    def of(self, rows: ArrayLike) -> Float64:
        """The bids of rows, float64[n], within rounding."""
        return np.asarray(np.exp(self._table.now.values(self._check_rows(rows))))

    def set(self, rows: ArrayLike, bids: ArrayLike) -> None:
        """Changes the bids of some rows, all at once: a request sees all of them or none.

        The last one counts where a row is given twice. InputError for a row or a bid that is none.
        """
        at, values = self._check_rows(rows), np.log(_check_bids(bids))
        if at.shape != values.shape:
            raise InputError(f"bids: expected one bid per row, got {values.size} for {at.size} rows")
        last = np.unique(at[::-1], return_index=True)[1]
        self._table.set(at[::-1][last], values[::-1][last])

    def bonus(self, weight: float) -> Bonus:
        """weight x log(highest bid of the entry's rows), with the bids as they are now.

        InputError unless the weight is a number from 0 to 1,000: a negative one would prefer low bids.
        """
        return _BidBonus(self._table.now, check_weight(weight), self._row_ptr)

    def best_row(self, rows: EntrySet | None) -> Int64:
        """int64[N]: the row of each entry with the highest bid now, of those in `rows` where it has any.

        The same array as the last time while neither bids nor `rows` changed.
        """
        version, last = self._table.now, self._best_rows
        if last is None or last[0] is not version or last[1] is not rows:
            last = self._best_rows = version, rows, self._find_best(version, rows)
        return last[2]

    def _find_best(self, version: MaxVersion, rows: EntrySet | None) -> Int64:
        every = np.arange(version.size)
        if self._row_ptr is None:
            return every
        bids = version.values(every)
        if rows is not None:
            bids[~rows.contains(every)] = -np.inf
        first = np.minimum(self._row_ptr[:-1], every.size - 1)
        size = np.maximum(np.diff(np.append(first, every.size)), 1)
        highest = np.maximum.reduceat(bids, first).repeat(size)[: every.size]
        best = np.flatnonzero(bids >= highest)
        found: Int64 = best[np.minimum(best.searchsorted(first), best.size - 1)]
        return found

    def _check_rows(self, rows: ArrayLike) -> Int64:
        return check_entries(rows, self.num_rows, "rows")


class _BidBonus(Bonus):
    """Of one version of the bids, for the rows that `rows` holds (None: all)."""

    def __init__(
        self, bids: MaxVersion, weight: float, row_ptr: Int64 | None, rows: EntrySet | None = None
    ) -> None:
        self.num_entries = bids.size if row_ptr is None else row_ptr.size - 1
        self._bids, self._weight, self._row_ptr, self._rows = bids, weight, row_ptr, rows
        self._compact: Float64 | None = None
        if rows is not None and len(rows) <= MAX_COMPACT:
            self._compact = max_tree(bids.values(rows.members()))

    def best(self, lo: Int64, hi: Int64) -> Float64:
        """float64[n]: of each range of entries; of one entry the highest bid among its eligible rows."""
        alone = hi - lo == 1
        if self._row_ptr is not None:  # damaged pointers stay within the rows
            lo = np.minimum(self._row_ptr.take(lo, mode="clip"), self._bids.size - 1)
            hi = np.clip(self._row_ptr.take(hi, mode="clip"), lo + 1, self._bids.size)
        if self._compact is None:
            found = self._bids.best(lo, hi)
            if self._rows is not None and self._row_ptr is not None:
                found[alone] = self._among_rows(lo[alone], hi[alone])
        else:
            assert self._rows is not None
            size = len(self._rows)
            first = np.minimum(self._rows.rank(lo), size - 1)
            last = np.maximum(self._rows.rank(hi), first + 1)
            found = range_max(self._compact, first + size, last + size)
        return self._weight * found

    def _among_rows(self, lo: Int64, hi: Int64) -> Float64:
        """float64[n]: the highest of each range of rows, of those in the set only."""
        assert self._rows is not None
        if lo.size == 0:
            return np.zeros(0)
        rows = range_indices(lo, hi - lo)
        values = np.where(self._rows.contains(rows), self._bids.values(rows), -np.inf)
        highest: Float64 = np.maximum.reduceat(values, np.cumsum(hi - lo) - (hi - lo))
        return np.where(highest == -np.inf, self._bids.best(lo, hi), highest)

    def within(self, entries: EntrySet, rows: EntrySet) -> Bonus:
        """The same with the bids of the eligible rows only."""
        return _BidBonus(self._bids, self._weight, self._row_ptr, rows)


def check_weight(weight: Any) -> float:
    """`weight` as a float; InputError unless it is a number from 0 to 1,000."""
    if isinstance(weight, bool) or not isinstance(weight, int | float | np.integer | np.floating):
        raise InputError(f"bid weight: expected a number from 0 to {MAX_WEIGHT:g}, got {weight!r:.60}")
    if not 0 <= weight <= MAX_WEIGHT:
        raise InputError(f"bid weight: expected a number from 0 to {MAX_WEIGHT:g}, got {weight!r:.60}")
    return float(weight)


def _check_bids(bids: ArrayLike) -> Float64:
    numbers = checked_numbers("bids", bids, np.finfo(np.float64).max)
    bad = np.flatnonzero(numbers <= 0)
    if bad.size:
        raise InputError(
            f"bids: expected numbers above 0, got {numbers[bad[0]]} (number {bad[0] + 1} of {numbers.size}); "
            "leave out what must not be returned by a filter"
        )
    return numbers
