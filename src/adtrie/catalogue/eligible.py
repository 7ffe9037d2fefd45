"""The trie of a catalogue without the entries that a request may not return. Knows no rule of eligibility.

A view: it shares the arrays of the whole trie and answers as one built from the eligible entries alone would,
except that entries keep their numbers. docs/decisions/0013-eligibility-is-a-view.md says why.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.branches import LISTED_ABOVE
from adtrie.catalogue.nodes import Children
from adtrie.catalogue.ranked import Ranked, RankedTrie
from adtrie.catalogue.sequences import Int64, row_pointers
from adtrie.catalogue.trie import Trie
from adtrie.errors import InputError

_BACK = 32  # entries looked back at once


class EligibleTrie(RankedTrie):
    """`whole` without the entries outside `eligible`; `num_entries` and entry numbers stay those of `whole`.

    A node is (lo, hi, depth) of `whole` while it holds several eligible entries, and (e, e+1, depth) once
    entry e is the only one: hi - lo == 1 means one entry, here as there. Ask only about the root and nodes
    that this trie returned.
    """

    eligible: EntrySet
    _whole: Trie

    def __init__(self, whole: Trie, eligible: EntrySet) -> None:
        """Raises InputError for a set of another size, and for an empty one: there is nothing to search."""
        if isinstance(whole, EligibleTrie):
            eligible = eligible & whole.eligible
        if eligible.size != whole.num_entries:
            raise InputError(
                f"eligible entries: the set is over {eligible.size} entries, the trie has "
                f"{whole.num_entries}; make the set for this catalogue"
            )
        if not len(eligible):
            raise InputError("eligible entries: the set is empty; answer with no entry instead of searching")
        super().__init__(
            whole.edges, whole.offsets, whole.shared, whole.branches, whole.max_depth, whole.vocab_size
        )
        self.eligible = eligible
        self._whole = whole._whole if isinstance(whole, EligibleTrie) else whole

    def _children(self, lo: Int64, hi: Int64, depth: Int64) -> Children:
        fast = self._whole.fast
        if fast is None:
            return self._slow_children(lo, hi, depth)
        return fast.children(lo, hi, depth, self.eligible)

    def _slow_children(self, lo: Int64, hi: Int64, depth: Int64) -> Children:
        # Children without an eligible entry go before anything but their start is looked up.
        count, start = self._child_starts(lo, hi, depth)
        ptr = row_pointers(count)
        rank, end = self.eligible.rank(start), np.empty_like(start)
        num_eligible = np.empty_like(rank)
        end[:-1], num_eligible[:-1] = start[1:], rank[1:]
        end[ptr[1:] - 1], num_eligible[ptr[1:] - 1] = hi, self.eligible.rank(hi)
        num_eligible -= rank
        kept = num_eligible.nonzero()[0]
        ptr = kept.searchsorted(ptr)
        start, end, depth = start.take(kept), end.take(kept), depth.repeat(ptr[1:] - ptr[:-1])
        token = self._token(self._edge(start, depth))
        alone = ((num_eligible.take(kept) == 1) & (end - start > 1)).nonzero()[0]
        start[alone] = self.eligible.select(rank.take(kept.take(alone)))
        end[alone] = start[alone] + 1
        depth += 1
        is_leaf = (end - start == 1) & ((self.length(start) <= depth) | (depth >= self.max_depth))
        return Children(ptr, token, start, end, is_leaf)

    def _edge(self, entry: Int64, depth: Int64) -> Int64:
        """int64[n]: where the token at `depth` of each entry is stored; an earlier entry may hold it."""
        shared = self.shared.take(entry, mode="clip").astype(np.int64)
        edge = self._offset(entry) + depth - shared
        elsewhere = (shared > depth).nonzero()[0]
        if len(elsewhere):
            depth = depth[elsewhere]
            holder = self._holder(entry[elsewhere], depth)
            edge[elsewhere] = self._offset(holder) + depth - self.shared.take(holder, mode="clip")
        return edge

    def _holder(self, entry: Int64, depth: Int64) -> Int64:
        """int64[n]: the last entry up to each that shares at most `depth` tokens with the one before it.

        It is the first entry of the node one token deeper: listed, or at most 256 entries back unless no
        node is listed.
        """
        holder = self.branches.first_of(entry, depth + 1)
        left = (holder < 0).nonzero()[0]
        holder[left] = entry[left]  # where nothing is found: damaged arrays
        farthest = LISTED_ABOVE if len(self.branches.key) else self.num_entries
        for back in range(0, farthest, _BACK):
            if not len(left):
                break
            before = entry[left, None] - np.arange(back, back + _BACK)
            holds = self.shared.take(before, mode="clip") <= depth[left, None]
            nearest = holds.argmax(axis=1)
            found = holds[np.arange(len(left)), nearest]
            holder[left[found]] = before[found, nearest[found]]
            left = left[~found]
        return holder

    @cached_property
    def ranked(self) -> Ranked:  # type: ignore[override]
        """Made on first use, in one pass over the shared lengths of all entries."""
        entry = self.eligible.members()
        shared = np.zeros(len(entry), np.uint8)
        # What two entries share is the least that any entry after the first shares with the one before it.
        shared[1:] = np.minimum.reduceat(self.shared[: entry[-1] + 1], entry[:-1] + 1)
        return Ranked.of(self.length(entry), shared)

    def rank(self, position: Int64) -> Int64:
        """Eligible entries before each position, int64 of the same shape."""
        return self.eligible.rank(position)

    def entry_at(self, rank: int) -> int:
        """The eligible entry with `rank` of them before it."""
        return int(self.eligible.select(rank))
