"""Constants per entry that a search adds to its scores, and a bound of them over any range of entries.

Knows neither where the constants come from nor what a score is.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.range_max import Float64, change, max_tree, range_max
from adtrie.catalogue.sequences import Int64
from adtrie.errors import InputError

MAX_COMPACT = 16_384  # eligible entries that get a tree of their own, made in about a millisecond
MAX_PRIOR = 1e6  # far above any sum of log-probabilities, small enough to leave it 9 digits behind the point


class Bonus(ABC):
    """What a search adds to the score of each of N entries, and how much that can be below a node."""

    num_entries: int

    @abstractmethod
    def best(self, lo: Int64, hi: Int64) -> Float64:
        """float64[n]: a bound of the constants of each range [lo, hi) of entries, 0 <= lo < hi <= N.

        That of one entry is its constant; that of a range is no lower than those of its parts.
        """


class Sum(Bonus):
    """Several added up: the sum of maxima bounds the maximum of sums."""

    def __init__(self, parts: Sequence[Bonus]) -> None:
        """InputError when they are not all of the same number of entries."""
        self.parts, self.num_entries = tuple(parts), parts[0].num_entries
        for part in self.parts:
            if part.num_entries != self.num_entries:
                raise InputError(f"prior: {part.num_entries} entries cannot be added to {self.num_entries}")

    def best(self, lo: Int64, hi: Int64) -> Float64:
        """float64[n]: the sum of the bounds of the parts."""
        found = self.parts[0].best(lo, hi)
        for part in self.parts[1:]:
            found = found + part.best(lo, hi)
        return found


class Compact(Bonus):
    """The constants of the eligible entries only, by their rank: no bound looks at another entry's."""

    def __init__(self, whole: Bonus, eligible: EntrySet) -> None:
        self.num_entries, self._eligible = whole.num_entries, eligible
        members = eligible.members()
        self._tree = max_tree(whole.best(members, members + 1))

    def best(self, lo: Int64, hi: Int64) -> Float64:
        """As of any bonus; each range must hold an eligible entry."""
        size = len(self._eligible)
        first = np.minimum(self._eligible.rank(lo), size - 1)
        last = np.maximum(self._eligible.rank(hi), first + 1)
        return range_max(self._tree, first + size, last + size)


class Prior(Bonus):
    """N finite constants of any sign, |value| <= 1e6, in the order of a catalogue's entries.

    Kept as a segment tree float64[2N]. Raises InputError for anything but one row of such numbers.
    """

    def __init__(self, values: ArrayLike) -> None:
        leaves = checked_numbers("prior", values, MAX_PRIOR)
        self.num_entries = leaves.size
        self._tree = max_tree(leaves)

    @classmethod
    def from_unconditional(cls, log_probabilities: ArrayLike, alpha: float) -> Self:
        """-alpha times each entry's log-probability without a query: takes away what is merely familiar.

        Raises InputError for an alpha or log-probabilities that are not finite, or a product above 1e6.
        """
        return cls(-_check_alpha(alpha) * checked_numbers("log_probabilities", log_probabilities, 1e9))

    @property
    def values(self) -> Float64:
        """The constants float64[N], a view that cannot be written to."""
        leaves = self._tree[self.num_entries :]
        leaves.flags.writeable = False
        return leaves

    @property
    def num_bytes(self) -> int:
        """Bytes kept: twice those of the values."""
        return self._tree.nbytes

    def best(self, lo: Int64, hi: Int64) -> Float64:
        """float64[n]: the highest constant of each range [lo, hi) of entries, 0 <= lo < hi <= N."""
        return range_max(self._tree, lo + self.num_entries, hi + self.num_entries)

    def set(self, entry: int, value: float) -> None:
        """Changes one constant in O(log N), not while a search uses the prior. InputError for a bad one."""
        try:
            node = operator.index(entry) + self.num_entries
        except TypeError:
            raise InputError(f"entry: expected an integer, got {entry!r:.60}") from None
        if not self.num_entries <= node < 2 * self.num_entries:
            raise InputError(f"entry: expected 0 to {self.num_entries - 1}, got {entry!r:.60}")
        change(self._tree, node, float(checked_numbers("prior", [value], MAX_PRIOR)[0]))


def _check_alpha(alpha: Any) -> float:
    """`alpha` as a float; InputError unless it is a finite number."""
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) <= MAX_PRIOR:
        raise InputError(f"alpha: expected a number of at most {MAX_PRIOR:g}, got {alpha!r:.60}")
    return float(alpha)


def checked_numbers(name: str, values: ArrayLike, limit: float) -> Float64:
    """One row of numbers of at most `limit` as float64[n], n >= 1; InputError, with `name`, otherwise."""
    try:
        numbers = np.asarray(values)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name}: expected one list of numbers, got rows of unequal length") from None
    if numbers.ndim != 1 or numbers.size == 0 or numbers.dtype.kind not in "iuf":
        raise InputError(
            f"{name}: expected at least one number in one row, got {numbers.dtype} of shape {numbers.shape}"
        )
    bad = np.flatnonzero(~((numbers >= -limit) & (numbers <= limit)))  # NaN is neither
    if bad.size:
        raise InputError(
            f"{name}: expected numbers from {-limit:g} to {limit:g}, got {numbers[bad[0]]} "
            f"(number {bad[0] + 1} of {numbers.size})"
        )
    return numbers.astype(np.float64)
