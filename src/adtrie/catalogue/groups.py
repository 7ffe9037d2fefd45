"""The one value of an attribute that each entry counts for. Knows no limit on how many may be returned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.bids import Bids
from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.columns import Column
from adtrie.errors import InputError

Int32 = NDArray[np.int32]


def entry_groups(column: Column, bids: Bids, rows: EntrySet | None) -> Int32:
    """int32[N]: the group of each entry's row (of `rows`, None: of all) with the highest bid, -1 for none.

    The first of several such rows. Raises InputError when a row has several values.
    """
    groups = row_groups(column, bids.num_rows)
    return np.asarray(groups[bids.best_row(rows)])


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
