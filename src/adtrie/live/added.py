"""Rows added to a catalogue since its snapshot was made, and the entries and trie they make.

Grows only: a version of the catalogue looks at the first rows of it. Knows no change and no bid.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.branches import BranchTable
from adtrie.catalogue.locate import Place, locate
from adtrie.catalogue.merged import Gaps
from adtrie.catalogue.sequences import Int64, common_prefixes, narrow_tokens, row_pointers
from adtrie.catalogue.trie import Trie
from adtrie.live.changes import NewRow

MAX_INSERTED = 1_000  # sequences put between those in the arrays; above, all are sorted anew
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

    def with_entries(self, new: list[NewEntry], keys: list[bytes]) -> AddedEntries:
        """With more sequences; `new` and `keys`, those of the entries here, are in order. There is one here.

        In time for what is new and a few copies of the arrays, however many are here.
        """
        assert self.trie is not None
        at: Int64 = np.array([bisect_left(keys, one.key) for one in new], np.int64)
        gaps = Gaps(
            np.insert(self.gaps.at, at, [one.place.entry for one in new]),
            np.insert(self.gaps.before, at, [one.place.before for one in new]),
            np.insert(self.gaps.after, at, [one.place.after for one in new]),
        )
        number = np.insert(self.number, at, [one.number for one in new])
        return AddedEntries(_with_sequences(self.trie, new, keys, at), gaps, number)


@dataclass(frozen=True)
class NewEntry:
    """A sequence that none has yet: `key` is its tokens as `_key` has them; number: the order it came in."""

    key: bytes
    tokens: NDArray[np.int32]
    place: Place
    number: int


def _key(tokens: NDArray[np.int32]) -> bytes:
    """Tokens as big-endian bytes: these sort as the tokens do."""
    return tokens.astype(">u4").tobytes()


def _common(one: bytes, other: bytes) -> int:
    """The number of tokens that two keys begin with alike."""
    size = min(len(one), len(other))
    differ = int.from_bytes(one[:size], "big") ^ int.from_bytes(other[:size], "big")
    return (size - (differ.bit_length() + 7) // 8) // 4


def _with_sequences(trie: Trie, new: list[NewEntry], keys: list[bytes], at: Int64) -> Trie:
    """The trie with sequences put in, in order, before the entries `at`.

    An entry after new ones stores only what it does not share with the last of them.
    """
    shared, own = trie.shared.copy(), np.diff(trie.offsets)
    pieces, first, own_shared = list[NDArray[Any]](), 0, list[int]()
    for i, (one, place) in enumerate(zip(new, at.tolist(), strict=True)):
        before = new[i - 1].key if i and at[i - 1] == place else keys[place - 1] if place else b""
        own_shared.append(_common(before, one.key))
        start = int(trie.offsets[place])
        pieces += [trie.edges[first:start], one.tokens[own_shared[-1] :].astype(trie.edges.dtype)]
        first = start
        if place < len(keys) and (i + 1 == len(new) or at[i + 1] != place):
            after = _common(one.key, keys[place])
            more = after - int(shared[place])
            shared[place], own[place], first = after, own[place] - more, start + more
    own = np.insert(own, at, [len(one.tokens) - known for one, known in zip(new, own_shared, strict=True)])
    return Trie(
        np.concatenate([*pieces, trie.edges[first:]]),
        row_pointers(own.astype(np.int64)).astype(np.uint32),
        np.insert(shared, at, own_shared),
        BranchTable.none(),
        max(trie.max_depth, *(len(one.tokens) for one in new)),
        trie.vocab_size,
    )


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
        self._known: dict[bytes, int] = {}  # numbers of entries by their keys
        self._frozen = NO_ENTRIES
        self._keys: list[bytes] = []  # of the frozen entries, in order

    def __len__(self) -> int:
        return len(self.ids)

    def owner_of(self, tokens: NDArray[np.int32]) -> int:
        """The entry of a sequence as `owner` has it; a new added entry is made for an unknown one."""
        key = _key(tokens)
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
        frozen = self._frozen
        count = len(self._entries) - len(frozen)
        if len(frozen) and 0 < count <= MAX_INSERTED:
            new = sorted(self._new(), key=lambda one: one.key)
            frozen = frozen.with_entries(new, self._keys)
            for one in new:
                insort(self._keys, one.key)
        elif count:
            self._keys = sorted(self._known)
            frozen = self._sorted()
        self._frozen = frozen
        return frozen

    def _new(self) -> Iterator[NewEntry]:
        """The entries that are not frozen yet."""
        for number in range(len(self._frozen), len(self._entries)):
            entry = self._entries[number]
            yield NewEntry(_key(entry.tokens), entry.tokens, entry.place, number)

    def _sorted(self) -> AddedEntries:
        numbers: Int64 = np.array([self._known[key] for key in self._keys], np.int64)
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
