"""Filters over the attributes of rows: what they are, and which rows pass. Knows no way of writing them."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.columns import Column, Ordering
from adtrie.errors import InputError

ORDERINGS: dict[str, Ordering] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
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


Filter = Has | IsTrue | IsIn | Ordered | Not | Every | AnyOf


def rows_where(found: Filter, columns: Mapping[str, Column], num_rows: int) -> NDArray[np.bool_]:
    """bool[num_rows]: the rows that pass. Raises InputError for an attribute that no row has."""
    match found:
        case Not(one):
            return ~rows_where(one, columns, num_rows)
        case Every(parts) | AnyOf(parts):
            join = np.logical_and if isinstance(found, Every) else np.logical_or
            mask = rows_where(parts[0], columns, num_rows)
            for part in parts[1:]:
                join(mask, rows_where(part, columns, num_rows), out=mask)
            return mask
        case Has() | IsTrue() | IsIn() | Ordered():
            mask = np.zeros(num_rows, np.bool_)
            column = column_named(found.name, columns, "where", f" at character {found.at}")
            mask[_rows(found, column)] = True
            return mask


def _rows(test: Has | IsTrue | IsIn | Ordered, column: Column) -> NDArray[np.uint32]:
    match test:
        case Has():
            return column.present
        case IsTrue():
            return column.rows_true()
        case IsIn(values=values):
            texts = {value for value in values if isinstance(value, str)}
            return column.rows_in(texts, {value for value in values if not isinstance(value, str)})
        case Ordered(sign=sign, value=value):
            return column.rows_ordered(ORDERINGS[sign], value)


def column_named(name: str, columns: Mapping[str, Column], option: str, place: str = "") -> Column:
    """The column of an attribute. Raises InputError, which begins with `option`, for one that no row has."""
    column = columns.get(name)
    if column is not None:
        return column
    names = [known[:_NAME_CHARS] for known in islice(columns, _NAMES_COMPARED)]
    alike = get_close_matches(name[:_NAME_CHARS], names, n=1, cutoff=0.0)
    advice = f"the closest is {alike[0]!r}" if alike else "the catalogue has no attributes"
    raise InputError(f"{option}: no attribute {name[:_NAME_CHARS]!r}{place}; {advice}")
