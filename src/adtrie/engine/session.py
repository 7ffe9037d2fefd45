"""Rows of a token tree below one prefix, and their scores: what a search calls its scorer.

Knows no catalogue and no search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adtrie import _core
from adtrie.errors import CapacityError, InputError

if TYPE_CHECKING:
    from adtrie.engine.engine import Engine

MAX_SESSION_ROWS = 131_072  # prefix, prompt and trie rows; memory is committed as rows are used


class Session:
    """Rows of a token tree below one prefix. Implements the scorer of a search; `reset` starts a new request.

    A row's scores do not depend on which rows are fed with it, nor on the number of threads. Those of a
    `bounded` session are upper bounds; `settle` gives the scores themselves.
    """

    def __init__(
        self, engine: Engine, prefix: NDArray[np.int32], score: str, max_rows: int, bounded: bool = False
    ) -> None:
        self.renormalised = check_score(score)
        if bounded and (self.renormalised or not engine.has_frequent):
            raise InputError("bounded: only raw scores have bounds, once set_frequent has chosen the tokens")
        self.bounded = bounded
        if not 1 <= max_rows <= MAX_SESSION_ROWS:
            raise InputError(f"max_rows: expected 1 to {MAX_SESSION_ROWS}, got {max_rows}")
        self._engine = engine
        self._core = _core.Session(engine._model, len(prefix) + max_rows)
        self._prefix_rows = 0
        if len(prefix):
            parents = np.arange(-1, len(prefix) - 1, dtype=np.int32)
            self.forward(prefix, parents)
            self._prefix_rows = len(prefix)

    @property
    def prefix_rows(self) -> int:
        """Tokens of the prefix."""
        return self._prefix_rows

    @property
    def num_rows(self) -> int:
        """Rows fed since the request began, without the prefix."""
        return int(self._core.num_rows) - self._prefix_rows

    def reset(self) -> None:
        """Forgets all rows but the prefix: a new request begins."""
        self._core.truncate(self._prefix_rows)

    def score(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        """Log-probabilities float32[C] of the children of each of T rows (CSR, ascending within a row).

        parents[i]: id of an earlier row of this request, -1 its start. Raises CapacityError when the context
        or the session is full, InputError for ids that do not exist.
        """
        return np.asarray(self._score(tokens, parents, child_ptr, child_tokens, None))

    def score_within(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
        ms: float,
    ) -> NDArray[np.float32] | None:
        """As `score`; None where it takes more than `ms` from now: the session is then as it was before.

        The threads look at the clock several times per layer and stop together, so that None comes late by
        the part of a layer at most.
        """
        return self._score(tokens, parents, child_ptr, child_tokens, _core.Stop(ms))

    def _score(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
        stop: _core.Stop | None,
    ) -> NDArray[np.float32] | None:
        absolute = self._absolute(tokens, parents)
        with self._engine._lock, native_errors():
            return self._core.score(
                np.ascontiguousarray(tokens, dtype=np.int32),
                absolute,
                np.ascontiguousarray(child_ptr, dtype=np.int64),
                np.ascontiguousarray(child_tokens, dtype=np.int32),
                self.renormalised,
                stop,
                self.bounded,
            )

    def settle(
        self,
        rows: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        """Log-probabilities float32[C], over the whole vocabulary, of children of rows int32[R] fed before.

        To the bit what a session that is not bounded gives. The rows had children when they were fed.
        """
        places = np.asarray(np.asarray(rows, dtype=np.int64) + self._prefix_rows, dtype=np.int32)
        with self._engine._lock, native_errors():
            return np.asarray(
                self._core.settle(
                    places,
                    np.ascontiguousarray(child_ptr, dtype=np.int64),
                    np.ascontiguousarray(child_tokens, dtype=np.int32),
                )
            )

    def forward(self, tokens: NDArray[np.int32], parents: NDArray[np.int32]) -> NDArray[np.float32]:
        """Hidden states float32[T, H] after the final norm of T new rows."""
        absolute = self._absolute(tokens, parents)
        with self._engine._lock, native_errors():
            return np.asarray(self._core.forward(np.ascontiguousarray(tokens, dtype=np.int32), absolute))

    def logits(
        self, tokens: NDArray[np.int32], parents: NDArray[np.int32], first: int = 0
    ) -> NDArray[np.float32]:
        """Logits float32[T - first, V] of T new rows from index `first` on; the rows before are only fed."""
        absolute = self._absolute(tokens, parents)
        wanted = (np.arange(len(tokens)) >= first).astype(np.uint8)
        with self._engine._lock, native_errors():
            return np.asarray(
                self._core.logits(np.ascontiguousarray(tokens, dtype=np.int32), absolute, wanted)
            )

    def _absolute(self, tokens: NDArray[np.int32], parents: NDArray[np.int32]) -> NDArray[np.int32]:
        room = self._core.max_rows - self._core.num_rows
        if len(tokens) > room:
            raise CapacityError(
                f"a forward of {len(tokens)} rows does not fit the {room} rows left in this session; "
                "lower --max-rows or shorten the prompt"
            )
        return np.asarray(np.asarray(parents, dtype=np.int64) + self._prefix_rows, dtype=np.int32)


class native_errors:
    """Turns the native core's ValueError into ours; running out of context is a capacity."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError):
            if "context" in str(error):
                raise CapacityError(f"{error}; shorten the query or the prompt template") from None
            raise InputError(str(error)) from None
        if isinstance(error, MemoryError):
            raise CapacityError("out of memory for this session; lower --max-rows") from None


def check_score(score: str) -> bool:
    """Whether it is renormalised; InputError unless it is that or raw."""
    if score not in ("raw", "renormalised"):
        raise InputError(f"score: expected raw or renormalised, got {score!r:.60}")
    return score == "renormalised"
