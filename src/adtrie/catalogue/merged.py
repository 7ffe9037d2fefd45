"""Two tries over different sequences as one: those of a catalogue, and those added to it since it was built.

A view, like `EligibleTrie`: it shares the arrays of both and answers as a trie built from the live entries of
both would. Entries are numbered in their common order, those that no longer count included.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.eligible import EligibleTrie
from adtrie.catalogue.nodes import Children, Int32
from adtrie.catalogue.ranked import Ranked, RankedTrie
from adtrie.catalogue.sequences import Int64, range_indices, row_pointers
from adtrie.catalogue.trie import Trie


@dataclass(frozen=True)
class Gaps:
    """Where D added sequences, in order, lie among the N of a trie.

    at int64[D], ascending: the first entry of the trie that follows each; before, after uint8[D]: tokens each
    shares with the entries at[j] - 1 and at[j], 0 where there is none.
    """

    at: Int64
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]


class _Side:
    """One of the two tries and its entries that count; `view` is None when none does."""

    def __init__(self, whole: Trie, live: EntrySet) -> None:
        self.whole = whole
        self.live = None if len(live) == whole.num_entries else live
        self.view: Trie | None = None
        if len(live):
            self.view = whole if self.live is None else EligibleTrie(whole, live)

    def rank(self, entry: Int64) -> Int64:
        """Entries that count before each."""
        return entry if self.live is None else self.live.rank(entry)

    def members(self) -> Int64:
        """The entries that count, ascending."""
        return np.arange(self.whole.num_entries) if self.live is None else self.live.members()

    def nodes(self, lo: Int64, hi: Int64) -> tuple[Int64, Int64, Int64]:
        """Which intervals hold an entry that counts, and their bounds as the view wants them."""
        if self.live is None:
            kept = (hi > lo).nonzero()[0]
            return kept, lo[kept], hi[kept]
        rank = self.live.rank(lo)
        count = self.live.rank(hi) - rank
        kept = count.nonzero()[0]
        lo, hi = lo[kept], hi[kept]
        alone = ((count[kept] == 1) & (hi - lo > 1)).nonzero()[0]
        lo[alone] = self.live.select(rank[kept[alone]])
        hi[alone] = lo[alone] + 1
        return kept, lo, hi

    @property
    def ranked(self) -> Ranked:
        """Lengths and shared tokens of the entries that count; at least one must."""
        if isinstance(self.view, EligibleTrie):
            return self.view.ranked
        return Ranked.of(self.whole.length(np.arange(self.whole.num_entries)), self.whole.shared)


class MergedTrie(RankedTrie):
    """`base` and `added` as one trie of their entries in `base_live` and `added_live`, at least one in all.

    Entry numbers run over both: entry b of base is b + (added sequences before it), entry j of added is
    gaps.at[j] + j. A node is (lo, hi, depth) over these numbers, (e, e+1, depth) once entry e is its only one
    that counts. Ask only about the root and nodes that this trie returned.
    """

    def __init__(
        self, base: Trie, base_live: EntrySet, added: Trie, added_live: EntrySet, gaps: Gaps
    ) -> None:
        self._base, self._added = _Side(base, base_live), _Side(added, added_live)
        self._gaps = gaps
        self._added_at = gaps.at + np.arange(len(gaps.at))
        self.num_entries = base.num_entries + added.num_entries
        self.max_depth = max(base.max_depth, added.max_depth)
        self.vocab_size = max(base.vocab_size, added.vocab_size)
        self._root: Children | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes of all arrays kept."""
        gaps = self._gaps.at.nbytes + self._gaps.before.nbytes + self._gaps.after.nbytes
        return self._base.whole.num_bytes + self._added.whole.num_bytes + gaps + self._added_at.nbytes

    def number_of_base(self, entry: Int64) -> Int64:
        """The numbers here of entries of base."""
        return entry + self._gaps.at.searchsorted(entry, side="right")

    def origin(self, entry: int) -> tuple[int, int]:
        """(-1, j) for entry j of added, (b, -1) for entry b of base."""
        before = int(self._added_at.searchsorted(entry))
        if before < len(self._added_at) and int(self._added_at[before]) == entry:
            return -1, before
        return entry - before, -1

    def length(self, entry: Any) -> Int64:
        """Number of tokens of each entry, end token included: int64 of the same shape."""
        entry = np.asarray(entry, dtype=np.int64)
        before = self._added_at.searchsorted(entry)
        is_added = self._added_at.take(before, mode="clip") == entry
        base = self._base.whole.length(np.minimum(entry - before, self._base.whole.num_entries - 1))
        added = self._added.whole.length(np.minimum(before, self._added.whole.num_entries - 1))
        return np.where(is_added, added, base)

    def tokens(self, entry: int) -> Int32:
        """int32[length]: the whole sequence of one entry, end token included."""
        base, added = self.origin(entry)
        return self._base.whole.tokens(base) if added < 0 else self._added.whole.tokens(added)

    def _children(self, lo: Int64, hi: Int64, depth: Int64) -> Children:
        base, added = self._base.whole.fast, self._added.whole.fast
        if base is None or added is None:
            return self._slow_children(lo, hi, depth)
        gaps = self._gaps.at, self._added_at
        return base.merged_children(self._base.live, added, self._added.live, gaps, (lo, hi, depth))

    def _slow_children(self, lo: Int64, hi: Int64, depth: Int64) -> Children:
        added_lo, added_hi = self._added_at.searchsorted(lo), self._added_at.searchsorted(hi)
        base_lo, base_hi = lo - added_lo, hi - added_hi
        base = self._base.view
        if base is not None and np.array_equal(added_lo, added_hi):  # nothing was added below
            below = base.children(base_lo, base_hi, depth)
            shift = added_lo.repeat(np.diff(below.ptr))
            return Children(below.ptr, below.tokens, below.lo + shift, below.hi + shift, below.is_leaf)
        owner, below = _below(self._base, base_lo, base_hi, depth)
        owner_added, below_added = _below(self._added, added_lo, added_hi, depth)
        positions = self.number_of_base(below.lo), self.number_of_base(below.hi - 1) + 1
        positions_added = self._added_at[below_added.lo], self._added_at[below_added.hi - 1] + 1
        key = owner * self.vocab_size + below.tokens
        key_added = owner_added * self.vocab_size + below_added.tokens
        at = key.searchsorted(key_added)
        both = key.take(at, mode="clip") == key_added if len(key) else np.zeros(len(at), np.bool_)
        same, only = at[both], at[~both]
        first, last = positions
        first[same] = np.minimum(first[same], positions_added[0][both])
        last[same] = np.maximum(last[same], positions_added[1][both])
        is_leaf = below.is_leaf.copy()
        is_leaf[same] = depth[owner_added[both]] + 1 >= self.max_depth  # only in damaged arrays
        count = np.bincount(owner, minlength=len(lo)) + np.bincount(owner_added[~both], minlength=len(lo))
        return Children(
            row_pointers(count),
            np.insert(below.tokens, only, below_added.tokens[~both]),
            np.insert(first, only, positions_added[0][~both]),
            np.insert(last, only, positions_added[1][~both]),
            np.insert(is_leaf, only, below_added.is_leaf[~both]),
        )

    def rank(self, position: Int64) -> Int64:
        """Entries that count before each position, int64 of the same shape."""
        before = self._added_at.searchsorted(position)
        return self._base.rank(position - before) + self._added.rank(before)

    def entry_at(self, rank: int) -> int:
        """The entry that counts with `rank` of them before it."""
        members = self._added.members()
        ranks = self._base.rank(self._gaps.at[members]) + np.arange(len(members))
        before = int(ranks.searchsorted(rank))
        if before < len(ranks) and int(ranks[before]) == rank:
            return int(self._added_at[members[before]])
        entry = rank - before
        if self._base.live is not None:
            entry = int(self._base.live.select(entry))
        return int(self.number_of_base(np.array(entry)))

    @cached_property
    def ranked(self) -> Ranked:  # type: ignore[override]
        """Made on first use, in one pass over the shared lengths of all entries."""
        sides = [side for side in (self._base, self._added) if side.view is not None]
        if len(sides) == 1:
            return sides[0].ranked
        base, added = self._base.ranked, self._added.ranked
        entry = self._added.members()
        at = self._gaps.at[entry]
        rank = self._base.rank(at)
        opens = np.diff(rank, prepend=-1) != 0  # the first added entry between two neighbours of base
        closes = np.append(opens[1:], True)
        shared = np.insert(base.shared, rank, added.shared)
        where = rank + np.arange(len(rank))
        shared[where[opens]] = self._shared_before(entry[opens], rank[opens])
        closes &= rank < len(base.length)
        shared[where[closes] + 1] = self._shared_after(entry[closes], rank[closes])
        return Ranked.of(np.insert(base.length, rank, added.length), shared)

    def _shared_before(self, entry: Int64, rank: Int64) -> NDArray[np.uint8]:
        """Tokens that added entries share with the entry of base that counts before them, 0 if none does."""
        before = self._gaps.before[entry]
        if self._base.live is not None:
            previous = self._base.live.select(rank - 1)
            least = _least(self._base.whole.shared, previous + 1, self._gaps.at[entry])
            before = np.where(rank > 0, np.minimum(before, least), np.uint8(0))
        return before

    def _shared_after(self, entry: Int64, rank: Int64) -> NDArray[np.uint8]:
        """Tokens that added entries share with the entry of base that counts after them; there is one."""
        after = self._gaps.after[entry]
        if self._base.live is not None:
            following = self._base.live.select(rank)
            after = np.minimum(
                after, _least(self._base.whole.shared, self._gaps.at[entry] + 1, following + 1)
            )
        return after


def _below(side: _Side, lo: Int64, hi: Int64, depth: Int64) -> tuple[Int64, Children]:
    """Children on one side of the nodes that have any there, and the node each belongs to."""
    node, lo, hi = side.nodes(lo, hi)
    if side.view is None or not len(node):
        empty = np.zeros(0, np.int64)
        return empty, Children(
            np.zeros(1, np.int64), empty.astype(np.int32), empty, empty, empty.astype(bool)
        )
    below = side.view.children(lo, hi, depth[node])
    return node.repeat(np.diff(below.ptr)), below


def _least(shared: NDArray[np.uint8], lo: Int64, hi: Int64) -> NDArray[np.uint8]:
    """uint8[n]: the least of shared[lo:hi] of each range, 255 for an empty one."""
    least = np.full(len(lo), 255, np.uint8)
    some = (hi > lo).nonzero()[0]
    if len(some):
        size = (hi - lo)[some]
        values = shared.take(range_indices(lo[some], size))
        least[some] = np.minimum.reduceat(values, np.cumsum(size) - size)
    return least
