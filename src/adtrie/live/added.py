"""Rows added to a catalogue since its snapshot was made, and the entries and trie they make.

Grows only: a version of the catalogue looks at the first rows of it. Knows no change and no bid.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.locate import Place, locate
from adtrie.catalogue.merged import Gaps
from adtrie.catalogue.sequences import Int64, common_prefixes, narrow_tokens
from adtrie.catalogue.trie import Trie
from adtrie.live.changes import NewRow

_EMPTY_GAPS = Gaps(np.zeros(0, np.int64), np.zeros(0, np.uint8), np.zeros(0, np.uint8))


@dataclass(frozen=True, eq=False)
class AddedEntries:
    """The D entries that the base does not have, in order of their tokens.

    trie: of their sequences, None for D = 0; gaps: where they stand in the base; number int64[D]: the order
    they came in.
    """

    trie: Trie | None
    gaps: Gaps
    number: Int64

    def __len__(self) -> int:
        return len(self.number)


NO_ENTRIES = AddedEntries(None, _EMPTY_GAPS, np.zeros(0, np.int64))


@dataclass
class _Entry:
    """An added entry: where its sequence stands in the base, and its rows."""

    place: Place
    rows: list[int] = field(default_factory=list)


class AddedRows:
    """Rows in the order they came. owner[j] is the base entry of row j, or -1 - c for added entry c."""

    def __init__(self, base: Trie) -> None:
        self._base = base
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[str] = []
        self.owner = array("q")
        self._rows_of_id: dict[str, list[int]] = {}
        self._rows_of_base: dict[int, list[int]] = {}
        self._entries: list[_Entry] = []
        self._known: dict[bytes, int] = {}
        self._keys: list[bytes] = []  # ascending; big-endian tokens sort as the sequences do
        self._numbers: list[int] = []  # beside the keys
        self._frozen = NO_ENTRIES

    def __len__(self) -> int:
        return len(self.ids)

    def owner_of(self, tokens: NDArray[np.int32]) -> int:
        """The entry of a sequence as `owner` has it; a new added entry is made for an unknown one."""
        key = tokens.astype(">u4").tobytes()
        number = self._known.get(key)
        if number is not None:
            return -1 - number
        place = locate(self._base, tokens)
        if place.found:
            return place.entry
        number = self._known[key] = len(self._entries)
        self._entries.append(_Entry(place))
        at = bisect_left(self._keys, key)
        self._keys.insert(at, key)
        self._numbers.insert(at, number)
        return -1 - number

    def append(self, row: NewRow, owner: int) -> int:
        """Takes a row of the entry `owner`; its number."""
        number = len(self.ids)
        self.texts.append(row.text)
        self.attributes.append(row.attributes)
        self.owner.append(owner)
        self.rows_of(owner, grow=True).append(number)
        self._rows_of_id.setdefault(row.id, []).append(number)
        self.ids.append(row.id)
        return number

    def rows_of(self, owner: int, grow: bool = False) -> list[int]:
        """Rows of an entry, ascending, those of later versions included."""
        if owner < 0:
            return self._entries[-1 - owner].rows
        return self._rows_of_base.setdefault(owner, []) if grow else self._rows_of_base.get(owner, [])

    def rows_with_id(self, one: str) -> list[int]:
        """Rows with an id, ascending, those of later versions included."""
        return self._rows_of_id.get(one, [])

    def parsed_attributes(self, first: int, end: int) -> list[dict[str, Any]]:
        """The attributes of rows first to end - 1."""
        return [json.loads(text) if text else {} for text in self.attributes[first:end]]

    def freeze(self) -> AddedEntries:
        """All entries so far, as arrays."""
        if len(self._frozen) < len(self._entries):
            places = [self._entries[number].place for number in self._numbers]
            gaps = Gaps(
                np.array([place.entry for place in places], np.int64),
                np.array([place.before for place in places], np.uint8),
                np.array([place.after for place in places], np.uint8),
            )
            self._frozen = AddedEntries(self._trie(), gaps, np.array(self._numbers, np.int64))
        return self._frozen

    def _trie(self) -> Trie:
        tokens = np.frombuffer(b"".join(self._keys), ">u4").astype(np.int64)
        narrow = narrow_tokens(tokens, self._base.vocab_size)
        lengths: Int64 = np.fromiter(map(len, self._keys), np.int64, len(self._keys)) >> 2
        starts = np.cumsum(lengths) - lengths
        shared = common_prefixes(narrow, starts, lengths)
        return Trie.from_sorted(narrow, starts, lengths, shared, self._base.vocab_size)
