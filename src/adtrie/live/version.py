"""One version of a live catalogue as a catalogue to search: immutable, whatever is changed meanwhile.

Knows no log. Entries are numbered as `MergedTrie` does, those that are not live included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue import (
    Bids,
    Bonus,
    BuildReport,
    Catalogue,
    EntrySet,
    Groups,
    Payload,
    Selection,
    Trie,
)
from adtrie.catalogue.bids import BidBonus
from adtrie.catalogue.build import NO_BID, Parts
from adtrie.catalogue.columns import NO_VALUES, Column, columns_of
from adtrie.catalogue.filter_syntax import parse
from adtrie.catalogue.filters import rows_where
from adtrie.catalogue.groups import EntryGroups, Int32
from adtrie.catalogue.merged import MergedTrie
from adtrie.catalogue.selection import check_ids
from adtrie.catalogue.sequences import Int64
from adtrie.errors import InputError
from adtrie.live.bids import LiveBids, groups_of_added
from adtrie.live.compaction import compacted
from adtrie.live.selection import Chosen, LiveSelection, both, trie_of
from adtrie.live.state import State, base_rows_where


class Version(Catalogue):
    """A catalogue as it was at `number`. Only live rows count: not removed, not paused.

    The text of an entry is that of its base while a row of the base is present, else its first present row's.
    """

    trie: Trie
    _everything: LiveSelection

    def __init__(self, state: State, before: Version | None = None) -> None:
        """`before`: a version whose trie and selection are taken over if the same rows are live."""
        base = state.base
        self.state = state
        self.number = state.number
        self.info = replace(base.info, max_depth=max(base.trie.max_depth, _depth(state)))
        self.report = BuildReport(self.info.num_rows, base.num_entries + len(state.entries), 0, 0)
        self._snapshot = None
        if before is not None and state.has_rows_of(before.state):
            self.trie = before.trie
            self._everything: Selection = before._everything
            return
        alive = state.entries_with(state.alive, state.added_live)
        self.trie = trie_of(state, *alive)
        self._everything = LiveSelection(self.trie, state, Chosen(state.live, state.added_live), alive)

    @property
    def everything(self) -> Selection:
        """All live rows."""
        return self._everything

    @property
    def num_live(self) -> int:
        """Entries with a live row; `num_entries` counts the others too."""
        return len(self._everything)

    @property
    def pauses(self) -> tuple[str, ...]:
        """The filters that are paused."""
        return tuple(one.where for one in self.state.pauses)

    @cached_property
    def _parts(self) -> Parts:  # type: ignore[override]
        """The arrays of the present entries alone: what `save` writes, with entries numbered anew."""
        return compacted(self.state)

    def _origin(self, entry: int) -> tuple[int, list[int]]:
        """The base entry, -1 for an added one, and the added rows of an entry that are present."""
        if not 0 <= entry < self.num_entries:
            raise InputError(f"entry {entry} is not in the catalogue, expected 0 to {self.num_entries - 1}")
        base, j = self.trie.origin(entry) if isinstance(self.trie, MergedTrie) else (entry, -1)
        owner = base if j < 0 else -1 - int(self.state.entries.number[j])
        present = self.state.added_present
        return base, [row for row in self.state.added.rows_of(owner) if row < len(present) and present[row]]

    def text(self, entry: int) -> str:
        """The normalised text of an entry. Raises InputError for an entry outside the catalogue."""
        base, added = self._origin(entry)
        if added and (base < 0 or not self._base_rows(base, self.state.present)):
            return self.state.added.texts[added[0]]
        return "" if base < 0 else self.state.base.text(base)

    def _base_rows(self, base: int, among: EntrySet) -> list[int]:
        rows = [] if base < 0 else list(self.state.base.selector.rows_of_entry(base))
        return [row for row in rows if row in among]

    def _live_rows(self, entry: int) -> list[int]:
        base, added = self._origin(entry)
        num_base, paused = self.state.base.selector.num_rows, self.state.added_paused
        return [*self._base_rows(base, self.state.live), *(num_base + j for j in added if not paused[j])]

    def _id(self, row: int) -> str:
        state, num_base = self.state, self.state.base.selector.num_rows
        if row >= num_base:
            return state.added.ids[row - num_base]
        ids = state.base.parts.ids
        if ids is not None:
            return ids.text(row)
        return state.base.text(int(state.base.selector.entry_of_row(np.array([row]))[0]))

    def ids(self, entry: int, selection: Selection | None = None) -> list[str]:
        """Distinct ids of the entry's live rows, the base's first; with a selection: of the rows in it."""
        rows = self._live_rows(entry)
        if isinstance(selection, LiveSelection) and selection is not self._everything:
            rows = [row for row in rows if selection.has(row)]
        return list(dict.fromkeys(map(self._id, rows)))

    def bid(self, entry: int) -> float:
        """The highest bid of the entry's live rows; 1.0 for rows without one and without live rows."""
        return max((row.bid for row in self.rows(entry)), default=NO_BID)

    def entry_bids(self) -> NDArray[np.float64]:
        """float64[num_entries]: the highest bid of the live rows of each entry.

        Entries without a live row have the lowest bid of all, so that they raise no maximum.
        """
        every = np.arange(self.num_entries)
        found = self._highest(None).best(every, every + 1)
        lowest = found[found > -np.inf].min(initial=np.inf)
        found[found == -np.inf] = lowest if np.isfinite(lowest) else NO_BID
        return found

    @property
    def bids(self) -> Bids:  # type: ignore[override]
        """Of no use here: a version does not change. Raises InputError."""
        raise InputError("bids: those of a live catalogue are changed with LiveCatalogue.set_bid")

    def bid_bonus(self, weight: float, selection: Selection | None = None) -> Bonus:
        """weight x log(highest bid of an entry's live rows, of those of the selection).

        InputError unless the weight is a number from 0 to 1,000.
        """
        return BidBonus(self._highest(selection), weight)

    def groups(self, attribute: str, selection: Selection | None = None) -> Groups:
        """By which value of an attribute each entry is counted, as `Catalogue.groups` has it."""
        base, column = self.state.base, self.added_columns.get(attribute)
        known = column is None or attribute in base.selector.columns
        of_base = base.selector.row_groups(attribute) if known else None
        of_added = groups_of_added(of_base, column, self.state.num_added)
        none = np.full(base.selector.num_rows, -1, np.int32) if of_base is None else of_base.rows
        highest = self._highest(selection)

        def of(entries: Int64) -> Int32:
            rows = highest.best_rows(entries)
            added = rows - none.size
            found = none.take(rows, mode="clip")
            if of_added.size:
                found = np.where(added >= 0, of_added.take(added, mode="clip"), found)
            return np.where(rows >= 0, found, np.int32(-1))

        return EntryGroups(self.num_entries, of)

    def _highest(self, selection: Selection | None) -> LiveBids:
        """The highest bids, of the rows of a selection only."""
        if not isinstance(selection, LiveSelection) or selection is self._everything:
            return self._highest_of_all
        return LiveBids(self.state, selection.chosen.rows, selection.chosen.added)

    @cached_property
    def _highest_of_all(self) -> LiveBids:
        return LiveBids(self.state, self.state.live, self.state.added_live)

    def attributes(self, entry: int) -> dict[str, Any]:
        """Attributes of the live row with the highest bid (the first such); empty when it has none."""
        rows = self.rows(entry)
        return max(rows, key=lambda row: row.bid).attributes if rows else {}

    def rows(self, entry: int) -> list[Payload]:
        """All live rows of the entry, those of the base first."""
        state, num_base, found = self.state, self.state.base.selector.num_rows, []
        for row in self._live_rows(entry):
            if row >= num_base:
                (attributes,) = state.added.parsed_attributes(row - num_base, row - num_base + 1)
                bid = float(state.added_bids[row - num_base])
            else:
                attributes = state.base.row_attributes(row)
                bid = float(state.bids.values(np.array([row]))[0])
            found.append(Payload(self._id(row), bid, attributes))
        return found

    def select(
        self,
        where: str | EntrySet | None = None,
        *,
        allow_ids: Iterable[str | int] | None = None,
        deny_ids: Iterable[str | int] | None = None,
    ) -> Selection:
        """The live rows that requests may be answered with, as `Catalogue.select` has it."""
        state = self.state
        chosen, num_unknown = Chosen(state.live, state.added_live), 0
        if isinstance(where, EntrySet):
            chosen = both(chosen, self._rows_of(where))
        elif where is not None:
            chosen = both(chosen, self._rows_where(where))
        if allow_ids is not None:
            allowed, unknown = self._with_ids("allow_ids", allow_ids)
            chosen, num_unknown = both(chosen, allowed), num_unknown + unknown
        if deny_ids is not None:
            denied, unknown = self._with_ids("deny_ids", deny_ids)
            chosen = Chosen(chosen.rows - denied.rows, chosen.added & ~denied.added)
            num_unknown += unknown
        alive = state.alive if chosen.rows is state.live else state.base.selector.entries_of(chosen.rows)
        eligible = state.entries_with(alive, chosen.added)
        return LiveSelection(self.trie, state, chosen, eligible, num_unknown, self.num_live)

    @cached_property
    def added_columns(self) -> Mapping[str, Column]:
        """Attributes of the added rows by name."""
        return columns_of(self.state.added.parsed_attributes(0, self.state.num_added))

    def _rows_where(self, where: str) -> Chosen:
        columns, added = self.state.base.selector.columns, self.added_columns
        if added:
            columns = columns | {name: NO_VALUES for name in added if name not in columns}
        rows = base_rows_where(where, columns, self.state.base)
        of_added = {name: added.get(name, NO_VALUES) for name in columns}
        if not self.state.num_added:
            return Chosen(rows, np.zeros(0, np.bool_))
        return Chosen(rows, rows_where(parse(where), of_added, self.state.num_added).mask())

    def _rows_of(self, entries: EntrySet) -> Chosen:
        """All rows of entries. Raises InputError for a set over another number of entries."""
        state, mask = self.state, (EntrySet.every(self.num_entries) & entries).mask()
        at = state.entries.gaps.at + np.arange(len(state.entries))
        base = EntrySet.of_mask(np.delete(mask, at))
        has = np.zeros(len(state.entries), np.bool_)
        has[state.entries.number] = mask[at]
        owner = state.owner
        added = np.where(owner >= 0, base.contains(owner), False)
        added[owner < 0] = has[-1 - owner[owner < 0]]
        return Chosen(state.base.selector.rows_of(base), added)

    def _with_ids(self, name: str, ids: Iterable[Any]) -> tuple[Chosen, int]:
        """Live rows with one of the ids, and the number of distinct ids in no live row."""
        state, distinct, num_unknown = self.state, sorted(check_ids(name, ids)), 0
        base, added, live = list[int](), np.zeros(state.num_added, np.bool_), state.added_live
        for one, rows in zip(distinct, state.base.selector.rows_with_ids(distinct), strict=True):
            mine = [row for row in rows if row in state.live]
            others = [j for j in state.added.rows_with_id(one) if j < len(live) and live[j]]
            base += mine
            added[others] = True
            num_unknown += not (mine or others)
        return Chosen(EntrySet.of_entries(base, state.live.size), added), num_unknown


def _depth(state: State) -> int:
    return 0 if state.entries.trie is None else state.entries.trie.max_depth
