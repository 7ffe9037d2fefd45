"""Which entries one request may be answered with: by filter, by set, by ids. Knows no search."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.build import Parts
from adtrie.catalogue.columns import Column, read_columns
from adtrie.catalogue.eligible import EligibleTrie
from adtrie.catalogue.filter_syntax import parse
from adtrie.catalogue.filters import column_named, rows_where
from adtrie.catalogue.sequences import Int64, range_indices
from adtrie.catalogue.strings import StringTable
from adtrie.catalogue.trie import Trie
from adtrie.errors import InputError


@dataclass(frozen=True, eq=False)
class Selection:
    """The rows of a catalogue that may be returned; an entry is eligible if any of its rows is.

    `whole` is the trie of the catalogue; `num_unknown_ids` counts distinct ids in no row. It may serve many
    requests, also at the same time.
    """

    whole: Trie
    entries: EntrySet
    rows: EntrySet
    num_unknown_ids: int = 0

    def __len__(self) -> int:
        """Number of eligible entries."""
        return len(self.entries)

    @cached_property
    def trie(self) -> Trie:
        """What to search. Raises InputError when no entry is eligible."""
        return self.whole if len(self) == self.whole.num_entries else EligibleTrie(self.whole, self.entries)


class Selector:
    """Makes the selections of one catalogue; reads attributes and ids when they are first asked for."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._num_entries = parts.trie.num_entries
        self._num_rows = self._num_entries if parts.row_ptr is None else int(parts.row_ptr[-1])

    def select(
        self, where: str | EntrySet | None, allow_ids: Iterable[Any] | None, deny_ids: Iterable[Any] | None
    ) -> Selection:
        """Rows that pass `where`, have an id of `allow_ids` (unless None) and none of `deny_ids`."""
        rows, num_unknown = EntrySet.every(self._num_rows), 0
        if isinstance(where, EntrySet):
            rows = self._rows_of(where)
        elif where is not None:
            found = parse(where)
            rows = EntrySet.of_mask(rows_where(found, self._columns, self._num_rows))
        if allow_ids is not None:
            allowed, unknown = self._with_ids("allow_ids", allow_ids)
            rows, num_unknown = rows & allowed, num_unknown + unknown
        if deny_ids is not None:
            denied, unknown = self._with_ids("deny_ids", deny_ids)
            rows, num_unknown = rows - denied, num_unknown + unknown
        return Selection(self._parts.trie, self._entries_of(rows), rows, num_unknown)

    def column(self, name: str) -> Column:
        """The values of one attribute. Raises InputError for an unknown one, naming the closest."""
        return column_named(name, self._columns, "at most")

    @cached_property
    def _columns(self) -> dict[str, Column]:
        return read_columns(self._parts.attributes)

    @cached_property
    def _ids(self) -> _IdIndex:
        return _IdIndex(self._parts.texts if self._parts.ids is None else self._parts.ids)

    def _with_ids(self, name: str, ids: Iterable[Any]) -> tuple[EntrySet, int]:
        """The rows with one of the ids, and the number of distinct ids in no row."""
        rows, num_unknown = self._ids.find(_check_ids(name, ids))
        if self._parts.ids is None:  # the ids are texts, one per entry
            first, end = self._bounds()
            rows = range_indices(first[rows], (end - first)[rows])
        return EntrySet.of_entries(rows, self._num_rows), num_unknown

    def _bounds(self) -> tuple[Int64, Int64]:
        """First row of each entry and the row after its last; damaged pointers stay within the rows."""
        ptr = self._parts.row_ptr
        if ptr is None:
            first = np.arange(self._num_entries)
            return first, first + 1
        first = np.minimum(ptr[:-1].astype(np.int64), self._num_rows - 1)
        return first, np.maximum(first + 1, np.minimum(ptr[1:].astype(np.int64), self._num_rows))

    def _entries_of(self, rows: EntrySet) -> EntrySet:
        if self._parts.row_ptr is None:
            return rows
        return EntrySet.of_mask(rows.count(*self._bounds()) > 0)

    def _rows_of(self, entries: EntrySet) -> EntrySet:
        """All rows of the entries. Raises InputError for a set over another number of entries."""
        entries = EntrySet.every(self._num_entries) & entries
        ptr = self._parts.row_ptr
        if ptr is None:
            return entries
        entry = ptr[1:].searchsorted(np.arange(self._num_rows, dtype=np.uint32), side="right")
        return EntrySet.of_mask(entries.contains(entry))


class _IdIndex:
    """Strings by hash: 16 bytes each, whatever their length."""

    def __init__(self, table: StringTable) -> None:
        self._table = table
        hashes = np.fromiter((hash(table.raw(i)) for i in range(len(table))), np.int64, len(table))
        self._order = hashes.argsort(kind="stable")
        self._hashes = hashes[self._order]

    def find(self, strings: set[str]) -> tuple[Int64, int]:
        """Positions of all strings of the table that are in `strings`; how many of `strings` are nowhere."""
        wanted = [string.encode("utf-8", "surrogatepass") for string in strings]
        hashes: NDArray[np.int64] = np.fromiter(map(hash, wanted), np.int64, len(wanted))
        first, last = (self._hashes.searchsorted(hashes, side).tolist() for side in ("left", "right"))
        found: list[int] = []
        num_unknown = 0
        for raw, begin, end in zip(wanted, first, last, strict=True):
            same = [i for i in self._order[begin:end].tolist() if self._table.raw(i) == raw]
            num_unknown += not same
            found += same
        return np.array(found, np.int64), num_unknown


def _check_ids(name: str, ids: Iterable[Any]) -> set[str]:
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
