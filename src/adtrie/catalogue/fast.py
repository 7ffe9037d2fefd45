"""The native twin of a trie's children, where it was built; without it NumPy answers the same.

Knows no trie: it hands arrays over.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue import native
from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.branches import BranchTable
from adtrie.catalogue.nodes import Children
from adtrie.catalogue.sequences import Int64


class FastTrie:
    """The arrays of a whole trie for the native code, which borrows them."""

    def __init__(
        self,
        edges: NDArray[Any],
        offsets: NDArray[np.uint32],
        shared: NDArray[np.uint8],
        branches: BranchTable,
        max_depth: int,
        vocab_size: int,
    ) -> None:
        table = branches.key, branches.hi, branches.ptr, branches.first
        self._native = native.trie.Trie(edges, offsets, shared, *table, max_depth, vocab_size)

    @staticmethod
    def is_built() -> bool:
        """Whether there is native code to hand arrays to."""
        return native.trie is not None

    def children(self, lo: Int64, hi: Int64, depth: Int64, eligible: EntrySet | None = None) -> Children:
        """The children with an eligible entry of n nodes."""
        return Children(*self._native.children(lo, hi, depth, *_bits(eligible)))

    def merged_children(
        self,
        live: EntrySet | None,
        added: FastTrie,
        added_live: EntrySet | None,
        gaps: tuple[Int64, Int64],
        nodes: tuple[Int64, Int64, Int64],
    ) -> Children:
        """The children in this trie and `added` as one; gaps: `Gaps.at`, and it plus 0, 1, 2, ..."""
        sides = self._native, *_bits(live), added._native, *_bits(added_live)
        return Children(*native.trie.merged_children(*sides, *gaps, *nodes))


def _bits(entries: EntrySet | None) -> tuple[NDArray[np.uint64] | None, NDArray[np.uint32] | None]:
    return (None, None) if entries is None else (entries.words, entries.ranks)
