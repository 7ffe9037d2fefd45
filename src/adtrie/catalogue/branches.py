"""Child lists of the trie nodes that hold many entries, so that no call scans a large interval.

Found by (lo, hi, depth); knows nothing of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.sequences import Int64, range_indices
from adtrie.errors import FormatError

LISTED_ABOVE = 256  # entries; smaller nodes are scanned


@dataclass(frozen=True)
class BranchTable:
    """M listed nodes in order of key.

    key int64[M] = lo * 256 + depth; hi uint32[M]; ptr uint32[M+1] into first uint32[C], the first entry of
    each child; longest uint8[M], mean float32[M]: token counts of the entries below.
    """

    key: NDArray[np.int64]
    hi: NDArray[np.uint32]
    ptr: NDArray[np.uint32]
    first: NDArray[np.uint32]
    longest: NDArray[np.uint8]
    mean: NDArray[np.float32]

    @classmethod
    def build(cls, shared: NDArray[np.uint8], lengths: Int64) -> BranchTable:
        """List every node of more than 256 entries, one depth after the other."""
        num_entries = len(shared)
        sums = np.concatenate([[0], np.cumsum(lengths)])
        parts: list[tuple[NDArray[Any], ...]] = []
        node_starts, depth = np.zeros(1, dtype=np.int64), 0
        while True:
            node_ends = np.append(node_starts[1:], num_entries)
            big = node_ends - node_starts > LISTED_ABOVE
            if not big.any():
                break
            child_starts = np.flatnonzero(shared <= depth)
            lo, hi = node_starts[big], node_ends[big]
            begin, end = np.searchsorted(child_starts, lo), np.searchsorted(child_starts, hi)
            first = child_starts[range_indices(begin, end - begin)]
            # reduceat over [lo, hi, lo, hi, ...] would read past the end when hi == N, so cut the tail off.
            bounds = np.stack([lo, hi], axis=1).ravel()[: 2 * len(lo) - (hi[-1] == num_entries)]
            longest = np.maximum.reduceat(lengths, bounds)
            mean = (sums[hi] - sums[lo]) / (hi - lo)
            parts.append((lo * 256 + depth, hi, end - begin, first, longest[::2], mean))
            node_starts, depth = child_starts, depth + 1
        return cls._join(parts)

    @classmethod
    def _join(cls, parts: list[tuple[NDArray[Any], ...]]) -> BranchTable:
        empty = np.zeros(0, dtype=np.int64)
        key, hi, count, first, longest, mean = (
            (np.concatenate(column) for column in zip(*parts, strict=True)) if parts else (empty,) * 6
        )
        order = np.argsort(key)
        begin = (np.cumsum(count) - count)[order]
        first = first[range_indices(begin, count[order])]
        ptr = np.concatenate([[0], np.cumsum(count[order])])
        return cls(
            key[order].astype(np.int64),
            hi[order].astype(np.uint32),
            ptr.astype(np.uint32),
            first.astype(np.uint32),
            longest[order].astype(np.uint8),
            mean[order].astype(np.float32),
        )

    @classmethod
    def none(cls) -> BranchTable:
        """The table of a trie so small that every node is scanned."""
        return cls._join([])

    @property
    def num_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(int(getattr(self, field.name).nbytes) for field in fields(self))

    def find(self, lo: Int64, hi: Int64, depth: Int64) -> Int64:
        """int64[n]: index of each node in the table, -1 where it is not listed."""
        key = (lo << 8) + depth
        slot = self.key.searchsorted(key)
        if not len(self.key):
            return slot - 1
        slot[(self.key.take(slot, mode="clip") != key) | (self.hi.take(slot, mode="clip") != hi)] = -1
        return slot

    @cached_property
    def _by_depth(self) -> tuple[Int64, Int64]:
        """Keys depth * 2^32 + lo int64[M], ascending, and the hi of each."""
        key = (self.key & 255) << 32 | self.key >> 8
        order = key.argsort()
        return key[order], self.hi[order].astype(np.int64)

    def first_of(self, entry: Int64, depth: Int64) -> Int64:
        """int64[n]: the first entry of the node at `depth` that holds each entry, -1 if it is not listed."""
        key, hi = self._by_depth
        if not len(key):
            return np.full(len(entry), -1, dtype=np.int64)
        at = key.searchsorted((depth << 32) + entry, side="right") - 1
        found = key.take(at, mode="clip")
        holds = (at >= 0) & (found >> 32 == depth) & (hi.take(at, mode="clip") > entry)
        return np.where(holds, found & 0xFFFFFFFF, -1)

    def starts(self, slot: Int64) -> tuple[Int64, Int64]:
        """Counts int64[n] of children of listed nodes, and the first entry of each child int64[C]."""
        begin = self.ptr.take(slot).astype(np.int64)
        count = self.ptr.take(slot + 1) - begin
        return count, self.first.take(range_indices(begin, count)).astype(np.int64)

    def check(self, num_entries: int, where: str) -> None:
        """Raise FormatError unless every listed node has ascending children, from its lo on, below its hi."""
        lo, hi = self.key >> 8, self.hi.astype(np.int64)
        ptr, first = self.ptr.astype(np.int64), self.first.astype(np.int64)
        sizes = (len(self.hi), len(self.ptr) - 1, len(self.longest), len(self.mean))
        good = set(sizes) == {len(self.key)} and ptr[0] == 0 and ptr[-1] == len(first)
        good = good and bool(np.all(np.diff(ptr) > 0)) and bool(np.all(np.diff(self.key) > 0))
        good = good and bool(np.all((lo >= 0) & (hi <= num_entries)))
        if good and len(lo):
            inner = np.ones(len(first) - 1, dtype=bool)
            inner[ptr[1:-1] - 1] = False
            good = bool(np.all(np.diff(first)[inner] > 0))
            good = good and bool(np.all(first[ptr[:-1]] == lo)) and bool(np.all(first[ptr[1:] - 1] < hi))
        if not good:
            raise FormatError(
                f"{where}: damaged table of branching nodes; rebuild the catalogue with `adtrie index`"
            )
