"""Filters over the attributes of rows: what they are, and which rows pass. Knows no way of writing them."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice

from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.columns import Column
from adtrie.errors import InputError

ORDERINGS = ("<", "<=", ">", ">=")
_NAMES_COMPARED = 1_000  # names looked through for one that is spelled alike,
_NAME_CHARS = 80  # and the characters of each that count
Value = str | float


@dataclass(frozen=True)
class Has:
    """Rows with any value of the attribute; `at` is its place in the filter, from 1."""

    name: str
    at: int


@dataclass(frozen=True)
class IsTrue:
    """Rows whose value says yes."""

    name: str
    at: int


@dataclass(frozen=True)
class IsIn:
    """Rows with one of the values."""

    name: str
    at: int
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Under:
    """Rows with one of the codes, or with a code below one: IAB25-3 is below IAB25."""

    name: str
    at: int
    codes: tuple[str, ...]


@dataclass(frozen=True)
class Ordered:
    """Rows with a value on that side of `value`."""

    name: str
    at: int
    sign: str
    value: Value


@dataclass(frozen=True)
class Not:
    """Rows outside `one`."""

    one: Filter


@dataclass(frozen=True)
class Every:
    """Rows in all of `parts`."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True)
class AnyOf:
    """Rows in at least one of `parts`."""

    parts: tuple[Filter, ...]


Test = Has | IsTrue | IsIn | Under | Ordered
Filter = Test | Not | Every | AnyOf


def rows_where(found: Filter, columns: Mapping[str, Column], num_rows: int) -> EntrySet:
    """Of num_rows >= 1 rows those that pass. Raises InputError for an attribute that no row has."""
    match found:
        case Not(one):
            return ~rows_where(one, columns, num_rows)
        case Every(parts) | AnyOf(parts):
            join = operator.and_ if isinstance(found, Every) else operator.or_
            return functools.reduce(join, (rows_where(part, columns, num_rows) for part in parts))
        case Has() | IsTrue() | IsIn() | Under() | Ordered():
            column = column_named(found.name, columns, "where", f" at character {found.at}")
            return _rows(found, column, num_rows)


def _rows(test: Test, column: Column, num_rows: int) -> EntrySet:
    match test:
        case Has():
            return column.has(num_rows)
        case IsTrue():
            return column.true(num_rows)
        case IsIn(values=values):
            texts = {value for value in values if isinstance(value, str)}
            return column.equal(num_rows, texts, {value for value in values if not isinstance(value, str)})
        case Under(codes=codes):
            return column.under(num_rows, codes)
        case Ordered(sign=sign, value=value):
            return column.ordered(num_rows, sign, value)


def column_named(name: str, columns: Mapping[str, Column], option: str, place: str = "") -> Column:
    """The column of an attribute. Raises InputError, which begins with `option`, for one that no row has."""
    column = columns.get(name)
    if column is not None:
        return column
    names = [known[:_NAME_CHARS] for known in islice(columns, _NAMES_COMPARED)]
    alike = get_close_matches(name[:_NAME_CHARS], names, n=1, cutoff=0.0)
    advice = f"the closest is {alike[0]!r}" if alike else "the catalogue has no attributes"
    raise InputError(f"{option}: no attribute {name[:_NAME_CHARS]!r}{place}; {advice}")
