"""Maxima of ranges of numbers: a segment tree, and arrays whose versions share what did not change.

Knows no trie.
"""

from __future__ import annotations

import weakref
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


class _Slab:
    """The blocks of all versions that come from one array; a block that none alive has is used again."""

    def __init__(self, blocks: Float64) -> None:
        self.blocks = blocks  # float64[S, 2 BLOCK], a tree each
        self.lock = Lock()
        self.alive: weakref.WeakSet[MaxVersion] = weakref.WeakSet()
        self._free: list[int] = []

    def take(self, count: int) -> list[int]:
        """Slots of `count` blocks that no version has; `blocks` may be a larger array afterwards."""
        if len(self._free) < count:
            used = np.zeros(len(self.blocks), np.bool_)
            for version in self.alive:
                used[version.slots] = True
            self._free = np.flatnonzero(~used).tolist()
            if len(self._free) < max(count, len(self.blocks) // 8):  # else it is looked for at every change
                more = len(self.blocks) // 2 + count + 8
                self._free += range(len(self.blocks), len(self.blocks) + more)
                self.blocks = np.concatenate((self.blocks, np.empty((more, 2 * BLOCK))))
        taken, self._free = self._free[:count], self._free[count:]
        return taken


class MaxVersion:
    """N numbers that never change, however long they are kept; `set` makes a version with others.

    A change copies the blocks it touches and the tree over all blocks: for a million numbers some 35 kB.
    """

    def __init__(self, slab: _Slab, size: int, slots: Int64, tops: Float64) -> None:
        """Made by `of`, `full` and `set`."""
        self.size, self.slots = size, slots  # slots int64[B]
        self._slab, self._blocks, self._tops = slab, slab.blocks, tops
        slab.alive.add(self)

    @classmethod
    def of(cls, values: Float64) -> MaxVersion:
        """Of an array, which is copied."""
        num_blocks = -(-values.size // BLOCK)
        padded = np.full(num_blocks * BLOCK, -np.inf)
        padded[: values.size] = values
        # With room for changes from the start: a change that makes it copies all blocks, which takes 25 ms.
        blocks = np.empty((num_blocks + num_blocks // 2 + 8, 2 * BLOCK))
        blocks[:num_blocks] = _block_trees(padded.reshape(num_blocks, BLOCK))
        return cls(_Slab(blocks), values.size, np.arange(num_blocks), max_tree(blocks[:num_blocks, 1]))

    @classmethod
    def full(cls, size: int, value: float) -> MaxVersion:
        """`size` times the value, in the memory of one block."""
        slots = np.zeros(-(-size // BLOCK), np.int64)
        tops = np.full(2 * slots.size, value)
        return cls(_Slab(_block_trees(np.full((1, BLOCK), value))), size, slots, tops)

    def set(self, positions: Int64, values: Float64) -> MaxVersion:
        """The version with other numbers at some positions, which are distinct."""
        slots, tops = self.slots.copy(), self._tops.copy()
        order = positions.argsort(kind="stable")
        positions, values = positions[order], values[order]
        block_of = positions >> _LOG_BLOCK
        first = np.flatnonzero(np.diff(block_of, prepend=-1))
        touched = block_of[first]
        with self._slab.lock:
            taken = self._slab.take(touched.size)
            blocks = self._slab.blocks
            ends = [*first[1:].tolist(), positions.size]
            for block, slot, begin, end in zip(touched.tolist(), taken, first.tolist(), ends, strict=True):
                blocks[slot] = self._blocks[slots[block]]
                _change_leaves(blocks[slot], BLOCK + (positions[begin:end] & (BLOCK - 1)), values[begin:end])
                slots[block] = slot
                change(tops, slots.size + block, float(blocks[slot, 1]))
            return MaxVersion(self._slab, self.size, slots, tops)

    def values(self, positions: Int64) -> Float64:
        """float64[n]: the numbers at the given positions."""
        row, column = self.slots.take(positions >> _LOG_BLOCK, mode="clip"), positions & (BLOCK - 1)
        values: Float64 = self._blocks[row, BLOCK + column]
        return values

    def every(self) -> Float64:
        """float64[N]: all numbers."""
        values: Float64 = self._blocks[self.slots, BLOCK:].ravel()[: self.size]
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
            size = self.slots.size
            middle = range_max(self._tops, first[between] + 1 + size, last[between] + size)
            found[apart[between]] = np.maximum(found[apart[between]], middle)
        return found

    def _in_block(self, block: Int64, lo: Int64, hi: Int64) -> Float64:
        begin = (block << _LOG_BLOCK) - BLOCK  # of the positions whose leaves are the nodes from BLOCK on
        base = self.slots.take(block, mode="clip") * (2 * BLOCK)
        return range_max(self._blocks.ravel(), lo - begin, hi - begin, base)


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
