"""What a search knows of the engine (`Scorer`) and what it returns (`SearchResult`).

Also the checks every search makes of its arguments. Knows no trie, no model and no search.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.prior import Bonus
from adtrie.config import RowCost
from adtrie.errors import InputError, ModelError

__all__ = ["RowCost", "Scorer", "SearchResult", "check_count", "check_prior", "check_prompt", "child_scores"]

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


@runtime_checkable
class StoppableScorer(Protocol):
    """What a `Scorer` has besides if its forwards can be stopped."""

    def score_within(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
        ms: float,
    ) -> NDArray[np.float32] | None:
        """As `score`; None where it takes more than `ms` from now: then no row was fed."""


@runtime_checkable
class BoundingScorer(Protocol):
    """What a `Scorer` has besides if it may give upper bounds of log-probabilities in their place."""

    @property
    def bounded(self) -> bool:
        """Whether `score` gives bounds."""

    def settle(
        self,
        rows: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        """The log-probabilities themselves of children of rows that were fed with children."""


@dataclass(frozen=True, eq=False)
class SearchResult:
    """Entries int64[n] and scores float64[n], best first, ties by entry.

    Scores are sums of log-probabilities, plus the entry's own constant where the search was given a prior.
    No entry left out scores above `scores[-1] + gap`: 0.0 is a proof, inf means fewer than k were found.
    `forwards` counts the prompt's; `rows` are trie rows, without the prompt's.
    """

    entries: NDArray[np.int64]
    scores: NDArray[np.float64]
    gap: float
    forwards: int
    rows: int


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
        raise ModelError("scores: expected log-probabilities, got NaN; the weights are damaged or overflow")
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


def check_prior(prior: Any, num_entries: int) -> Bonus | None:
    """`prior`; InputError unless it is None or a bonus with a constant for each entry of the catalogue."""
    if prior is not None and not isinstance(prior, Bonus):
        raise InputError(f"prior: expected an adtrie.Prior or None, got {type(prior).__name__}")
    if prior is not None and prior.num_entries != num_entries:
        raise InputError(
            f"prior: expected {num_entries} entries as in the catalogue, got {prior.num_entries}; "
            "make it for this catalogue"
        )
    return prior


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
