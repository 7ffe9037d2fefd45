"""Which entries one request may be answered with: by filter, by set, by ids. Knows no search."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.build import Parts
from adtrie.catalogue.columns import Column
from adtrie.catalogue.eligible import EligibleTrie
from adtrie.catalogue.filter_syntax import parse
from adtrie.catalogue.filters import column_named, rows_where
from adtrie.catalogue.groups import RowGroups
from adtrie.catalogue.sequences import Int64
from adtrie.catalogue.trie import Trie
from adtrie.errors import InputError


class Selection:
    """The rows of a catalogue that may be returned; an entry is eligible if any of its rows is.

    `whole` is the trie of the catalogue; `num_unknown_ids` counts distinct ids in no row. It may serve many
    requests, also at the same time.
    """

    def __init__(self, whole: Trie, entries: EntrySet, rows: EntrySet, num_unknown_ids: int = 0) -> None:
        self.whole = whole
        self.rows = rows
        self.num_unknown_ids = num_unknown_ids
        self._entries = entries

    @property
    def entries(self) -> EntrySet:
        """The eligible entries."""
        return self._entries

    def __len__(self) -> int:
        """Number of eligible entries."""
        return len(self.entries)

    @cached_property
    def trie(self) -> Trie:
        """What to search. Raises InputError when no entry is eligible."""
        return self.whole if len(self) == self.whole.num_entries else EligibleTrie(self.whole, self.entries)


class Selector:
    """Finds rows of one catalogue; reads attributes and ids when they are first asked for."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.num_entries = parts.trie.num_entries
        self.num_rows = self.num_entries if parts.row_ptr is None else int(parts.row_ptr[-1])
        self._groups: dict[str, RowGroups] = {}

    def select(
        self, where: str | EntrySet | None, allow_ids: Iterable[Any] | None, deny_ids: Iterable[Any] | None
    ) -> Selection:
        """Rows that pass `where`, have an id of `allow_ids` (unless None) and none of `deny_ids`."""
        num_unknown = 0
        if isinstance(where, EntrySet):
            rows = self.rows_of(where)
        elif where is not None:
            rows = rows_where(parse(where), self.columns, self.num_rows)
        else:
            rows = EntrySet.every(self.num_rows)
        if allow_ids is not None:
            allowed, unknown = self._with_ids("allow_ids", allow_ids)
            rows, num_unknown = rows & allowed, num_unknown + unknown
        if deny_ids is not None:
            denied, unknown = self._with_ids("deny_ids", deny_ids)
            rows, num_unknown = rows - denied, num_unknown + unknown
        return Selection(self._parts.trie, self.entries_of(rows), rows, num_unknown)

    @property
    def columns(self) -> dict[str, Column]:
        """The attributes by name."""
        return self._parts.lookup.columns

    def column(self, name: str) -> Column:
        """The values of one attribute. Raises InputError for an unknown one, naming the closest."""
        return column_named(name, self.columns, "at most")

    def row_groups(self, attribute: str) -> RowGroups:
        """The groups of all rows by an attribute, kept for the next time.

        Raises InputError for an unknown attribute, or one with several values in one row.
        """
        found = self._groups.get(attribute)
        if found is None:
            found = self._groups[attribute] = RowGroups(self.column(attribute), self.num_rows)
        return found

    def rows_with_ids(self, ids: Iterable[str]) -> list[list[int]]:
        """For each id the rows that have it, ascending; none for an unknown one."""
        found = self._parts.lookup.find(ids)
        if self._parts.ids is None:  # the ids are texts, one per entry
            return [[row for entry in some for row in self.rows_of_entry(entry)] for some in found]
        return found

    def rows_of_entry(self, entry: int) -> range:
        """The rows of one entry; damaged pointers stay within the rows."""
        ptr = self._parts.row_ptr
        if ptr is None:
            return range(entry, entry + 1)
        first = min(int(ptr[entry]), self.num_rows - 1)
        return range(first, max(first + 1, min(int(ptr[entry + 1]), self.num_rows)))

    def entry_of_row(self, rows: Int64) -> Int64:
        """int64[n]: the entry of each row."""
        ptr = self._parts.row_ptr
        if ptr is None:
            return rows
        entry = ptr[1:].searchsorted(rows.astype(np.uint32), side="right").astype(np.int64)
        return np.minimum(entry, self.num_entries - 1)

    def _with_ids(self, name: str, ids: Iterable[Any]) -> tuple[EntrySet, int]:
        """The rows with one of the ids, and the number of distinct ids in no row."""
        found = self.rows_with_ids(check_ids(name, ids))
        rows: Int64 = np.array([row for some in found for row in some], np.int64)
        return EntrySet.of_entries(rows, self.num_rows), sum(not some for some in found)

    def bounds(self, entries: Int64 | None = None) -> tuple[Int64, Int64]:
        """First row of each entry (of all by default) and the row after its last, within the rows."""
        ptr = self._parts.row_ptr
        if entries is None:
            entries = np.arange(self.num_entries)
        if ptr is None:
            return entries, entries + 1
        first = np.minimum(ptr[entries].astype(np.int64), self.num_rows - 1)
        return first, np.maximum(first + 1, np.minimum(ptr[entries + 1].astype(np.int64), self.num_rows))

    def entries_of(self, rows: EntrySet) -> EntrySet:
        """The entries with any of the rows."""
        if self._parts.row_ptr is None:
            return rows
        row, entry = self._later_rows
        if len(row) != self.num_rows - self.num_entries:  # damaged pointers
            return EntrySet.of_mask(rows.count(*self.bounds()) > 0)
        return rows.without_places(row).adding(entry[rows.contains(row)])

    @cached_property
    def _later_rows(self) -> tuple[NDArray[np.uint32], Int64]:
        """Rows that are not the first of their entry, and the entry of each."""
        later = np.ones(self.num_rows, np.bool_)
        later[self.bounds()[0]] = False
        row = np.flatnonzero(later)
        return row.astype(np.uint32), self.entry_of_row(row)

    def rows_of(self, entries: EntrySet) -> EntrySet:
        """All rows of the entries. Raises InputError for a set over another number of entries."""
        entries = EntrySet.every(self.num_entries) & entries
        if self._parts.row_ptr is None:
            return entries
        return EntrySet.of_mask(entries.contains(self.entry_of_row(np.arange(self.num_rows))))


def check_ids(name: str, ids: Iterable[Any]) -> set[str]:
    """Distinct ids as texts. Raises InputError for anything but strings and integers."""
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise InputError(f"{name}: expected a list of ids, got {type(ids).__name__}; put one id into a list")
    found: set[str] = set()
    for one in ids:
        if isinstance(one, bool) or not isinstance(one, str | int):
            raise InputError(f"{name}: expected strings or integers, got {type(one).__name__}")
        if isinstance(one, int) and one.bit_length() > 256:
            raise InputError(f"{name}: an integer of more than 256 bits is no id")
        found.add(str(one))
    return found
