"""The implicit radix trie: sorted token sequences, each stored without what it shares with the one before.

A node is (lo, hi, depth): the entries in [lo, hi) share their first `depth` tokens. Knows no model or text.
Lookups are clipped: damaged arrays (an unverified snapshot) give wrong children, no crash, no endless depth.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.branches import LISTED_ABOVE, BranchTable
from adtrie.catalogue.fast import FastTrie
from adtrie.catalogue.nodes import Children, Int32, Remaining, Subtree, join_levels, node_arrays
from adtrie.catalogue.sequences import (
    Int64,
    common_prefixes,
    gather_ranges,
    narrow_tokens,
    range_indices,
    row_pointers,
    sort_sequences,
)
from adtrie.errors import CatalogueError

MAX_DEPTH = 255  # shared-prefix lengths are kept in one byte


class Trie:
    """Immutable trie over `num_entries` sorted sequences, none a prefix of another; entry e < num_entries.

    edges uint16|uint32[E]: one token per trie edge, entry after entry; offsets uint32[N+1] into it;
    shared uint8[N]: tokens entry e shares with entry e-1, which are therefore not stored again;
    branches: child lists of the nodes with many entries, of all of them or of none.
    """

    def __init__(
        self,
        edges: NDArray[Any],
        offsets: NDArray[np.uint32],
        shared: NDArray[np.uint8],
        branches: BranchTable,
        max_depth: int,
        vocab_size: int,
    ) -> None:
        self.edges = edges
        self.offsets = offsets
        self.shared = shared
        self.branches = branches
        self.num_entries = len(shared)
        self.max_depth = max_depth
        self.vocab_size = vocab_size
        self._root: Children | None = None

    @classmethod
    def from_sequences(
        cls, tokens: NDArray[Any], offsets: Int64, vocab_size: int | None = None
    ) -> tuple[Trie, Int64]:
        """The trie of the N sequences tokens[offsets[i]:offsets[i+1]], and order int64[N]: entry -> sequence.

        Raises CatalogueError if there is none, or one is empty, over 255 tokens, repeated or a prefix.
        """
        _check_lengths(np.diff(offsets))
        narrow = narrow_tokens(tokens, vocab_size)
        order = sort_sequences(narrow, offsets)
        lengths = np.diff(offsets)[order]
        shared = common_prefixes(narrow, offsets[:-1][order], lengths)
        return cls.from_sorted(narrow, offsets[:-1][order], lengths, shared, vocab_size), order

    @classmethod
    def from_sorted(
        cls, tokens: NDArray[Any], starts: Int64, lengths: Int64, shared: Int64, vocab_size: int | None = None
    ) -> Trie:
        """The trie of sorted sequences tokens[starts[e] : starts[e]+lengths[e]], common prefixes known."""
        _check_lengths(lengths)
        if np.any(shared >= lengths) or np.any(shared[1:] >= lengths[:-1]):
            raise CatalogueError(
                "trie: a sequence repeats or is a prefix of another; merge duplicates, add an end token"
            )
        own = lengths - shared
        if int(own.sum()) >= 1 << 32:
            raise CatalogueError("trie: 2^32 edges or more, expected fewer; split the catalogue")
        edges = gather_ranges(tokens, starts + shared, own)
        offsets = np.zeros(len(starts) + 1, dtype=np.uint32)
        offsets[1:] = np.cumsum(own)
        shared_bytes = shared.astype(np.uint8)
        branches = BranchTable.build(shared_bytes, lengths)
        return cls(
            edges, offsets, shared_bytes, branches, int(lengths.max()), vocab_size or int(edges.max()) + 1
        )

    @property
    def num_bytes(self) -> int:
        """Bytes of all arrays kept."""
        return self.edges.nbytes + self.offsets.nbytes + self.shared.nbytes + self.branches.num_bytes

    def length(self, entry: Any) -> Int64:
        """Number of tokens of each entry, end token included: int64 of the same shape."""
        entry = np.asarray(entry, dtype=np.int64)
        own = self._offset(entry + 1) - self._offset(entry)
        length: Int64 = np.minimum(np.maximum(own + self.shared.take(entry, mode="clip"), 1), self.max_depth)
        return length

    def _offset(self, entry: Int64) -> Int64:
        return self.offsets.take(entry, mode="clip").astype(np.int64)

    def _token(self, edge: Int64) -> Int32:
        token = self.edges.take(edge, mode="clip").astype(np.int32)
        return np.minimum(token, self.vocab_size - 1, out=token)

    def children(self, lo: Any, hi: Any, depth: Any) -> Children:
        """Children of n nodes (lo, hi int64[n], depth int32[n]); a child has depth+1."""
        lo, hi, depth = node_arrays(lo, hi, depth)
        if len(lo) == 1 and hi[0] - lo[0] == self.num_entries and depth[0] == 0:
            if self._root is None:
                self._root = self._children(lo, hi, depth)
            return self._root
        return self._children(lo, hi, depth)

    @cached_property
    def fast(self) -> FastTrie | None:
        """The native twin of `children`, None where it was not built."""
        if not FastTrie.is_built():
            return None
        arrays = self.edges, self.offsets, self.shared, self.branches
        return FastTrie(*arrays, self.max_depth, self.vocab_size)

    def _children(self, lo: Int64, hi: Int64, depth: Int64) -> Children:
        fast = self.fast
        return self._slow_children(lo, hi, depth) if fast is None else fast.children(lo, hi, depth)

    def _slow_children(self, lo: Int64, hi: Int64, depth: Int64) -> Children:
        # Called for every beam step: array methods instead of numpy functions save a third of its time.
        count, start = self._child_starts(lo, hi, depth)
        ptr = row_pointers(count)
        first, last = ptr[:-1], ptr[1:]
        end = np.empty_like(start)
        end[:-1] = start[1:]
        end[last - 1] = hi
        shared = self.shared.take(start, mode="clip")
        offset = self._offset(start)
        length = self._offset(start + 1) - offset + shared
        # A later child stores its own token first; the first child's lies behind its parent's tokens.
        offset[first] += depth - shared[first]
        child_depth = (depth + 1).repeat(count)
        is_leaf = (end - start == 1) & (length <= child_depth)
        is_leaf |= child_depth >= self.max_depth
        return Children(ptr, self._token(offset), start, end, is_leaf)

    def _child_starts(self, lo: Int64, hi: Int64, depth: Int64) -> tuple[Int64, Int64]:
        """Counts of children and the first entry of each: big nodes are looked up, small ones scanned."""
        size = hi - lo
        big = size > LISTED_ABOVE
        where = big.nonzero()[0]
        if not len(where):
            return self._scan(lo, size, depth)
        slot = self.branches.find(lo[where], hi[where], depth[where])
        if slot.min() < 0:  # no such node in a sound trie
            return self._scan(lo, size, depth)
        count_big, start_big = self.branches.starts(slot)
        if len(where) == len(lo):
            return count_big, start_big
        small = (~big).nonzero()[0]
        count_small, start_small = self._scan(lo[small], size[small], depth[small])
        count = np.empty(len(lo), dtype=np.int64)
        count[where], count[small] = count_big, count_small
        from_table = big.repeat(count)
        start = np.empty(len(from_table), dtype=np.int64)
        start[from_table], start[~from_table] = start_big, start_small
        return count, start

    def _scan(self, lo: Int64, size: Int64, depth: Int64) -> tuple[Int64, Int64]:
        """A child starts at lo and wherever an entry shares exactly `depth` tokens with the one before."""
        ptr = row_pointers(size)
        entry = range_indices(lo, size)
        is_start = self.shared.take(entry, mode="clip") == depth.astype(np.uint8).repeat(size)
        is_start[ptr[:-1]] = True
        position = is_start.nonzero()[0]
        bound = position.searchsorted(ptr)
        return bound[1:] - bound[:-1], entry.take(position)

    def tokens(self, entry: int) -> Int32:
        """int32[length]: the whole sequence of one entry, end token included."""
        length = int(self.length(entry))
        out = np.zeros(length, dtype=np.int32)
        missing, at = length, entry
        while missing > 0:
            known = min(int(self.shared[at]), missing) if at else 0  # damage must not loop at entry 0
            first = int(self.offsets[at])
            out[known:missing] = self._token(np.arange(first, first + missing - known))
            missing = known
            if missing:
                at = self._last_below(at, missing)
        return out

    def _last_below(self, entry: int, depth: int) -> int:
        """The last entry before `entry` that shares fewer than `depth` tokens with the one before, else 0."""
        block = 64
        while entry > 0:
            first = max(0, entry - block)
            found = np.flatnonzero(self.shared[first:entry] < depth)
            if len(found):
                return first + int(found[-1])
            entry, block = first, block * 4
        return 0

    def num_rows(self, lo: Any, hi: Any, depth: Any) -> Int64:
        """int64[n]: non-leaf nodes strictly below each node: the rows needed to score its whole subtree."""
        lo, hi, depth = node_arrays(lo, hi, depth)
        own_after_first = self._offset(hi) - self._offset(lo + 1) - (hi - lo - 1)
        count: Int64 = np.maximum(own_after_first + self.length(lo) - 1 - depth, 0)
        return count

    def subtree(self, lo: Any, hi: Any, depth: Any, max_rows: int) -> Subtree | None:
        """All non-leaf nodes strictly below the given nodes; None when they are more than `max_rows`."""
        lo, hi, depth = node_arrays(lo, hi, depth)
        if int(self.num_rows(lo, hi, depth).sum()) > max_rows:
            return None
        below = self.children(lo, hi, depth)
        parent = -1 - np.repeat(np.arange(len(lo)), np.diff(below.ptr))
        levels: list[tuple[Int32, Int64, Int64, Int64, Int64]] = []
        found: list[Children] = []
        num_rows = 0
        while True:
            child_depth = np.repeat(depth + 1, np.diff(below.ptr))
            inner = np.flatnonzero(~below.is_leaf)
            if not len(inner):
                break
            lo, hi, depth = below.lo[inner], below.hi[inner], child_depth[inner]
            levels.append((below.tokens[inner], parent[inner], lo, hi, depth))
            below = self.children(lo, hi, depth)
            found.append(below)
            parent = np.repeat(np.arange(num_rows, num_rows + len(lo)), np.diff(below.ptr))
            num_rows += len(lo)
            if num_rows > max_rows:  # only a damaged trie holds more rows than num_rows counts
                return None
        return join_levels(levels, found)

    def chain(self, lo: Any, hi: Any, depth: Any) -> tuple[Int64, Int32]:
        """CSR (ptr int64[n+1], tokens int32): tokens all entries of each node share beyond its depth.

        A node of one entry: all its remaining tokens, the last is the leaf; else each is an inner node.
        """
        lo, hi, depth = node_arrays(lo, hi, depth)
        common = self.length(lo)
        more = hi - lo - 1  # entries after the first
        small = ((more > 0) & (more <= LISTED_ABOVE)).nonzero()[0]
        if len(small):
            entry = range_indices(lo[small] + 1, more[small])
            begin = row_pointers(more[small])[:-1]
            common[small] = np.minimum.reduceat(self.shared.take(entry, mode="clip"), begin)
        for i in (more > LISTED_ABOVE).nonzero()[0]:
            common[i] = self.shared[lo[i] + 1 : hi[i]].min()
        count = np.clip(common - depth, 0, self.max_depth)
        first = np.maximum(self._offset(lo) + depth - self.shared.take(lo), 0)
        return row_pointers(count), self._token(range_indices(first, count))

    def remaining(self, lo: Any, hi: Any, depth: Any) -> Remaining:
        """Longest and mean number of tokens from each node to the ends of its entries."""
        lo, hi, depth = node_arrays(lo, hi, depth)
        slot = self.branches.find(lo, hi, depth)
        longest, mean = np.empty(len(lo), dtype=np.int64), np.empty(len(lo), dtype=np.float64)
        listed = slot >= 0
        longest[listed] = self.branches.longest[slot[listed]]
        mean[listed] = self.branches.mean[slot[listed]]
        rest = np.flatnonzero(~listed)
        if len(rest):
            size = (hi - lo)[rest]
            length = self.length(range_indices(lo[rest], size))
            first = np.cumsum(size) - size
            longest[rest] = np.maximum.reduceat(length, first)
            mean[rest] = np.add.reduceat(length, first) / size
        return Remaining(longest - depth, mean - depth)


def _check_lengths(lengths: Int64) -> None:
    if not len(lengths):
        raise CatalogueError("trie: no sequences, expected at least one; give a catalogue with rows")
    shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest < 1 or longest > MAX_DEPTH:
        raise CatalogueError(
            f"trie: sequences of {shortest} to {longest} tokens, expected 1 to {MAX_DEPTH}; shorten them"
        )
