"""Rows in the order of their values: ranges of it as bits of rows, however many rows they hold.

Knows no value and no attribute.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue import native
from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.sequences import Int64, range_indices

NO_BLOCK = 255
MANY = 64  # a range of more than one in so many rows is found by going through the blocks of all rows
LEAST = 16  # if such ranges together have more than one in so many
Blocks = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class RowOrder:
    """rows uint32[n]: row numbers below num_rows, others are left out; a row may repeat."""

    rows: NDArray[np.uint32]
    num_rows: int

    @property
    def width(self) -> int:
        """Places in a block, so many that blocks are numbered in a byte."""
        return max(1, -(-len(self.rows) // NO_BLOCK))

    @cached_property
    def blocks(self) -> Blocks | None:
        """uint8[num_rows]: the block of places that each row stands in, NO_BLOCK for none.

        None where a row stands at several places. Made in one pass when a large range is first asked for.
        """
        blocks = np.full(self.num_rows, NO_BLOCK, np.uint8)
        inside = self.rows < self.num_rows
        blocks[self.rows[inside]] = (np.arange(len(self.rows)) // self.width)[inside].astype(np.uint8)
        single = np.count_nonzero(blocks != NO_BLOCK) == np.count_nonzero(inside)
        return blocks if single else None

    def mark(self, words: NDArray[np.uint64], first: Int64, last: Int64) -> None:
        """Sets the bits of the rows at the places first[i] to last[i] - 1 of each of n ranges."""
        first, last = (np.clip(one, 0, len(self.rows)) for one in (first, last))
        size = last - first
        many = (size * MANY > self.num_rows).nonzero()[0]
        if size[many].sum() * LEAST < self.num_rows:  # marking these one by one is faster
            many = many[:0]
        blocks = self.blocks if len(many) else None
        if blocks is not None:
            width, large = self.width, (first[many], last[many])
            # Blocks that lie whole in a range; the last one ends with the rows.
            begin = -(-large[0] // width)
            end = np.where(large[1] == len(self.rows), -(-large[1] // width), large[1] // width)
            some = end > begin
            _mark_between(words, blocks, begin[some].astype(np.uint8), (end - 1)[some].astype(np.uint8))
            # What is left of a range before and behind its blocks.
            begin, end = np.where(some, begin * width, large[1]), np.where(some, end * width, large[1])
            first = np.concatenate([np.delete(first, many), large[0], np.minimum(end, large[1])])
            last = np.concatenate([np.delete(last, many), begin, large[1]])
        _mark_ranges(words, self.rows, first, last, self.num_rows)


def _mark_between(words: NDArray[np.uint64], blocks: Blocks, first: Blocks, last: Blocks) -> None:
    """Sets the bits of the rows whose block is in one of the ranges first[i] to last[i]."""
    if native.trie is None:
        slow_mark_between(words, blocks, first, last)
    else:
        native.trie.mark_between(words, blocks, first, last)


def slow_mark_between(words: NDArray[np.uint64], blocks: Blocks, first: Blocks, last: Blocks) -> None:
    """`_mark_between` in NumPy."""
    mask = np.zeros(len(blocks), np.bool_)
    for low, high in zip(first, last, strict=True):
        mask |= (blocks >= low) & (blocks <= high)
    words |= EntrySet.of_mask(mask).words


def _mark_ranges(
    words: NDArray[np.uint64], rows: NDArray[np.uint32], first: Int64, last: Int64, num_rows: int
) -> None:
    """Sets the bits of the rows below num_rows at the places first[i] to last[i] - 1."""
    if native.trie is None:
        slow_mark_ranges(words, rows, first, last, num_rows)
    else:
        native.trie.mark_ranges(words, rows, first, last, num_rows)


def slow_mark_ranges(
    words: NDArray[np.uint64], rows: NDArray[np.uint32], first: Int64, last: Int64, num_rows: int
) -> None:
    """`_mark_ranges` in NumPy."""
    found = rows[range_indices(first, np.maximum(last - first, 0))]
    mask = np.zeros(num_rows, np.bool_)
    mask[found[found < num_rows]] = True
    words |= EntrySet.of_mask(mask).words
