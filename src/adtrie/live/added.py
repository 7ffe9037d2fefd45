"""Rows added to a catalogue since its snapshot was made, and the entries and trie they make.

Grows only: a version of the catalogue looks at the first rows of it. Knows no change and no bid.
"""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.branches import BranchTable
from adtrie.catalogue.locate import Place, locate
from adtrie.catalogue.merged import Gaps
from adtrie.catalogue.sequences import Int64, common_prefixes, narrow_tokens
from adtrie.catalogue.trie import Trie
from adtrie.live.changes import NewRow

MAX_INSERTED = 40  # sequences put into the arrays one by one; above, all are sorted anew
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

    def with_entry(self, tokens: NDArray[np.int32], gap: Place, number: int) -> AddedEntries:
        """With one more sequence, which stands at `gap` in the base. There is one entry already."""
        assert self.trie is not None
        place = locate(self.trie, tokens)
        at = place.entry
        gaps = Gaps(
            _inserted(self.gaps.at, at, gap.entry),
            _inserted(self.gaps.before, at, gap.before),
            _inserted(self.gaps.after, at, gap.after),
        )
        return AddedEntries(
            _with_sequence(self.trie, tokens, place), gaps, _inserted(self.number, at, number)
        )


def _inserted(array: NDArray[Any], at: int, value: int) -> NDArray[Any]:
    return np.concatenate([array[:at], np.array([value], array.dtype), array[at:]])


def _with_sequence(trie: Trie, tokens: NDArray[np.int32], place: Place) -> Trie:
    """The trie with one more sequence: the entry after it stores only what it does not share with that."""
    at = place.entry
    first = int(trie.offsets[at])
    more = 0 if at == trie.num_entries else place.after - int(trie.shared[at])
    own = tokens[place.before :].astype(trie.edges.dtype)
    edges = np.concatenate([trie.edges[:first], own, trie.edges[first + more :]])
    offsets = _inserted(trie.offsets, at, first)
    offsets[at + 1 :] += np.uint32(len(own))
    offsets[at + 2 :] -= np.uint32(more)
    shared = _inserted(trie.shared, at, place.before)
    if more:
        shared[at + 1] = place.after
    depth = max(trie.max_depth, len(tokens))
    return Trie(edges, offsets, shared, BranchTable.none(), depth, trie.vocab_size)


NO_ENTRIES = AddedEntries(None, _EMPTY_GAPS, np.zeros(0, np.int64))


@dataclass
class _Entry:
    """An added entry: its sequence and where it stands in the base, and its rows."""

    tokens: NDArray[np.int32]
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
        self._known: dict[
            bytes, int
        ] = {}  # numbers of entries by their tokens, big-endian: they sort as these
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
        self._entries.append(_Entry(tokens, place))
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
        frozen, new = self._frozen, self._entries[len(self._frozen) :]
        if len(frozen) and len(new) <= MAX_INSERTED:
            for number, entry in enumerate(new, start=len(frozen)):
                frozen = frozen.with_entry(entry.tokens, entry.place, number)
        elif new:
            frozen = self._sorted()
        self._frozen = frozen
        return frozen

    def _sorted(self) -> AddedEntries:
        numbers: Int64 = np.array([number for _, number in sorted(self._known.items())], np.int64)
        entries = [self._entries[number] for number in numbers.tolist()]
        places = [entry.place for entry in entries]
        gaps = Gaps(
            np.array([place.entry for place in places], np.int64),
            np.array([place.before for place in places], np.uint8),
            np.array([place.after for place in places], np.uint8),
        )
        vocab_size = self._base.vocab_size
        tokens = narrow_tokens(np.concatenate([entry.tokens for entry in entries]), vocab_size)
        lengths: Int64 = np.fromiter((len(entry.tokens) for entry in entries), np.int64, len(entries))
        starts = np.cumsum(lengths) - lengths
        shared = common_prefixes(tokens, starts, lengths)
        return AddedEntries(Trie.from_sorted(tokens, starts, lengths, shared, vocab_size), gaps, numbers)
