"""Attributes of rows as columns: for each value the rows that have it. Knows no filter and no file."""

from __future__ import annotations

import functools
import json
import operator
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.row_order import RowOrder
from adtrie.catalogue.sequences import Int64, row_pointers
from adtrie.catalogue.strings import StringTable
from adtrie.errors import FormatError

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
FALSE = frozenset(("", "0", "false", "no", "off"))  # texts that a bare attribute takes for no, in any case
SEPARATORS = ("-", "/", ".", " > ")  # between a code and those below it
OFTEN = 64  # a text is kept as a bitmap if more than one in so many rows has it
MANY_OFTEN = 8  # such bitmaps are joined
Rows = NDArray[np.uint32]  # row numbers; a row with a list of values may repeat
Float64 = NDArray[np.float64]


class SortedTexts(Sequence[bytes]):
    """Distinct texts as UTF-8, ascending, which is the order of their code points."""

    def __init__(self, table: StringTable) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, at: Any) -> Any:
        return self.table.raw(at)


@dataclass(frozen=True, eq=False)
class Column:
    """The values of one attribute. A list gives its row several values; null is no value.

    present: rows with any value, also one that is neither text nor number, ascending. Of the T texts, sorted,
    text i has the rows text_rows[text_ptr[i] : text_ptr[i+1]], ascending; true and false are the texts "true"
    and "false". number_rows are the rows of `numbers` float64, ascending by number. text_numbers float64[T]:
    the number that a text is written as, NaN for one that is none.
    """

    present: Rows
    texts: StringTable
    text_ptr: Rows
    text_rows: Rows
    text_numbers: Float64
    numbers: Float64
    number_rows: Rows
    often: dict[tuple[int, int], EntrySet] = field(default_factory=dict)  # by text and number of rows
    _orders: dict[int, tuple[RowOrder, RowOrder]] = field(default_factory=dict)  # by number of rows

    def has(self, num_rows: int) -> EntrySet:
        """Of num_rows rows those with any value."""
        return EntrySet.of_pieces([self.present], num_rows)

    def equal(self, num_rows: int, texts: Iterable[str], numbers: Iterable[float]) -> EntrySet:
        """Rows with a value equal to one of `texts`, or to one of `numbers` however it is written."""
        codes = [code for text in texts for code in self._codes_from(text, _encoded(text) + b"\0")]
        wanted = np.array(sorted(numbers), np.float64)
        if len(wanted):
            codes += np.flatnonzero(np.isin(self.text_numbers, wanted)).tolist()
        first, last = (self.numbers.searchsorted(wanted, side).tolist() for side in ("left", "right"))
        return self._rows(num_rows, np.unique(np.array(codes, np.int64)), list(zip(first, last, strict=True)))

    def under(self, num_rows: int, codes: Iterable[str]) -> EntrySet:
        """Rows with a text that is one of `codes` or goes on from one with -, /, . or " > "."""
        chosen: list[int] = []
        for code in codes:
            alike = self._codes_from(code, _encoded(code) + b"\xff")
            chosen += self._codes_from(code, _encoded(code) + b"\0", alike)
            for separator in SEPARATORS if alike else ():
                chosen += self._codes_from(code + separator, _encoded(code + separator) + b"\xff", alike)
        return self._rows(num_rows, np.unique(np.array(chosen, np.int64)), [])

    def ordered(self, num_rows: int, sign: str, value: str | float) -> EntrySet:
        """Rows with a value on that side (<, <=, >, >=) of `value`: texts by code point, numbers by size."""
        side = bisect_left if sign in ("<", ">=") else bisect_right
        if isinstance(value, str):
            at = side(SortedTexts(self.texts), _encoded(value))
            codes = np.arange(at) if sign[0] == "<" else np.arange(at, len(self.texts))
            return self._rows(num_rows, codes, [])
        at = int(self.numbers.searchsorted(value, "left" if side is bisect_left else "right"))
        end = int(self.numbers.searchsorted(np.inf, "right"))  # NaN is in no order
        compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}[sign]
        codes = np.flatnonzero(compare(self.text_numbers, value))
        return self._rows(num_rows, codes, [(0, at) if sign[0] == "<" else (at, end)])

    def true(self, num_rows: int) -> EntrySet:
        """Rows with a number other than 0, or a text that does not say no."""
        first, last = (int(self.numbers.searchsorted(0.0, side)) for side in ("left", "right"))
        return self._rows(num_rows, self._codes_true, [(0, first), (last, len(self.numbers))])

    @cached_property
    def _codes_true(self) -> Int64:
        texts = map(self.texts.text, range(len(self.texts)))
        return np.flatnonzero(np.array([text.strip().lower() not in FALSE for text in texts], np.bool_))

    def code_of(self, text: str) -> int:
        """The number of a text, -1 for one that no row has."""
        found = self._codes_from(text, _encoded(text) + b"\0")
        return found.start if found else -1

    def _codes_from(self, text: str, end: bytes, among: range | None = None) -> range:
        """The codes of the texts from `text` on, and before `end`; `among` some in which they are."""
        texts = SortedTexts(self.texts)
        among = range(len(texts)) if among is None else among
        first = bisect_left(texts, _encoded(text), among.start, among.stop)
        return range(first, bisect_left(texts, end, first, among.stop))

    def _rows(self, num_rows: int, codes: Int64, ranges: list[tuple[int, int]]) -> EntrySet:
        """Rows of some texts, ascending, and of ranges of the numbers, which are ascending."""
        counts = self.text_ptr[codes + 1].astype(np.int64) - self.text_ptr[codes]
        is_often = counts * OFTEN > num_rows
        if is_often.sum() > MANY_OFTEN:  # going through all rows once is faster
            is_often[:] = False
        found = [self._rows_often(code, num_rows) for code in codes[is_often].tolist()]
        codes = codes[~is_often]
        if len(codes) or any(first < last for first, last in ranges) or not found:
            in_numbers = np.array(ranges, np.int64).reshape(-1, 2)
            found.append(self._marked(num_rows, self._places(codes), in_numbers))
        return functools.reduce(operator.or_, found)

    def _rows_often(self, code: int, num_rows: int) -> EntrySet:
        """The rows of a text that many have, kept for the next time."""
        found = self.often.get((code, num_rows))
        if found is None:
            first, last = int(self.text_ptr[code]), int(self.text_ptr[code + 1])
            rows = EntrySet.of_pieces([self.text_rows[first:last]], num_rows)
            found = self.often[code, num_rows] = rows
        return found

    def _places(self, codes: Int64) -> Int64:
        """int64[n, 2]: the ranges of text_rows that hold the texts, ascending; neighbours are one."""
        cut = np.flatnonzero(np.diff(codes) != 1)
        first, last = np.append(codes[:1], codes[cut + 1]), np.append(codes[cut], codes[-1:])
        return np.stack((self.text_ptr[first], self.text_ptr[last + 1]), axis=1).astype(np.int64)

    def _marked(self, num_rows: int, in_texts: Int64, in_numbers: Int64) -> EntrySet:
        """The rows in ranges of text_rows and of number_rows; by way of the others, where these are fewer."""
        size = sum(int((ranges[:, 1] - ranges[:, 0]).sum()) for ranges in (in_texts, in_numbers))
        fewer = 2 * size > num_rows and self._is_single(num_rows)
        if fewer:
            in_texts = _gaps(in_texts, len(self.text_rows))
            in_numbers = _gaps(in_numbers, len(self.number_rows))
        words = np.zeros(-(-num_rows // 64), np.uint64)
        for order, ranges in zip(self._ordered_rows(num_rows), (in_texts, in_numbers), strict=True):
            if len(ranges):
                order.mark(words, ranges[:, 0], ranges[:, 1])
        found = EntrySet.of_words(words, num_rows)
        return ~found if fewer else found

    def _ordered_rows(self, num_rows: int) -> tuple[RowOrder, RowOrder]:
        """The rows by text and by number."""
        found = self._orders.get(num_rows)
        if found is None:
            found = RowOrder(self.text_rows, num_rows), RowOrder(self.number_rows, num_rows)
            self._orders[num_rows] = found
        return found

    def _is_single(self, num_rows: int) -> bool:
        """Whether every row has exactly one value, a text or a number."""
        return len(self.text_rows) + len(self.number_rows) == num_rows and self._covers_all

    @cached_property
    def _covers_all(self) -> bool:
        num_rows = len(self.text_rows) + len(self.number_rows)
        return len(EntrySet.of_pieces([self.text_rows, self.number_rows], num_rows)) == num_rows


def _gaps(ranges: Int64, size: int) -> Int64:
    """int64[n + 1, 2]: what ascending ranges leave of 0 to size - 1."""
    return np.stack((np.append(0, ranges[:, 1]), np.append(ranges[:, 0], size)), axis=1)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@dataclass
class _Growing:
    """A column while rows are read."""

    present: array[int] = field(default_factory=lambda: array("I"))
    text_rows: array[int] = field(default_factory=lambda: array("I"))
    codes: array[int] = field(default_factory=lambda: array("I"))
    number_rows: array[int] = field(default_factory=lambda: array("I"))
    numbers: array[float] = field(default_factory=lambda: array("d"))
    known: dict[str, int] = field(default_factory=dict)

    def add(self, row: int, value: Any) -> None:
        """Takes the value of a row, or each value of a list."""
        if value is None:
            return
        self.present.append(row)
        for one in value if isinstance(value, list) else (value,):
            if isinstance(one, str | bool):
                text = one if isinstance(one, str) else str(one).lower()
                self.text_rows.append(row)
                self.codes.append(self.known.setdefault(text, len(self.known)))
            elif isinstance(one, int | float):
                self.number_rows.append(row)
                self.numbers.append(_as_float(one))

    def finish(self) -> Column:
        """The column, its texts sorted."""
        texts = sorted(self.known)
        rank = np.zeros(len(texts), np.int64)
        rank[np.array([self.known[text] for text in texts], np.int64)] = np.arange(len(texts))
        codes = rank[np.array(self.codes, np.int64)]
        numbers = np.array(self.numbers, np.float64)
        by_number = numbers.argsort(kind="stable")
        encoded = [_encoded(text) for text in texts]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        written = [float(text) if NUMBER.fullmatch(text) else np.nan for text in texts]
        return Column(
            np.array(self.present, np.uint32),
            StringTable.of([b"".join(encoded)], [lengths]),
            row_pointers(np.bincount(codes, minlength=len(texts))).astype(np.uint32),
            np.array(self.text_rows, np.uint32)[codes.argsort(kind="stable")],
            np.array(written, np.float64),
            numbers[by_number],
            np.array(self.number_rows, np.uint32)[by_number],
        )


NO_VALUES = _Growing().finish()  # of an attribute that no row has


def _as_float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def read_columns(attributes: StringTable | None) -> dict[str, Column]:
    """All attributes by name. Raises FormatError naming the row whose attributes are damaged."""
    num_rows = 0 if attributes is None else len(attributes)
    return columns_of(row_attributes(attributes, row) for row in range(num_rows) if attributes is not None)


def columns_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Column]:
    """The attributes of rows 0, 1, ... by name."""
    growing: dict[str, _Growing] = {}
    for row, attributes in enumerate(rows):
        for name, value in attributes.items():
            column = growing.get(name)
            if column is None:
                column = growing[name] = _Growing()
            column.add(row, value)
    return {name: column.finish() for name, column in growing.items()}


def row_attributes(attributes: StringTable, row: int) -> dict[str, Any]:
    """The attributes of one row, empty when it has none. Raises FormatError when they are damaged."""
    raw = attributes.raw(row)
    if not raw:
        return {}
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise FormatError(f"attributes of row {row} are damaged; rebuild the catalogue")
    return found
