"""What a trie answers about the rows below a node, from the lengths and shared tokens of some of its entries.

Shared by the tries that leave entries out or come in two pieces. Knows no children and no bitmap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.nodes import Int32, Remaining, node_arrays
from adtrie.catalogue.sequences import Int64, range_indices, row_pointers
from adtrie.catalogue.trie import Trie


@dataclass(frozen=True)
class Ranked:
    """By rank of the M entries that count: length uint8[M]; shared uint8[M] with the entry before.

    own uint32[M+1]: tokens before each rank that their entry does not share with the one before it.
    """

    length: NDArray[np.uint8]
    shared: NDArray[np.uint8]
    own: NDArray[np.uint32]

    @classmethod
    def of(cls, length: NDArray[Any], shared: NDArray[Any]) -> Ranked:
        """Lengths and shared tokens of the entries in order; shared[0] is 0."""
        own = np.zeros(len(length) + 1, np.uint32)
        np.cumsum(np.maximum(length.astype(np.int16) - shared, 0), dtype=np.uint32, out=own[1:])
        return cls(length.astype(np.uint8), shared.astype(np.uint8), own)


class RankedTrie(Trie):
    """A trie in which only ranked entries count; a subclass says which they are."""

    @property
    def ranked(self) -> Ranked:
        """Lengths and shared tokens of the entries that count."""
        raise NotImplementedError

    def rank(self, position: Int64) -> Int64:
        """Entries that count before each position, int64 of the same shape."""
        raise NotImplementedError

    def entry_at(self, rank: int) -> int:
        """The entry of a rank."""
        raise NotImplementedError

    def num_rows(self, lo: Any, hi: Any, depth: Any) -> Int64:
        """int64[n]: non-leaf nodes with an entry that counts strictly below each node."""
        lo, hi, depth = node_arrays(lo, hi, depth)
        first, last = self.rank(lo), self.rank(hi)
        own = self.ranked.own
        after_first = own.take(last).astype(np.int64) - own.take(first + 1, mode="clip")
        length = self.ranked.length.take(first, mode="clip").astype(np.int64)
        count: Int64 = np.maximum(after_first + length - depth - (last - first), 0)
        return count

    def chain(self, lo: Any, hi: Any, depth: Any) -> tuple[Int64, Int32]:
        """CSR (ptr int64[n+1], tokens int32): what the entries of each node that count share below it."""
        lo, hi, depth = node_arrays(lo, hi, depth)
        parts: list[Int32] = []
        ranks = zip(self.rank(lo).tolist(), self.rank(hi).tolist(), strict=True)
        for (first, last), above in zip(ranks, depth.tolist(), strict=True):
            shared = self.ranked.shared[first + 1 : last]
            until = int(shared.min()) if len(shared) else self.max_depth
            parts.append(self.tokens(self.entry_at(first))[above:until])
        counts = np.array([len(part) for part in parts], dtype=np.int64)
        return row_pointers(counts), np.concatenate([np.zeros(0, np.int32), *parts])

    def remaining(self, lo: Any, hi: Any, depth: Any) -> Remaining:
        """Longest and mean number of tokens from each node to the ends of its entries that count."""
        lo, hi, depth = node_arrays(lo, hi, depth)
        first = self.rank(lo)
        count = self.rank(hi) - first
        length = self.ranked.length.take(range_indices(first, count)).astype(np.int64)
        begin = np.cumsum(count) - count
        longest = np.maximum.reduceat(length, begin)
        return Remaining(longest - depth, np.add.reduceat(length, begin) / count - depth)
