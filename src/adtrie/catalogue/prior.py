"""A constant per entry that a search adds to its score, and its maximum over any range of entries.

Knows neither where the constants come from nor what a score is.
"""

from __future__ import annotations

import operator
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adtrie.errors import InputError

MAX_PRIOR = 1e6  # far above any sum of log-probabilities, small enough to leave it 9 digits behind the point
Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]


class Prior:
    """N finite constants of any sign, |value| <= 1e6, in the order of a catalogue's entries.

    Kept as a segment tree float64[2N]: node i is the maximum of nodes 2i and 2i+1, the values are the nodes
    from N on. Raises InputError for anything but one row of such numbers.
    """

    def __init__(self, values: ArrayLike) -> None:
        leaves = _checked("prior", values, MAX_PRIOR)
        self.num_entries = size = leaves.size
        # + 0.0 makes -0.0 a 0.0: equal maxima must be equal bits, whatever they are compared with on the way.
        self._tree = np.concatenate((np.zeros(size), leaves + 0.0))
        stop = size
        while stop > 1:  # nodes [start, stop) have their children at stop and above
            start = (stop + 1) // 2
            pairs = self._tree[2 * start : 2 * stop]
            np.maximum(pairs[::2], pairs[1::2], out=self._tree[start:stop])
            stop = start

    @classmethod
    def from_unconditional(cls, log_probabilities: ArrayLike, alpha: float) -> Self:
        """-alpha times each entry's log-probability without a query: takes away what is merely familiar.

        Raises InputError for an alpha or log-probabilities that are not finite, or a product above 1e6.
        """
        return cls(-_check_alpha(alpha) * _checked("log_probabilities", log_probabilities, 1e9))

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
        # Clipped like the trie's lookups: ranges of a damaged trie give wrong maxima, no crash.
        left, right = lo + self.num_entries, hi + self.num_entries
        found = self._tree.take(left, mode="clip")
        at = np.flatnonzero(right - left > 1)
        left, right = left[at], right[at]
        while at.size:  # all nodes [left, right) lie inside the range: taking both ends is never too much
            ends = np.maximum(self._tree.take(left, mode="clip"), self._tree.take(right - 1, mode="clip"))
            found[at] = np.maximum(found[at], ends)
            left, right = (left + 1) >> 1, right >> 1
            more = left < right
            at, left, right = at[more], left[more], right[more]
        return found

    def set(self, entry: int, value: float) -> None:
        """Changes one constant in O(log N), not while a search uses the prior. InputError for a bad one."""
        try:
            node = operator.index(entry) + self.num_entries
        except TypeError:
            raise InputError(f"entry: expected an integer, got {entry!r:.60}") from None
        if not self.num_entries <= node < 2 * self.num_entries:
            raise InputError(f"entry: expected 0 to {self.num_entries - 1}, got {entry!r:.60}")
        self._tree[node] = _checked("prior", [value], MAX_PRIOR)[0] + 0.0
        while node > 1:
            node >>= 1
            self._tree[node] = max(self._tree[2 * node], self._tree[2 * node + 1])


def _check_alpha(alpha: Any) -> float:
    """`alpha` as a float; InputError unless it is a finite number."""
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) <= MAX_PRIOR:
        raise InputError(f"alpha: expected a number of at most {MAX_PRIOR:g}, got {alpha!r:.60}")
    return float(alpha)


def _checked(name: str, values: ArrayLike, limit: float) -> Float64:
    """One row of numbers of at most `limit` as float64[n], n >= 1."""
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
