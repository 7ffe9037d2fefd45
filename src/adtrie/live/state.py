"""What a version of a live catalogue is made of: immutable, sharing with its neighbours what did not change.

Rows 0 to R - 1 are those of the base, R + j is added row j. Knows no log and no search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue import Catalogue, EntrySet
from adtrie.catalogue.bids import check_bids
from adtrie.catalogue.build import NO_BID
from adtrie.catalogue.columns import NO_VALUES, Column
from adtrie.catalogue.filter_syntax import parse
from adtrie.catalogue.filters import rows_where
from adtrie.catalogue.range_max import MaxVersion
from adtrie.catalogue.sequences import Int64
from adtrie.errors import FormatError, InputError
from adtrie.live.added import NO_ENTRIES, AddedEntries, AddedRows

Mask = NDArray[np.bool_]


class Lenient(dict[str, Column]):
    """Columns in which an attribute that no row has is one without values, not an error."""

    def get(self, name: str, default: Any = None) -> Column:
        return super().get(name, NO_VALUES)


@dataclass(frozen=True, eq=False)
class Pausing:
    """A pause and the rows of the base it takes out."""

    where: str
    rows: EntrySet

    @classmethod
    def of(cls, where: str, base: Catalogue) -> Pausing:
        """The pause of a filter that can be read; attributes that no row has are fine."""
        return cls(where, base_rows_where(where, Lenient(base.selector.columns), base))


def base_rows_where(where: str, columns: Mapping[str, Column], base: Catalogue) -> EntrySet:
    """The rows of the base that pass."""
    return rows_where(parse(where), columns, base.selector.num_rows)


@dataclass(frozen=True, eq=False)
class State:
    """A version of a catalogue, made of the base that is version `base_number` and of changes.

    present: rows of the base that were not removed; live: of these, not paused; alive: base entries with a
    live row of the base. Of the A = len(added_present) added rows that this version has: present, paused and
    bid of each. bids: of the base's rows, -inf of those that were removed: these raise no maximum.
    """

    number: int
    base_number: int
    base: Catalogue
    present: EntrySet
    live: EntrySet
    alive: EntrySet
    pauses: tuple[Pausing, ...]
    bids: MaxVersion
    added: AddedRows
    entries: AddedEntries
    added_present: Mask
    added_paused: Mask
    added_bids: NDArray[np.float64]

    @classmethod
    def first(cls, number: int, base: Catalogue, pauses: tuple[str, ...] = ()) -> State:
        """The version that is a base as it stands, with the pauses it has."""
        rows = EntrySet.every(base.selector.num_rows)
        bids = MaxVersion.full(rows.size, NO_BID) if base.parts.bids is None else _checked(base.parts.bids)
        none = np.zeros(0, np.bool_)
        state = cls(
            number=number,
            base_number=number,
            base=base,
            present=rows,
            live=rows,
            alive=EntrySet.every(base.num_entries),
            pauses=(),
            bids=bids,
            added=AddedRows(base.trie),
            entries=NO_ENTRIES,
            added_present=none,
            added_paused=none,
            added_bids=np.zeros(0, np.float64),
        )
        if not pauses:
            return state
        pausings = tuple(Pausing.of(where, base) for where in pauses)
        live, alive = live_rows(state, rows, pausings)
        return replace(state, pauses=pausings, live=live, alive=alive)

    def has_rows_of(self, other: State) -> bool:
        """Whether the same rows are live in both: only bids may differ."""
        names = "live", "alive", "entries", "added_present", "added_paused"
        return all(getattr(self, name) is getattr(other, name) for name in names)

    @property
    def num_added(self) -> int:
        """Added rows, those removed again included."""
        return len(self.added_present)

    @property
    def added_live(self) -> Mask:
        """bool[A]: added rows that are present and not paused."""
        return self.added_present & ~self.added_paused

    @property
    def owner(self) -> Int64:
        """int64[A]: the entry of each added row, as `AddedRows.owner` has it."""
        return np.frombuffer(self.added.owner[: self.num_added], np.int64)

    def entries_with(self, alive: EntrySet, added: Mask) -> tuple[EntrySet, Mask]:
        """`alive` and the entries of the rows in `added`: of the base, and bool[D] of the added."""
        owner = self.owner[added]
        attached = owner[owner >= 0]
        if len(attached):
            alive = alive.adding(attached)
        has = np.zeros(len(self.entries), np.bool_)
        has[-1 - owner[owner < 0]] = True
        return alive, has[self.entries.number]


def _checked(bids: NDArray[np.float64]) -> MaxVersion:
    try:
        return MaxVersion.of(check_bids(bids))
    except InputError as error:
        raise FormatError(f"damaged bids ({error}); rebuild the catalogue") from None


def live_rows(state: State, present: EntrySet, pauses: tuple[Pausing, ...]) -> tuple[EntrySet, EntrySet]:
    """`live` and `alive` of a state with other rows present and other pauses."""
    live = present
    for one in pauses:
        live = live - one.rows
    return live, _alive(state, live, _members(live.words ^ state.live.words))


def live_without(state: State, present: EntrySet, removed: Int64) -> tuple[EntrySet, EntrySet]:
    """`live` and `alive` of a state without the rows `removed`, which are known: only these are looked at."""
    live = present if state.live is state.present else state.live.dropping(removed)
    return live, _alive(state, live, removed)


def _alive(state: State, live: EntrySet, differ: Int64) -> EntrySet:
    """`alive` with other rows live; `differ` has at least the rows that differ."""
    if state.base.parts.row_ptr is None:
        return live
    selector, alive = state.base.selector, state.alive
    entries = selector.entry_of_row(np.sort(differ))  # ascending as the rows are
    entries = entries[np.flatnonzero(np.diff(entries, prepend=-1))]
    if not len(entries):
        return alive
    has = live.has_any(*selector.bounds(entries))
    if not has.all():
        alive = alive.dropping(entries[~has])
    return alive.adding(entries[has]) if has.any() else alive


def _members(words: NDArray[np.uint64]) -> Int64:
    """The positions of all bits that are set."""
    return EntrySet(len(words) * 64, words).members()
