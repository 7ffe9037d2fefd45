"""A set of entries: one bit each, and how many bits lie before each word. Knows no trie and no catalogue."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue import native
from adtrie.catalogue.sequences import Int64, range_indices
from adtrie.errors import InputError

MAX_SIZE = (1 << 32) - 1  # ranks are 32-bit; a trie holds no more entries either
_ONE = np.uint64(1)
_BELOW = (_ONE << np.arange(64, dtype=np.uint64)) - _ONE  # [i]: the i low bits


@dataclass(frozen=True, eq=False)
class EntrySet:
    """An immutable subset of the entries 0..size-1, in size / 8 bytes and half as much for the ranks.

    words uint64[W]: entry e is bit e % 64 of word e // 64, bits from `size` on are 0. `len` is the number of
    members. Make one with `every`, `none`, `of_entries`, `of_mask` or `of_pieces`; combine with & | - ~,
    which raise InputError for sets of different size.
    """

    size: int
    words: NDArray[np.uint64]

    @cached_property
    def ranks(self) -> NDArray[np.uint32]:
        """uint32[W+1]: the members before each word; made when they are first asked for."""
        ranks = self.slow_ranks() if native.trie is None else native.trie.ranks(self.words)
        ranks.flags.writeable = False
        return ranks

    def slow_ranks(self) -> NDArray[np.uint32]:
        """`ranks` in NumPy."""
        ranks = np.zeros(self.words.size + 1, np.uint32)
        np.cumsum(np.bitwise_count(self.words), dtype=np.uint32, out=ranks[1:])
        return ranks

    @classmethod
    def every(cls, size: int) -> EntrySet:
        """All of 0..size-1. Raises InputError for a size outside 1 to 2^32 - 1, as do all constructors."""
        return ~cls.none(size)

    @classmethod
    def none(cls, size: int) -> EntrySet:
        """The empty set over `size` entries."""
        size = _check_size(size)
        return cls._of_words(size, np.zeros(-(-size // 64), np.uint64))

    @classmethod
    def of_entries(cls, entries: Any, size: int) -> EntrySet:
        """The set of entry numbers in any order, repeats allowed; InputError for one outside 0..size-1."""
        size = _check_size(size)
        members = np.unique(check_entries(entries, size))
        words = np.zeros(-(-size // 64), np.uint64)
        if members.size:
            word = members >> 6
            first = np.flatnonzero(np.diff(word, prepend=-1))
            bits = _ONE << (members & 63).astype(np.uint64)
            words[word[first]] = np.bitwise_or.reduceat(bits, first)
        return cls._of_words(size, words)

    @classmethod
    def of_mask(cls, mask: Any) -> EntrySet:
        """The set of the entries whose bool is true; InputError unless `mask` is bool[size]."""
        mask = np.asarray(mask)
        if mask.ndim != 1 or mask.dtype != np.bool_:
            raise InputError(f"mask: expected one bool per entry, got {mask.dtype} of shape {mask.shape}")
        size = _check_size(mask.size)
        packed = np.zeros(-(-size // 64) * 8, np.uint8)
        packed[: -(-size // 8)] = np.packbits(mask, bitorder="little")
        return cls._of_words(size, packed.view("<u8").astype(np.uint64))

    @classmethod
    def of_pieces(cls, pieces: Iterable[NDArray[np.uint32]], size: int) -> EntrySet:
        """The set of the entries in several lists; numbers outside 0..size-1 are left out."""
        size = _check_size(size)
        if native.trie is None:
            mask = np.zeros(size, np.bool_)
            for entries in pieces:
                mask[entries[entries < size]] = True
            return cls.of_mask(mask)
        words = np.zeros(-(-size // 64), np.uint64)
        for entries in pieces:
            native.trie.mark(words, entries, size)
        return cls._of_words(size, words)

    @classmethod
    def of_words(cls, words: NDArray[np.uint64], size: int) -> EntrySet:
        """The set of the bits that are set, from `size` on none; `words` is not copied."""
        if words.dtype != np.uint64 or words.shape != (-(-_check_size(size) // 64),):
            raise InputError(f"words: expected uint64 for {size} bits, got {words.dtype} of {words.shape}")
        return cls._of_words(size, words)

    @classmethod
    def _of_words(cls, size: int, words: NDArray[np.uint64]) -> EntrySet:
        words.flags.writeable = False
        return cls(size, words)

    def without_places(self, places: NDArray[np.uint32]) -> EntrySet:
        """The set over size - n entries that is left when n of them (ascending) go and later ones move up."""
        if native.trie is None:
            return self.of_mask(np.delete(self.mask(), places))
        return self._of_words(self.size - len(places), native.trie.without(self.words, self.size, places))

    def __len__(self) -> int:
        return int(self.ranks[-1])

    @property
    def num_bytes(self) -> int:
        """Bytes of bits and ranks."""
        return self.words.nbytes + self.ranks.nbytes

    def __contains__(self, entry: int) -> bool:
        return 0 <= entry < self.size and bool(int(self.words[entry >> 6]) >> (entry & 63) & 1)

    def rank(self, position: Int64) -> Int64:
        """Members before each position, int64 of the same shape; positions are clipped to 0..size."""
        position = np.minimum(np.maximum(position, 0), self.size)
        word = position >> 6
        below = self.words.take(word, mode="clip") & _BELOW.take(position & 63)
        rank: Int64 = self.ranks.take(word).astype(np.int64)
        rank += np.bitwise_count(below)
        return rank

    def count(self, lo: Any, hi: Any) -> Int64:
        """int64[n]: members in each interval [lo, hi)."""
        return self.rank(np.asarray(hi, dtype=np.int64)) - self.rank(np.asarray(lo, dtype=np.int64))

    def select(self, rank: Any) -> Int64:
        """int64 of the same shape: the member with `rank` members before it, `size` when there is none."""
        rank = np.asarray(rank, dtype=np.int64)
        known = (rank >= 0) & (rank < len(self))
        left = np.where(known, rank, 0).astype(np.uint32)  # the type of `ranks`: a search must not convert it
        word = self.ranks[1:].searchsorted(left, side="right")
        bits = self.words.take(word, mode="clip")
        left = left - self.ranks.take(word)
        entry = word * 64
        for width in (32, 16, 8, 4, 2, 1):  # halve the word: skip its lower half when it holds too few
            lower = np.bitwise_count(bits & _BELOW[width])
            skip = left >= lower
            left = left - lower * skip
            bits = bits >> (skip * np.uint64(width))
            entry = entry + width * skip
        return np.where(known, entry, self.size)

    def next(self, entry: Any) -> Int64:
        """int64 of the same shape: the first member from each entry on, `size` when there is none."""
        return self.select(self.rank(np.asarray(entry, dtype=np.int64)))

    def has_any(self, lo: Int64, hi: Int64) -> NDArray[np.bool_]:
        """bool[n]: whether any of lo..hi-1 is a member, lo < hi; without ranks, for short intervals."""
        count = hi - lo
        inside = self.contains(range_indices(lo, count))
        return np.logical_or.reduceat(inside, np.cumsum(count) - count)

    def contains(self, entry: Any) -> NDArray[np.bool_]:
        """Which entries are members, bool of the same shape; none outside 0..size-1 is."""
        entry = np.asarray(entry, dtype=np.int64)
        word = self.words.take(entry >> 6, mode="clip") >> (entry & 63).astype(np.uint64)
        return np.asarray((word & _ONE).astype(np.bool_) & (entry >= 0) & (entry < self.size))

    def mask(self) -> NDArray[np.bool_]:
        """bool[size]: which entries are members."""
        packed = self.words.astype("<u8", copy=False).view(np.uint8)
        return np.unpackbits(packed, bitorder="little", count=self.size).view(np.bool_)

    def members(self) -> Int64:
        """int64[len]: the members, ascending."""
        word = np.flatnonzero(self.words)
        packed = self.words[word].astype("<u8").view(np.uint8)
        bit = np.flatnonzero(np.unpackbits(packed, bitorder="little"))
        members: Int64 = word[bit >> 6] * 64 + (bit & 63)
        return members

    def adding(self, entries: Any) -> EntrySet:
        """With these entries, in any order; InputError for one outside 0..size-1."""
        word, bits = self._bits(entries)
        words = self.words.copy()
        np.bitwise_or.at(words, word, bits)
        return self._of_words(self.size, words)

    def dropping(self, entries: Any) -> EntrySet:
        """Without these entries, in any order; InputError for one outside 0..size-1."""
        word, bits = self._bits(entries)
        words = self.words.copy()
        np.bitwise_and.at(words, word, ~bits)
        return self._of_words(self.size, words)

    def _bits(self, entries: Any) -> tuple[Int64, NDArray[np.uint64]]:
        members = check_entries(entries, self.size)
        return members >> 6, _ONE << (members & 63).astype(np.uint64)

    def __and__(self, other: EntrySet) -> EntrySet:
        return self._of_words(self.size, self.words & self._same_size(other).words)

    def __or__(self, other: EntrySet) -> EntrySet:
        return self._of_words(self.size, self.words | self._same_size(other).words)

    def __sub__(self, other: EntrySet) -> EntrySet:
        return self._of_words(self.size, self.words & ~self._same_size(other).words)

    def __invert__(self) -> EntrySet:
        words = ~self.words
        if self.size & 63:
            words[-1] &= _BELOW[self.size & 63]
        return self._of_words(self.size, words)

    def _same_size(self, other: EntrySet) -> EntrySet:
        if not isinstance(other, EntrySet) or other.size != self.size:
            got = f"one over {other.size}" if isinstance(other, EntrySet) else type(other).__name__
            raise InputError(f"entry set: expected a set over {self.size} entries, got {got}")
        return other


def _check_size(size: Any) -> int:
    try:
        count = -1 if isinstance(size, bool | np.bool_) else operator.index(size)
    except TypeError:
        count = -1
    if not 1 <= count <= MAX_SIZE:
        raise InputError(f"entry set: expected a size from 1 to {MAX_SIZE}, got {size!r:.60}")
    return count


def check_entries(entries: Any, size: int, name: str = "entries") -> Int64:
    """Entry numbers int64[n]; InputError, with `name`, unless they are integers from 0 to size - 1."""
    try:
        found = np.asarray(entries)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name}: expected a list of numbers, got rows of unequal length") from None
    if found.size == 0 and found.ndim == 1:
        return np.zeros(0, np.int64)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise InputError(f"{name}: expected a list of integers, got {found.dtype} of {found.shape}")
    if int(found.min()) < 0 or int(found.max()) >= size:
        raise InputError(
            f"{name}: expected numbers from 0 to {size - 1}, got {int(found.min())} to {int(found.max())}"
        )
    return found.astype(np.int64)
