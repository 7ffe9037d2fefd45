"""The next version while changes are made to it. Knows no log; every change it is given is applied.

Only one draft of a version may be frozen: drafts add to what versions share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from adtrie.catalogue.build import NO_BID
from adtrie.catalogue.columns import columns_of
from adtrie.catalogue.filter_syntax import parse
from adtrie.catalogue.filters import rows_where
from adtrie.catalogue.range_max import MaxVersion
from adtrie.catalogue.trie import MAX_DEPTH
from adtrie.errors import FormatError
from adtrie.live.changes import Add, Change, NewRow, Pause, Remove, Resume, SetBid
from adtrie.live.state import Lenient, Mask, Pausing, State, live_rows, live_without


@dataclass
class Counts:
    """What changes did, in rows; `unknown` ids that no row had, and filters that were not paused."""

    added: int = 0
    replaced: int = 0
    removed: int = 0
    bids: int = 0
    paused: int = 0
    resumed: int = 0
    unknown: int = 0


class Draft:
    """Takes changes to `state`, one after the other; `freeze` gives the version they make."""

    def __init__(self, state: State) -> None:
        self._state, self._base, self._added = state, state.base, state.added
        self._removed: dict[int, None] = {}
        self._bids: dict[int, float] = {}
        self._pauses = list(state.pauses)
        self._num_added = state.num_added
        self._present, self._added_bids = state.added_present, state.added_bids  # copied before they change
        self.counts = Counts()

    def apply(self, changes: Sequence[Change]) -> None:
        """Makes the changes in order. Raises FormatError for rows that no catalogue could have written."""
        self._reserve(sum(len(change.rows) for change in changes if isinstance(change, Add)))
        for change in changes:
            match change:
                case Add(rows):
                    for row in rows:
                        self._add(row)
                case Remove(ids):
                    self.counts.removed += sum(map(self._remove, self._with_ids(ids)))
                case SetBid(ids, bids):
                    for rows_of_one, bid in zip(self._with_ids(ids), bids, strict=True):
                        self._set_bids(rows_of_one, bid)
                case Pause(where):
                    if all(one.where != where for one in self._pauses):
                        self._pauses.append(Pausing.of(where, self._base))
                        self.counts.paused += 1
                case Resume(where):
                    kept = [one for one in self._pauses if one.where != where]
                    self.counts.resumed += len(self._pauses) - len(kept)
                    self.counts.unknown += len(self._pauses) == len(kept)
                    self._pauses = kept

    def _reserve(self, num_rows: int) -> None:
        """Room for added rows, not present yet."""
        if num_rows:
            self._present = np.concatenate([self._present[: self._num_added], np.zeros(num_rows, np.bool_)])
            room = np.full(num_rows, NO_BID)
            self._added_bids = np.concatenate([self._added_bids[: self._num_added], room])

    def _with_ids(self, ids: Sequence[str]) -> list[list[int]]:
        """The present rows with each id; ids without any are counted."""
        num_base = self._base.selector.num_rows
        found = []
        for one, of_base in zip(ids, self._base.selector.rows_with_ids(ids), strict=True):
            rows = [row for row in of_base if self._is_present(row)]
            rows += [num_base + j for j in self._added.rows_with_id(one) if self._present[j]]
            self.counts.unknown += not rows
            found.append(rows)
        return found

    def _is_present(self, row: int) -> bool:
        num_base = self._base.selector.num_rows
        if row >= num_base:
            return bool(self._present[row - num_base])
        return row not in self._removed and row in self._state.present

    def _remove(self, rows: list[int]) -> int:
        """Takes out those of `rows` that are present; how many."""
        num_base, num_removed = self._base.selector.num_rows, 0
        for row in rows:
            if not self._is_present(row):
                continue
            num_removed += 1
            if row < num_base:
                self._removed[row] = None
            else:
                if self._present is self._state.added_present:
                    self._present = self._present.copy()
                self._present[row - num_base] = False
        return num_removed

    def _set_bids(self, rows: list[int], bid: float) -> None:
        num_base = self._base.selector.num_rows
        self.counts.bids += len(rows)
        if self._added_bids is self._state.added_bids:
            self._added_bids = self._added_bids.copy()
        for row in rows:
            if row < num_base:
                self._bids[row] = bid
            else:
                self._added_bids[row - num_base] = bid

    def _add(self, row: NewRow) -> None:
        tokens = np.array(row.tokens, np.int32)
        info = self._base.info
        ends = np.flatnonzero(tokens == info.end_token)
        sound = 2 <= len(tokens) <= MAX_DEPTH and ends.tolist() == [len(tokens) - 1]
        if not sound or int(tokens.max()) >= info.vocab_size:
            raise FormatError(f"row {row.id!r:.60}: its tokens are not of this catalogue's tokenizer")
        owner = self._added.owner_of(tokens)
        same = [j for j in self._added.rows_of(owner) if self._present[j] and self._added.ids[j] == row.id]
        num_base = self._base.selector.num_rows
        replaced = [num_base + j for j in same]
        if owner >= 0:
            replaced += [
                r for r in self._base.selector.rows_of_entry(owner) if self._id_of(r, owner) == row.id
            ]
        num_replaced = self._remove(replaced)
        self.counts.replaced += num_replaced > 0
        self.counts.added += num_replaced == 0
        number = self._added.append(row, owner)
        self._present[number] = True
        self._added_bids[number] = row.bid
        self._num_added = number + 1

    def _id_of(self, row: int, entry: int) -> str:
        ids = self._base.parts.ids
        return self._base.text(entry) if ids is None else ids.text(row)

    def freeze(self, number: int) -> State:
        """The version; the draft is of no use afterwards."""
        state = self._state
        present, pauses = state.present, tuple(self._pauses)
        live, alive, removed = state.live, state.alive, np.array(list(self._removed), np.int64)
        if len(removed):
            present = present.dropping(removed)
        if pauses != state.pauses:
            live, alive = live_rows(state, present, pauses)
        elif len(removed):
            live, alive = live_without(state, present, removed)
        return replace(
            state,
            number=number,
            present=present,
            live=live,
            alive=alive,
            pauses=pauses,
            bids=self._bids_of_base(),
            entries=self._added.freeze(),
            added_present=self._present,
            added_paused=self._paused(pauses),
            added_bids=self._added_bids,
        )

    def _bids_of_base(self) -> MaxVersion:
        changed = self._bids | dict.fromkeys(self._removed, -np.inf)
        if not changed:
            return self._state.bids
        return self._state.bids.set(np.array(list(changed)), np.array(list(changed.values()), np.float64))

    def _paused(self, pauses: tuple[Pausing, ...]) -> Mask:
        """bool[A]: the added rows that a pause takes out; all are asked when the pauses changed."""
        before = self._state.added_paused
        if pauses != self._state.pauses:
            before = before[:0]
        first, end = len(before), self._num_added
        if first == end:
            return before
        paused = np.zeros(end - first, np.bool_)
        if pauses:
            columns = Lenient(columns_of(self._added.parsed_attributes(first, end)))
            for one in pauses:
                paused |= rows_where(parse(one.where), columns, end - first).mask()
        return np.concatenate([before, paused])
