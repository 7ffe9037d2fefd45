"""Bids of rows as a bonus of entries: weight x log(bid). They change while requests run; knows no score."""

from __future__ import annotations

from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adtrie.catalogue.bitmap import EntrySet, check_entries
from adtrie.catalogue.prior import Bonus, checked_numbers
from adtrie.catalogue.range_max import Float64, MaxVersion
from adtrie.catalogue.sequences import Int64, range_indices
from adtrie.errors import InputError, shown

MAX_WEIGHT = 1_000.0  # times log(bid), which is between -745 and 710, this stays below the limit of a prior


class Highest(Protocol):
    """The highest bids of N entries at one moment."""

    @property
    def num_entries(self) -> int:
        """N."""

    def best(self, lo: Int64, hi: Int64) -> Float64:
        """float64[n]: no entry of [lo, hi) bids more; of one entry the highest of its rows that count."""


class HighestBids:
    """Of the rows of each entry, as `Bids` has them; only those in `rows` (None: all) count."""

    def __init__(self, bids: MaxVersion, row_ptr: NDArray[Any] | None, rows: EntrySet | None) -> None:
        self._bids, self._row_ptr, self._rows = bids, row_ptr, rows
        self.num_entries = bids.size if row_ptr is None else row_ptr.size - 1

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self._bids.size

    def best(self, lo: Int64, hi: Int64) -> Float64:
        """As `Highest`; -inf for a single entry of which no row counts."""
        alone = np.flatnonzero(hi - lo == 1)
        if self._row_ptr is None:
            found = self._bids.best(lo, hi)
            if self._rows is not None:
                found[alone[~self._rows.contains(lo[alone])]] = -np.inf
            return found
        found = self._bids.best(*self._bounds(lo, hi))
        if self._rows is not None:
            found[alone] = self.best_rows(lo[alone])[1]
        return found

    def best_rows(self, entries: Int64) -> tuple[Int64, Float64]:
        """Of each entry the row with the highest bid, the first of several, and the bid.

        An entry of which no row counts has its first row and -inf.
        """
        first, last = entries, entries + 1
        if self._row_ptr is not None:
            first, last = self._bounds(entries, last)
        count = last - first
        rows = range_indices(first, count)
        bids = self._bids.values(rows)
        if self._rows is not None:
            bids[~self._rows.contains(rows)] = -np.inf
        if self._row_ptr is None or not entries.size:
            return first, bids
        starts = np.cumsum(count) - count
        highest = np.maximum.reduceat(bids, starts)
        places = np.flatnonzero(bids >= highest.repeat(count))
        return rows[places[places.searchsorted(starts)]], highest

    def _bounds(self, lo: Int64, hi: Int64) -> tuple[Int64, Int64]:
        """The rows of ranges of entries; damaged pointers stay within the rows."""
        assert self._row_ptr is not None
        first = np.minimum(self._row_ptr.take(lo, mode="clip").astype(np.int64), self._bids.size - 1)
        last = self._row_ptr.take(hi, mode="clip").astype(np.int64)
        return first, np.clip(last, first + 1, self._bids.size)


class Bids:
    """A positive bid of each row; rows of entry e are row_ptr[e]:row_ptr[e+1], one each without row_ptr.

    A request takes the bids of its moment; `set` changes them for later ones, in some 0.1 ms.
    """

    def __init__(self, bids: ArrayLike | MaxVersion, row_ptr: NDArray[np.uint32] | None = None) -> None:
        """InputError for a bid that is not a finite number above 0, naming the row."""
        self._row_ptr = row_ptr
        self._now = bids if isinstance(bids, MaxVersion) else MaxVersion.of(check_bids(bids))
        self._lock = Lock()

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self._now.size

    def of(self, rows: ArrayLike) -> Float64:
        """The bids of rows, float64[n]."""
        return self._now.values(self._check_rows(rows))

    def set(self, rows: ArrayLike, bids: ArrayLike) -> None:
        """Changes the bids of some rows, all at once: a request sees all of them or none.

        The last one counts where a row is given twice. InputError for a row or a bid that is none.
        """
        at, values = self._check_rows(rows), check_bids(bids)
        if at.shape != values.shape:
            raise InputError(f"bids: expected one bid per row, got {values.size} for {at.size} rows")
        last = np.unique(at[::-1], return_index=True)[1]
        with self._lock:
            self._now = self._now.set(at[::-1][last], values[::-1][last])

    def highest(self, rows: EntrySet | None = None) -> HighestBids:
        """The highest bid of each entry as they are now, of its rows in `rows` (None: of all)."""
        return HighestBids(self._now, self._row_ptr, rows)

    def bonus(self, weight: float, rows: EntrySet | None = None) -> Bonus:
        """weight x log(highest bid of the entry's rows in `rows`), with the bids as they are now.

        InputError unless the weight is a number from 0 to 1,000: a negative one would prefer low bids.
        """
        return BidBonus(self.highest(rows), weight)

    def _check_rows(self, rows: ArrayLike) -> Int64:
        return check_entries(rows, self.num_rows, "rows")


class BidBonus(Bonus):
    """weight x log of the highest bids; 0 for an entry of which no row counts, which no request returns."""

    def __init__(self, highest: Highest, weight: Any) -> None:
        """InputError unless the weight is a number from 0 to 1,000."""
        self.num_entries = highest.num_entries
        self._highest, self._weight = highest, check_weight(weight)

    def best(self, lo: Int64, hi: Int64) -> Float64:
        """float64[n]: of each range of entries; of one entry the highest bid among its eligible rows."""
        bids = self._highest.best(lo, hi)
        found = np.log(np.where(bids > 0, bids, 1.0))
        # A logarithm is rounded: that of a higher bid may be the smaller one of two neighbouring numbers.
        return self._weight * np.where(hi - lo == 1, found, np.nextafter(found, np.inf))


def check_weight(weight: Any) -> float:
    """`weight` as a float; InputError unless it is a number from 0 to 1,000."""
    if isinstance(weight, bool) or not isinstance(weight, int | float | np.integer | np.floating):
        raise InputError(f"bid weight: expected a number from 0 to {MAX_WEIGHT:g}, got {shown(weight)}")
    if not 0 <= weight <= MAX_WEIGHT:
        raise InputError(f"bid weight: expected a number from 0 to {MAX_WEIGHT:g}, got {shown(weight)}")
    return float(weight)


def check_bids(bids: ArrayLike) -> Float64:
    """Bids as float64[n]; InputError for one that is not a finite number above 0."""
    numbers = checked_numbers("bids", bids, np.finfo(np.float64).max)
    bad = np.flatnonzero(numbers <= 0)
    if bad.size:
        raise InputError(
            f"bids: expected numbers above 0, got {numbers[bad[0]]} (number {bad[0] + 1} of {numbers.size}); "
            "leave out what must not be returned by a filter"
        )
    return numbers
