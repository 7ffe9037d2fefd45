"""Which rows of a version may be returned, and the trie of their entries. Knows no change and no bid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from adtrie.catalogue import EligibleTrie, EntrySet, Selection, Trie
from adtrie.catalogue.merged import MergedTrie
from adtrie.errors import InputError
from adtrie.live.state import Mask, State


@dataclass(frozen=True, eq=False)
class Chosen:
    """Some live rows: of the base, and bool[A] of the added ones."""

    rows: EntrySet
    added: Mask


class LiveSelection(Selection):
    """The rows of a version that may be returned, as `Selection` has them; `chosen` by base and added."""

    def __init__(
        self,
        whole: Trie,
        state: State,
        chosen: Chosen,
        alive: tuple[EntrySet, Mask],
        num_unknown_ids: int = 0,
        num_live: int | None = None,
    ) -> None:
        """`num_live`: entries of `whole` that are live; by default as many as this selection has."""
        self.whole = whole
        self.num_unknown_ids = num_unknown_ids
        self._state, self.chosen = state, chosen
        self._alive, self._added_alive = alive
        self._num_live = len(self) if num_live is None else num_live

    def __len__(self) -> int:
        """Number of eligible entries."""
        return len(self._alive) + int(np.count_nonzero(self._added_alive))

    def has(self, row: int) -> bool:
        """Whether a row is in it."""
        num_base = self.chosen.rows.size
        if row >= num_base:
            return bool(self.chosen.added[row - num_base])
        return row in self.chosen.rows

    @cached_property
    def rows(self) -> EntrySet:  # type: ignore[override]
        """The rows, those of the base before the added ones."""
        return EntrySet.of_mask(np.concatenate([self.chosen.rows.mask(), self.chosen.added]))

    @cached_property
    def entries(self) -> EntrySet:  # type: ignore[override]
        """The eligible entries."""
        if not len(self._added_alive):
            return self._alive
        return EntrySet.of_mask(np.insert(self._alive.mask(), self._state.entries.gaps.at, self._added_alive))

    @cached_property
    def trie(self) -> Trie:
        """What to search. Raises InputError when no entry is eligible."""
        if not len(self):
            raise InputError("selection: no entry is eligible; answer with none instead of searching")
        if len(self) == self._num_live:
            return self.whole
        return trie_of(self._state, self._alive, self._added_alive)


def both(one: Chosen, other: Chosen) -> Chosen:
    """The rows in both."""
    return Chosen(one.rows & other.rows, one.added & other.added)


def trie_of(state: State, alive: EntrySet, added_alive: Mask) -> Trie:
    """The trie of some entries of a state, that of the whole base when there is none."""
    base = state.base.trie
    if state.entries.trie is not None:
        added = EntrySet.of_mask(added_alive)
        return MergedTrie(base, alive, state.entries.trie, added, state.entries.gaps)
    return base if len(alive) in (0, base.num_entries) else EligibleTrie(base, alive)
