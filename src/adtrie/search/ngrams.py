"""What came next in token sequences seen before: one sorted table of many, counts of one that still grows.

Guesses only. Knows no model, no text and no rules.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import InputError

MAX_CONTEXT = 6  # tokens looked back
MAX_TABLE_TOKENS = 4_000_000  # 28 bytes each
START = -1  # stands before the first token of a text
_NOTHING = -2  # further back than the beginning
_MOST_COUNTED = 64  # continuations looked at per context, evenly spaced
_MOST_KEPT = 50_000  # contexts whose counts are kept

Counts = dict[int, int]  # next token -> how often


class NGrams(Protocol):
    """What came next after a context."""

    def continuations(self, context: Sequence[int]) -> list[tuple[int, Counts]]:
        """(tokens matched, {next token: count}) per suffix of `context` that occurs, longest first."""


class NGramTable:
    """All positions of the sequences, sorted by the tokens before them, nearest first. Immutable.

    A sequence that begins with START also tells how texts begin.
    """

    def __init__(self, sequences: Iterable[Sequence[int] | NDArray[np.int32]]) -> None:
        """Raises InputError above MAX_TABLE_TOKENS tokens."""
        parts = [np.asarray(sequence, dtype=np.int32) for sequence in sequences]
        self.num_tokens = sum(part.size for part in parts)
        if self.num_tokens > MAX_TABLE_TOKENS:
            raise InputError(
                f"drafts: {self.num_tokens} tokens, at most {MAX_TABLE_TOKENS} are kept; give fewer texts"
            )
        gap = np.full(MAX_CONTEXT, _NOTHING, dtype=np.int32)
        flat = np.concatenate([gap, *(piece for part in parts for piece in (part, gap))])
        ends = np.arange(MAX_CONTEXT, flat.size)
        ends = ends[(flat[ends] >= 0) & (flat[ends - 1] != _NOTHING)]
        columns = [flat[ends - back] for back in range(1, MAX_CONTEXT + 1)]
        order = np.lexsort((flat[ends], *columns[::-1]))
        self._columns = [array("i", column[order].tobytes()) for column in columns]
        self._next = array("i", flat[ends][order].tobytes())
        self._counted: dict[tuple[int, int], Counts] = {}

    def continuations(self, context: Sequence[int]) -> list[tuple[int, Counts]]:
        """(tokens matched, {next token: count}) per suffix of `context` that occurs, longest first."""
        lo, hi, found = 0, len(self._next), []
        for back, token in enumerate(reversed(context[-MAX_CONTEXT:])):
            column = self._columns[back]
            lo, hi = bisect_left(column, token, lo, hi), bisect_right(column, token, lo, hi)
            if lo == hi:
                break
            found.append((back + 1, lo, hi))
        return [(size, self._count(lo, hi)) for size, lo, hi in reversed(found)]

    def _count(self, lo: int, hi: int) -> Counts:
        counts = self._counted.get((lo, hi))
        if counts is None:
            step = -(-(hi - lo) // _MOST_COUNTED)
            counts = dict(Counter(self._next[lo:hi:step]))
            if len(self._counted) < _MOST_KEPT:
                self._counted[lo, hi] = counts
        return counts


class GrowingNGrams:
    """The same of one sequence that grows token by token: `begin` starts another one beside it."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, ...], Counts] = {}
        self._last: tuple[int, ...] = ()

    def begin(self, tokens: Iterable[int]) -> None:
        """A sequence that has nothing to do with the one before."""
        self._last = ()
        for token in tokens:
            self.append(token)

    def append(self, token: int) -> None:
        """The next token of the sequence."""
        for size in range(1, len(self._last) + 1):
            counts = self._counts.setdefault(self._last[-size:], {})
            counts[token] = counts.get(token, 0) + 1
        self._last = (*self._last[1 - MAX_CONTEXT :], token)

    def continuations(self, context: Sequence[int]) -> list[tuple[int, Counts]]:
        """(tokens matched, {next token: count}) per suffix of `context` that occurs, longest first."""
        found: list[tuple[int, Counts]] = []
        for size in range(1, min(len(context), MAX_CONTEXT) + 1):
            counts = self._counts.get(tuple(context[-size:]))
            if counts is None:
                break
            found.append((size, counts))
        return found[::-1]


def likely_next(tables: Sequence[NGrams], context: Sequence[int]) -> dict[int, float]:
    """Next tokens and their guessed chances, which sum to at most 1.

    Longest context first; what it leaves to tokens never seen after it (distinct / (count + distinct), method
    C of prediction by partial matching) goes to the next shorter one. Counts of all tables are added.
    """
    by_size: dict[int, Counts] = {}
    for table in tables:
        for size, counts in table.continuations(context):
            by_size[size] = _added(by_size[size], counts) if size in by_size else counts
    chances: dict[int, float] = {}
    left = 1.0
    for size in sorted(by_size, reverse=True):
        counts = by_size[size]
        total = sum(counts.values()) + len(counts)
        for token, count in counts.items():
            chances[token] = chances.get(token, 0.0) + left * count / total
        left *= len(counts) / total
        if left < 0.02:
            break
    return chances


def _added(one: Counts, other: Counts) -> Counts:
    summed = dict(one)
    for token, count in other.items():
        summed[token] = summed.get(token, 0) + count
    return summed
