"""Attributes of rows as columns: what rows are asked about, made of their JSON once. Knows no filter."""

from __future__ import annotations

import json
import re
from array import array
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.strings import StringTable
from adtrie.errors import FormatError

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
FALSE = frozenset(("", "0", "false", "no", "off"))  # texts that a bare attribute takes for no, in any case
Rows = NDArray[np.uint32]  # row numbers, ascending; a row with a list of values may repeat
Ordering = Callable[[Any, Any], Any]  # one of the comparisons of `operator`


@dataclass(frozen=True, eq=False)
class Column:
    """The values of one attribute. A list gives its row several values; null is no value.

    present: rows with any value, also one that is neither text nor number. texts: the distinct texts, sorted;
    `codes` are indices into them for the rows `text_rows`. true and false are the texts "true" and "false".
    `numbers` are the values of the rows `number_rows`, float64.
    """

    present: Rows
    texts: list[str]
    text_rows: Rows
    codes: NDArray[np.uint32]
    number_rows: Rows
    numbers: NDArray[np.float64]

    @cached_property
    def text_numbers(self) -> NDArray[np.float64]:
        """float64[texts]: the number a text is written as, NaN for one that is none."""
        return np.array([float(t) if NUMBER.fullmatch(t) else np.nan for t in self.texts], np.float64)

    def _with_text(self, chosen: NDArray[np.bool_]) -> Rows:
        return self.text_rows[chosen[self.codes]]

    def rows_in(self, texts: set[str], numbers: set[float]) -> Rows:
        """Rows with a value equal to one of `texts`, or to one of `numbers` however it is written."""
        chosen = np.zeros(len(self.texts), np.bool_)
        for text in texts:
            at = bisect_left(self.texts, text)
            if at < len(self.texts) and self.texts[at] == text:
                chosen[at] = True
        if not numbers:
            return self._with_text(chosen)
        wanted = np.array(sorted(numbers))
        chosen |= np.isin(self.text_numbers, wanted)
        return np.concatenate((self._with_text(chosen), self.number_rows[np.isin(self.numbers, wanted)]))

    def rows_ordered(self, ordering: Ordering, value: str | float) -> Rows:
        """Rows with a value v for which ordering(v, value): texts by code point, numbers by size."""
        if isinstance(value, str):
            return self._with_text(np.array([ordering(text, value) for text in self.texts], np.bool_))
        chosen = ordering(self.text_numbers, value)  # NaN is in no order
        return np.concatenate((self._with_text(chosen), self.number_rows[ordering(self.numbers, value)]))

    def rows_true(self) -> Rows:
        """Rows with a number other than 0, or a text that does not say no."""
        chosen = np.array([text.strip().lower() not in FALSE for text in self.texts], np.bool_)
        return np.concatenate((self._with_text(chosen), self.number_rows[self.numbers != 0]))


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
        rank = np.zeros(len(texts), np.uint32)
        rank[np.array([self.known[text] for text in texts], np.int64)] = np.arange(len(texts))
        return Column(
            np.array(self.present, np.uint32),
            texts,
            np.array(self.text_rows, np.uint32),
            rank[np.array(self.codes, np.uint32)],
            np.array(self.number_rows, np.uint32),
            np.array(self.numbers, np.float64),
        )


def _as_float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def read_columns(attributes: StringTable | None) -> dict[str, Column]:
    """All attributes by name. Raises FormatError naming the row whose attributes are damaged."""
    growing: dict[str, _Growing] = {}
    for row in range(len(attributes) if attributes is not None else 0):
        assert attributes is not None
        for name, value in row_attributes(attributes, row).items():
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
