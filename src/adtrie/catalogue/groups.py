"""The one value of an attribute that each entry counts for. Knows no limit on how many may be returned."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.bids import Bids
from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.columns import Column
from adtrie.catalogue.sequences import Int64
from adtrie.errors import InputError

Int32 = NDArray[np.int32]


class Groups:
    """The groups of all entries by attribute. The last answer is kept: requests in a row ask the same."""

    def __init__(self, column: Callable[[str], Column], bids: Bids) -> None:
        self._column, self._bids = column, bids
        self._rows: dict[str, Int32] = {}
        self._last: tuple[str, EntrySet | None, Int64, Int32] | None = None

    def of(self, attribute: str, rows: EntrySet | None) -> Int32:
        """int32[N]: the group of each entry's row (of `rows`, None: of all) with the highest bid.

        The first of several such rows; -1 for one without a value. Raises InputError for an unknown attribute,
        and when a row has several values.
        """
        if attribute not in self._rows:
            self._rows[attribute] = row_groups(self._column(attribute), self._bids.num_rows)
        groups, last = self._rows[attribute], self._last
        if self._bids.one_row_each:
            return groups
        best = self._bids.best_row(rows)
        if last is not None and last[:2] == (attribute, rows) and last[2] is best:
            return last[3]
        found = np.asarray(groups[best])
        self._last = attribute, rows, best, found
        return found


def row_groups(column: Column, num_rows: int) -> Int32:
    """int32[num_rows]: rows with equal values have the same number, from 0; -1 for a row without a value.

    A text that is written as a number is that number, as in filters. A value that is neither text nor number
    is none. Raises InputError when a row has several values: entries could not be counted for one.
    """
    seen = np.sort(np.concatenate((column.text_rows, column.number_rows)))
    twice = np.flatnonzero(seen[1:] == seen[:-1])
    if twice.size:
        raise InputError(
            f"at most: row {seen[twice[0]]} has several values of the attribute, expected one per row; "
            "choose an attribute with single values"
        )
    groups = np.full(num_rows, -1, np.int32)
    numbers, of_number = np.unique(column.numbers, return_inverse=True)
    as_number = column.text_numbers
    of_text = len(numbers) + np.arange(len(column.texts))
    written = np.flatnonzero(~np.isnan(as_number))
    values, first, which = np.unique(as_number[written], return_index=True, return_inverse=True)
    at = numbers.searchsorted(values)
    known = np.append(numbers, np.nan)[at] == values
    of_text[written] = np.where(known, at, of_text[written[first]])[which]  # "1" and "1.0" are one number
    groups[column.number_rows] = of_number
    groups[column.text_rows] = of_text[column.codes]
    return groups
