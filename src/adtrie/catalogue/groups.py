"""The one value of an attribute that each entry counts for. Knows no limit on how many may be returned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.columns import NUMBER, Column
from adtrie.catalogue.sequences import Int64
from adtrie.errors import InputError

Int32 = NDArray[np.int32]


class Groups(Protocol):
    """groups[entries], an int32 for each of some entries: equal values, equal numbers; -1 for no value."""

    @property
    def size(self) -> int:
        """Number of all entries."""

    def __getitem__(self, entries: Int64, /) -> Int32: ...


class EntryGroups:
    """Groups that are looked up when they are asked for: a request sees few entries."""

    def __init__(self, size: int, of: Callable[[Int64], Int32]) -> None:
        self.size, self._of = size, of

    def __getitem__(self, entries: Int64) -> Int32:
        return self._of(entries)


class RowGroups:
    """rows int32[R]: the group of each row, numbers from 0 to num_groups - 1; -1 for a row without a value.

    A text that is written as a number is that number, as in filters. A value that is neither text nor number
    is none.
    """

    def __init__(self, column: Column, num_rows: int) -> None:
        """Raises InputError when a row has several values: entries could not be counted for one."""
        check_single(column)
        numbers, of_number = np.unique(column.numbers, return_inverse=True)
        of_text, self._written = _groups_of_texts(numbers, column.text_numbers)
        self._column, self._numbers, self._of_text = column, numbers, of_text
        self.num_groups = len(numbers) + len(of_text)
        self.rows = np.full(num_rows, -1, np.int32)
        code = column.text_ptr.searchsorted(np.arange(len(column.text_rows)), side="right") - 1
        self._mark(column.text_rows, of_text.take(code, mode="clip") if len(of_text) else code)
        self._mark(column.number_rows, of_number)

    def _mark(self, rows: NDArray[np.uint32], groups: Int64) -> None:
        inside = rows < self.rows.size  # a damaged file may say anything
        self.rows[rows[inside]] = groups[inside]

    def of_value(self, value: str | float) -> int:
        """The group of a value, -1 when no row has it."""
        number = as_number(value)
        if isinstance(number, str):
            code = self._column.code_of(number)
            return -1 if code < 0 else int(self._of_text[code])
        at = int(self._numbers.searchsorted(number))
        if at < len(self._numbers) and self._numbers[at] == number:
            return at
        values, groups = self._written
        at = int(values.searchsorted(number))
        return int(groups[at]) if at < len(values) and values[at] == number else -1


def _groups_of_texts(
    numbers: NDArray[np.float64], text_numbers: NDArray[np.float64]
) -> tuple[Int64, tuple[NDArray[np.float64], Int64]]:
    """The group of each text, and of the numbers that texts are written as: "1" and "1.0" are one."""
    of_text: Int64 = len(numbers) + np.arange(len(text_numbers))
    written = np.flatnonzero(~np.isnan(text_numbers))
    values, first, which = np.unique(text_numbers[written], return_index=True, return_inverse=True)
    at = numbers.searchsorted(values)
    known = np.append(numbers, np.nan)[at] == values
    groups: Int64 = np.where(known, at, of_text[written[first]])
    of_text[written] = groups[which]
    return of_text, (values, groups)


def check_single(column: Column) -> None:
    """Raises InputError when a row has several values of an attribute."""
    seen = np.sort(np.concatenate((column.text_rows, column.number_rows)))
    twice = np.flatnonzero(seen[1:] == seen[:-1])
    if twice.size:
        raise InputError(
            f"at most: row {seen[twice[0]]} has several values of the attribute, expected one per row; "
            "choose an attribute with single values"
        )


def as_number(value: str | float) -> str | float:
    """The number that a text is written as, else the value itself."""
    return float(value) if not isinstance(value, str) or NUMBER.fullmatch(value) else value
