"""What a search knows of the engine (`Scorer`), what it returns (`SearchResult`), what rows cost (`RowCost`).

Also the checks every search makes of its arguments. Knows no trie, no model and no search.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adtrie.errors import InputError, ModelError

MAX_K = 10_000
MAX_WIDTH = 256
MAX_ROWS = 1_000_000  # rows of one `exact` request
MAX_FORWARD_ROWS = 65_536  # rows of one forward
MAX_PROMPT_TOKENS = 1_000_000  # a typing mistake, not a context limit: the engine knows that one


class Scorer(Protocol):
    """One request: rows are fed once each and keep their ids (0, 1, 2, ... in feeding order)."""

    @property
    def renormalised(self) -> bool:
        """Whether log-probabilities are normalised over the listed children (an only child scores 0)."""

    def score(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        """Log-probabilities float32[C] of the children listed for each of T rows (CSR child_ptr[T+1]).

        parents[i] is the id of the row that row i continues, -1 the start of the request. The scores of a row
        do not depend on the other rows of the call.
        """


@dataclass(frozen=True, eq=False)
class SearchResult:
    """Entries int64[n] and scores float64[n], best first, ties by entry.

    No entry left out scores above `scores[-1] + gap`: 0.0 is a proof, inf means fewer than k were found.
    `forwards` counts the prompt's; `rows` are trie rows, without the prompt's.
    """

    entries: NDArray[np.int64]
    scores: NDArray[np.float64]
    gap: float
    forwards: int
    rows: int


@dataclass(frozen=True, eq=False)
class RowCost:
    """Milliseconds of one forward by its rows: table_rows int64[n] ascending, table_ms float64[n] never falling.

    Raises InputError for a table that is empty, not finite, not positive or not monotone.
    """

    table_rows: NDArray[np.int64]
    table_ms: NDArray[np.float64]

    def __post_init__(self) -> None:
        rows, ms = self.table_rows, self.table_ms
        sound = (
            rows.ndim == 1
            and rows.shape == ms.shape
            and rows.size > 0
            and rows[0] >= 1
            and bool(np.all(np.diff(rows) > 0))
            and bool(np.all(np.isfinite(ms)))
            and ms[0] > 0
            and bool(np.all(np.diff(ms) >= 0))
        )
        if not sound:
            raise InputError(
                "row cost: expected ascending rows >= 1 with finite, positive, never falling milliseconds, got "
                f"rows {rows.ravel()[:8].tolist()} and ms {ms.ravel()[:8].tolist()}; measure the table again"
            )

    @classmethod
    def measured(cls, rows: Sequence[int], ms: Sequence[float]) -> RowCost:
        """Table of measurements in any order; a smaller time at more rows is noise and is raised."""
        try:
            at, times = np.asarray(rows, dtype=np.int64), np.asarray(ms, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"row cost: expected two lists of numbers; {error}") from None
        if at.shape == times.shape and at.ndim == 1:
            order = np.argsort(at, kind="stable")
            at, times = at[order], np.maximum.accumulate(times[order])
        return cls(at, times)

    @classmethod
    def flat(cls, ms: float = 1.0) -> RowCost:
        """Every forward costs `ms`: a machine on which rows are free."""
        return cls.measured([1, 2], [ms, ms])

    @classmethod
    def kneed(cls, knee: int, ms: float = 1.0) -> RowCost:
        """`ms` up to `knee` rows, in proportion to the rows beyond: weight traffic, then arithmetic."""
        return cls.measured([knee, 2 * knee], [ms, 2 * ms])

    def ms(self, rows: float) -> float:
        """Milliseconds of one forward of `rows` rows: interpolated, the last slope extended, 0.0 for none."""
        return float(self.ms_of(rows))

    def ms_of(self, rows: ArrayLike) -> NDArray[np.float64]:
        """`ms` of each of many row counts, float64 of the same shape."""
        at = np.asarray(rows, dtype=np.float64)
        cost = np.interp(at, self.table_rows, self.table_ms)
        if self.table_rows.size > 1:
            run = float(self.table_rows[-1] - self.table_rows[-2])
            slope = (self.table_ms[-1] - self.table_ms[-2]) / run
            cost = cost + slope * np.maximum(at - float(self.table_rows[-1]), 0.0)
        return np.asarray(np.where(at > 0, cost, 0.0))


def child_scores(
    scorer: Scorer,
    tokens: NDArray[np.int32],
    parents: NDArray[np.int32],
    child_ptr: NDArray[np.int64],
    child_tokens: NDArray[np.int32],
) -> NDArray[np.float64]:
    """Log-probabilities float64[C] of one forward, at most 0, so that a prefix bounds what is below it.

    Rounding can leave a certain token a little above 0. Raises ModelError when the model yields NaN.
    """
    scores = np.minimum(scorer.score(tokens, parents, child_ptr, child_tokens), 0.0, dtype=np.float64)
    assert scores.shape == child_tokens.shape, "a scorer returns one score per listed child"
    if not bool((scores <= 0.0).all()):
        raise ModelError(
            "scores: expected log-probabilities, got NaN; the weights are damaged or overflow (run 'adtrie doctor')"
        )
    return scores


def check_count(name: str, value: Any, upper: int) -> int:
    """`value` as an int in [1, upper]; InputError otherwise (bool, str and float are not counts)."""
    if isinstance(value, bool | np.bool_):
        raise InputError(f"{name}: expected an integer from 1 to {upper}, got {value!r}")
    try:
        count = operator.index(value)
    except TypeError:
        raise InputError(f"{name}: expected an integer from 1 to {upper}, got {value!r:.60}") from None
    if not 1 <= count <= upper:
        shown = count if abs(count) < 10**18 else "a huge number"
        raise InputError(f"{name}: expected an integer from 1 to {upper}, got {shown}")
    return count


def check_prompt(prompt: Any) -> NDArray[np.int32]:
    """The prompt's token ids int32[P], P >= 1; InputError when it is empty or not a list of token ids."""
    try:
        tokens = np.asarray(prompt)
    except (TypeError, ValueError, OverflowError):
        raise InputError("prompt: expected a list of token ids, got rows of unequal length") from None
    if tokens.ndim != 1 or tokens.size == 0:
        raise InputError(f"prompt: expected at least one token id in one row, got shape {tokens.shape}")
    if tokens.dtype.kind not in "iu" or tokens.size > MAX_PROMPT_TOKENS:
        raise InputError(f"prompt: expected up to {MAX_PROMPT_TOKENS} integer token ids, got {tokens.dtype}")
    if int(tokens.min()) < 0 or int(tokens.max()) > np.iinfo(np.int32).max:
        raise InputError(f"prompt: expected token ids >= 0, got {int(tokens.min())} to {int(tokens.max())}")
    return tokens.astype(np.int32)
