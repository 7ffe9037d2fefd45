"""The best k entries of those finished so far, at most so many of each group. Knows no trie and no forward.

Groups are disjoint, so that going down the list and skipping full groups gives the best set: the sets allowed
are the independent sets of a matroid, for which the greedy set has, place by place, the best scores. It is
also all that must be kept: what is left out loses to entries of its own group, or to k others, for good.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.groups import Groups
from adtrie.errors import InputError
from adtrie.search.rank import best

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]


_LOOKED_AT = 1_000  # entries that mostly show that there are enough groups


@dataclass(frozen=True, eq=False)
class Caps:
    """At most `at_most` answers of each group; groups int32[N] by entry, -1: in none, not limited."""

    groups: Groups
    at_most: int

    def num_possible(self, wanted: int, among: EntrySet | None = None) -> int:
        """How many entries (of `among`, by default of all) can be returned together, at most `wanted`."""
        size = self.groups.size if among is None else len(among)
        for count in (_LOOKED_AT, size):
            entries = np.arange(min(count, size))
            if among is not None:
                entries = among.select(entries)
            some = min(self._num_allowed(self.groups[entries]), wanted)
            if some == wanted:
                break
        return some

    def _num_allowed(self, groups: NDArray[np.int32]) -> int:
        limited = groups[groups >= 0]
        sizes = np.bincount(limited) if limited.size else limited
        return int(groups.size - limited.size + np.minimum(sizes, self.at_most).sum())


class Finished:
    """The k best (entries int64[n], totals float64[n], best first) under `caps`, of all that were added."""

    def __init__(self, k: int, caps: Caps | None) -> None:
        self.k, self.caps = k, caps
        self.entries: Int64 = np.zeros(0, np.int64)
        self.totals: Float64 = np.zeros(0)

    @property
    def full(self) -> bool:
        """Whether k entries are there."""
        return bool(self.entries.size == self.k)

    def add(self, entries: Int64, totals: Float64) -> None:
        """Takes in finished entries, each once."""
        entries = np.concatenate((self.entries, entries))
        totals = np.concatenate((self.totals, totals))
        order = best(totals, entries, self.k if self.caps is None else entries.size)
        if self.caps is not None:
            order = order[self._allowed(entries[order])][: self.k]
        self.entries, self.totals = entries[order], totals[order]

    def _allowed(self, entries: Int64) -> NDArray[np.bool_]:
        """Which of `entries`, best first, are among the first `at_most` of their group."""
        assert self.caps is not None
        groups = self.caps.groups[entries]
        order = groups.argsort(kind="stable")
        sorted_groups = groups[order]
        place = np.arange(groups.size) - sorted_groups.searchsorted(sorted_groups)
        allowed = np.empty(groups.size, np.bool_)
        allowed[order] = (place < self.caps.at_most) | (sorted_groups < 0)
        return allowed

    def may_enter(self, bounds: Float64, lo: Int64, hi: Int64) -> NDArray[np.bool_]:
        """Which ranges [lo, hi) of entries with totals of at most `bounds` may hold one of the k best.

        An equal total is better where the entry is lower.
        """
        hopeful = np.ones(bounds.size, np.bool_)
        if self.full:
            hopeful = _beats(bounds, lo, self.totals[-1], self.entries[-1])
        if self.caps is not None:
            hopeful &= self._group_has_room(bounds, lo, hi)
        return hopeful

    def _group_has_room(self, bounds: Float64, lo: Int64, hi: Int64) -> NDArray[np.bool_]:
        """False for a single entry whose group is full of better ones; larger ranges are not looked into."""
        assert self.caps is not None
        room = np.ones(bounds.size, np.bool_)
        held = self.caps.groups[self.entries]
        alone = np.flatnonzero(hi - lo == 1)
        group = np.full(bounds.size, -1, np.int32)
        group[alone] = self.caps.groups[lo[alone]]
        for full in set(held[held >= 0].tolist()):
            places = np.flatnonzero(held == full)
            if places.size < self.caps.at_most:
                continue
            last = places[-1]
            same = group == full
            room[same] = _beats(bounds[same], lo[same], self.totals[last], self.entries[last])
        return room


def _beats(totals: Float64, entries: Int64, total: np.float64, entry: np.int64) -> NDArray[np.bool_]:
    """Which (total, entry) come before the given one in the order of all searches."""
    return np.asarray((totals > total) | ((totals == total) & (entries < entry)))


def check_caps(caps: object, num_entries: int) -> Caps | None:
    """`caps`; InputError unless it is None or a Caps with a group for each entry of the catalogue."""
    if caps is None:
        return None
    if not isinstance(caps, Caps):
        raise InputError(f"caps: expected adtrie.Caps or None, got {type(caps).__name__}")
    if caps.groups.size != num_entries or caps.at_most < 1:
        raise InputError(
            f"caps: expected at least 1 of each group and {num_entries} groups, as entries in the catalogue, "
            f"got {caps.at_most} of {caps.groups.size}"
        )
    return caps
