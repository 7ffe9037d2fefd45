"""Maxima of ranges of numbers: a segment tree, and a table whose versions stay readable. Knows no trie."""

from __future__ import annotations

import weakref
from bisect import bisect_left
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.sequences import Int64

Float64 = NDArray[np.float64]
BLOCK = 1_024  # numbers that a change copies; a power of two
_LOG_BLOCK = 10


def max_tree(values: Float64) -> Float64:
    """float64[2n]: node i is the maximum of nodes 2i and 2i+1, the values are the nodes from n on."""
    size = values.size
    # + 0.0 makes -0.0 a 0.0: equal maxima must be equal bits, whatever they are compared with on the way.
    tree = np.concatenate((np.zeros(size), values + 0.0))
    stop = size
    while stop > 1:  # nodes [start, stop) have their children at stop and above
        start = (stop + 1) // 2
        pairs = tree[2 * start : 2 * stop]
        np.maximum(pairs[::2], pairs[1::2], out=tree[start:stop])
        stop = start
    return tree


def change(tree: Float64, node: int, value: float) -> None:
    """Sets the leaf `node` of a tree and the maxima above it."""
    tree[node] = value + 0.0
    while node > 1:
        node >>= 1
        tree[node] = max(tree[2 * node], tree[2 * node + 1])


def range_max(tree: Float64, left: Int64, right: Int64, base: Int64 | int = 0) -> Float64:
    """float64[n]: the maximum of the leaves [left, right), left < right, of the tree that starts at `base`.

    Leaves are numbered as nodes. Clipped like the trie's lookups: ranges of a damaged trie give wrong maxima,
    no crash.
    """
    base = np.broadcast_to(np.asarray(base, np.int64), left.shape)
    found = tree.take(base + left, mode="clip")
    at = np.flatnonzero(right - left > 1)
    left, right, base = left[at], right[at], base[at]
    while at.size:  # all nodes [left, right) lie inside the range: taking both ends is never too much
        ends = np.maximum(tree.take(base + left, mode="clip"), tree.take(base + right - 1, mode="clip"))
        found[at] = np.maximum(found[at], ends)
        left, right = (left + 1) >> 1, right >> 1
        more = left < right
        at, left, right, base = at[more], left[more], right[more], base[more]
    return found


class MaxVersion:
    """The numbers of a `MaxTable` at one moment; never changes, however long it is kept."""

    def __init__(self, number: int, size: int, blocks: Float64, slots: Int64, tops: Float64) -> None:
        self.number, self.size = number, size
        self._blocks, self._slots, self._tops = (
            blocks,
            slots,
            tops,
        )  # float64[S, 2 BLOCK], int64[B], tree of B

    def values(self, positions: Int64) -> Float64:
        """float64[n]: the numbers at the given positions."""
        row, column = self._slots.take(positions >> _LOG_BLOCK, mode="clip"), positions & (BLOCK - 1)
        values: Float64 = self._blocks[row, BLOCK + column]
        return values

    def best(self, lo: Int64, hi: Int64) -> Float64:
        """float64[n]: the highest number of each range of positions [lo, hi), 0 <= lo < hi <= size."""
        first, last = lo >> _LOG_BLOCK, (hi - 1) >> _LOG_BLOCK
        apart = np.flatnonzero(last > first)
        found = self._in_block(first, lo, np.minimum(hi, (first + 1) << _LOG_BLOCK))
        if apart.size:
            first, last, hi = first[apart], last[apart], hi[apart]
            found[apart] = np.maximum(found[apart], self._in_block(last, last << _LOG_BLOCK, hi))
            between = np.flatnonzero(last - first > 1)
            size = self._slots.size
            middle = range_max(self._tops, first[between] + 1 + size, last[between] + size)
            found[apart[between]] = np.maximum(found[apart[between]], middle)
        return found

    def _in_block(self, block: Int64, lo: Int64, hi: Int64) -> Float64:
        begin = (block << _LOG_BLOCK) - BLOCK  # of the positions whose leaves are the nodes from BLOCK on
        base = self._slots.take(block, mode="clip") * (2 * BLOCK)
        return range_max(self._blocks.ravel(), lo - begin, hi - begin, base)


class MaxTable:
    """N numbers that change one by one or together; `now` is the current version, taken without waiting.

    A change copies the blocks it touches and the tree over all blocks: for a million numbers some 35 kB. A
    block that no version alive can see is used again.
    """

    def __init__(self, values: Float64) -> None:
        num_blocks = -(-values.size // BLOCK)
        padded = np.full(num_blocks * BLOCK, -np.inf)
        padded[: values.size] = values
        blocks = np.empty((num_blocks + num_blocks // 8 + 8, 2 * BLOCK))
        blocks[:num_blocks] = _block_trees(padded.reshape(num_blocks, BLOCK))
        self._lock = Lock()
        self._free = list(range(num_blocks, len(blocks)))
        self._born = [0] * len(blocks)  # the first version that sees what is in the slot
        self._retired: list[tuple[int, int, int]] = []  # (born, first version without it, slot)
        self._alive: weakref.WeakSet[MaxVersion] = weakref.WeakSet()
        self.now = MaxVersion(0, values.size, blocks, np.arange(num_blocks), max_tree(blocks[:num_blocks, 1]))
        self._alive.add(self.now)

    def set(self, positions: Int64, values: Float64) -> None:
        """Changes numbers; positions distinct, 0 to N-1. Versions taken before stay as they are."""
        with self._lock:
            old = self.now
            blocks, slots, tops = old._blocks, old._slots.copy(), old._tops.copy()
            order = positions.argsort(kind="stable")
            positions, values = positions[order], values[order]
            touched, first = np.unique(positions >> _LOG_BLOCK, return_index=True)
            for block, begin, end in zip(touched, first, [*first[1:], positions.size], strict=True):
                blocks, slot = self._slot(blocks)
                blocks[slot] = blocks[slots[block]]
                _change_leaves(blocks[slot], BLOCK + (positions[begin:end] & (BLOCK - 1)), values[begin:end])
                self._retired.append((self._born[slots[block]], old.number + 1, int(slots[block])))
                self._born[slot], slots[block] = old.number + 1, slot
                change(tops, slots.size + int(block), float(blocks[slot, 1]))
            version = MaxVersion(old.number + 1, old.size, blocks, slots, tops)
            self._alive.add(version)
            self.now = version

    def _slot(self, blocks: Float64) -> tuple[Float64, int]:
        """A slot that no version alive sees, and the blocks with room for it."""
        if not self._free:
            self._reclaim()
            if 8 * len(self._free) < len(blocks):  # else it would be called every few changes
                more = len(blocks) // 2 + 8
                self._free += range(len(blocks), len(blocks) + more)
                self._born += [0] * more
                blocks = np.concatenate((blocks, np.empty((more, 2 * BLOCK))))
        return blocks, self._free.pop()

    def _reclaim(self) -> None:
        """Frees the slots that were retired from the newest version and that no other version alive sees."""
        alive = sorted(version.number for version in self._alive)
        seen = []
        for born, gone, slot in self._retired:
            at = bisect_left(alive, born)
            if at < len(alive) and alive[at] < gone:
                seen.append((born, gone, slot))
            else:
                self._free.append(slot)
        self._retired = seen


def _block_trees(values: Float64) -> Float64:
    """float64[B, 2 BLOCK]: the tree of each row of values float64[B, BLOCK]."""
    trees = np.empty((len(values), 2 * BLOCK))
    trees[:, BLOCK:] = values + 0.0
    trees[:, 0] = 0.0
    width = BLOCK
    while width > 1:
        half = width // 2
        np.maximum(
            trees[:, width : 2 * width : 2], trees[:, width + 1 : 2 * width : 2], out=trees[:, half:width]
        )
        width = half
    return trees


def _change_leaves(tree: Float64, leaves: Int64, values: Float64) -> None:
    """Sets leaves of one block's tree: few along their paths, many by building it anew."""
    if leaves.size <= 16:
        for leaf, value in zip(leaves.tolist(), values.tolist(), strict=True):
            change(tree, leaf, value)
        return
    numbers = tree[BLOCK:].copy()
    numbers[leaves - BLOCK] = values
    tree[:] = _block_trees(numbers[None])[0]
