"""Rows of many requests behind one prefix, and the lanes that feed them: one of each thread, one of all.

The prefix is stored once. A lane feeds rows of any requests in one forward; two lanes work at the same time.
Knows neither who asks nor when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adtrie import _core
from adtrie.engine.engine import Engine
from adtrie.engine.session import check_score, native_errors
from adtrie.errors import CapacityError, InputError

LOGITS = "logits"
BLOCK = 16  # rows of one request side by side: what attention reads at once, so that none reads another's
MAX_ROWS = 1 << 20  # of all requests together: address space; memory is committed as rows are used


@dataclass(frozen=True, eq=False)
class Rows:
    """T rows of one request before a forward: tokens, parents and places int32[T], children as CSR."""

    tokens: NDArray[np.int32]
    parents: NDArray[np.int32]  # places, or -1
    places: NDArray[np.int32]
    child_ptr: NDArray[np.int64]
    child_tokens: NDArray[np.int32]

    @property
    def size(self) -> int:
        """T."""
        return int(self.tokens.size)

    def part(self, begin: int, end: int) -> Rows:
        """Rows [begin, end)."""
        if begin == 0 and end == self.size:
            return self
        ptr = self.child_ptr[begin : end + 1]
        return Rows(
            self.tokens[begin:end],
            self.parents[begin:end],
            self.places[begin:end],
            ptr - ptr[0],
            self.child_tokens[ptr[0] : ptr[-1]],
        )


class Lane(Protocol):
    """Makes forwards, one at a time."""

    def score(self, parts: Sequence[Rows]) -> NDArray[np.float32]:
        """Log-probabilities float32[C] of the children of all `parts`, one after another, in one forward.

        Nothing stays of the rows of a forward that failed.
        """


class Places(Protocol):
    """Where the rows of one request are."""

    num_rows: int

    def append(self, count: int) -> NDArray[np.int32]:
        """Places of `count` new rows; CapacityError when there is no room."""

    def of(self, parents: NDArray[np.int32]) -> NDArray[np.int32]:
        """Places of rows of this request (-1: what all requests continue), int32 of the same length."""

    def close(self) -> None:
        """Gives the places back; no forward may be using them."""


class LaneGroup:
    """The native lanes of an engine over rows that continue `prefix` (int32[P], computed once, now).

    `single`: a lane for each thread of the engine. `wide`: one lane of all threads, for a request that is
    alone. `score`: raw, renormalised, or logits in their place, of rows with children, of which each then has
    as many as there are tokens. Raises InputError for another, CapacityError without the memory.
    """

    def __init__(self, engine: Engine, prefix: NDArray[np.int32], score: str, max_rows: int) -> None:
        self.renormalised = score != LOGITS and check_score(score)
        reserved = -(-len(prefix) // BLOCK) * BLOCK
        with native_errors():
            wide = _core.Lane(engine._model, min(reserved + max_rows, MAX_ROWS))
            alone = [engine._model.with_threads(1) for _ in range(engine.num_threads)]
            lanes = [_core.Lane(model, wide) for model in alone] if len(alone) > 1 else [wide]
        self.wide = _NativeLane(wide, score, engine._lock)
        self.single = [_NativeLane(lane, score, Lock()) for lane in lanes]
        if len(lanes) == 1:
            self.single = [self.wide]
        self.prefix_end = len(prefix) - 1
        self._core, self._lock = wide, Lock()
        blocks = range(reserved // BLOCK, wide.max_rows // BLOCK)
        self._free = list(reversed(blocks))  # the last is taken first
        self.num_blocks = len(self._free)
        if len(prefix):
            places = np.arange(len(prefix), dtype=np.int32)
            ptr = np.zeros(len(prefix) + 1, np.int64)
            self.wide.score([Rows(prefix, places - 1, places, ptr, np.zeros(0, np.int32))])

    @property
    def rows_in_use(self) -> int:
        """Rows that requests hold at the moment."""
        return (self.num_blocks - len(self._free)) * BLOCK

    def open(self, max_rows: int) -> RequestRows:
        """Places for one request of at most `max_rows` rows."""
        return RequestRows(self, max_rows)

    def take(self, count: int) -> list[int]:
        """`count` free blocks."""
        with self._lock:
            if count > len(self._free):
                raise CapacityError(
                    f"no room for {count * BLOCK} more rows beside those of other requests "
                    f"({self.num_blocks * BLOCK} in all); lower the concurrency or max_rows"
                )
            taken = self._free[len(self._free) - count :][::-1]
            del self._free[len(self._free) - count :]
        return taken

    def give(self, blocks: list[int]) -> None:
        """Frees blocks and forgets their rows."""
        self._core.release(_rows_of(blocks))
        with self._lock:
            self._free.extend(reversed(blocks))


class RequestRows:
    """Places of the rows of one request, in blocks of its own."""

    def __init__(self, group: LaneGroup, max_rows: int) -> None:
        self.num_rows = 0
        self._group, self._max_rows = group, max_rows
        self._blocks: list[int] = []
        self._places = np.zeros(0, np.int32)

    def append(self, count: int) -> NDArray[np.int32]:
        """Places int32[count] of new rows. Raises CapacityError above the request's or the group's limit."""
        if self.num_rows + count > self._max_rows:
            raise CapacityError(
                f"a forward of {count} rows does not fit the {self._max_rows - self.num_rows} rows left to "
                "this request; lower --max-rows or shorten the prompt"
            )
        missing = -(-(self.num_rows + count - self._places.size) // BLOCK)
        if missing > 0:
            blocks = self._group.take(missing)
            self._blocks += blocks
            self._places = np.concatenate((self._places, _rows_of(blocks)))
        first, self.num_rows = self.num_rows, self.num_rows + count
        return self._places[first : self.num_rows]

    def of(self, parents: NDArray[np.int32]) -> NDArray[np.int32]:
        """Places of rows of this request; -1 is the end of the prefix. InputError for other numbers."""
        if parents.size and not (int(parents.min()) >= -1 and int(parents.max()) < self.num_rows):
            raise InputError(f"parent {int(parents.max())} is not an earlier row")
        known = self._places[np.maximum(parents, 0)]
        return np.where(parents < 0, np.int32(self._group.prefix_end), known)

    def close(self) -> None:
        """Gives all blocks back."""
        blocks, self._blocks = self._blocks, []
        self._places, self.num_rows = self._places[:0], 0
        if blocks:
            self._group.give(blocks)


class _NativeLane:
    """One lane of the native core; `lock` is that of its threads, which sessions may use too."""

    def __init__(self, core: Any, kind: str, lock: Lock) -> None:
        self._core, self._kind, self._lock = core, kind, lock

    def score(self, parts: Sequence[Rows]) -> NDArray[np.float32]:
        """One forward. Raises CapacityError for a path above the context, InputError for a bad row."""
        tokens, parents, places = (_joined(parts, name) for name in ("tokens", "parents", "places"))
        counts = np.concatenate([np.diff(part.child_ptr) for part in parts])
        with self._lock, native_errors():
            try:
                if self._kind == LOGITS:
                    wanted = (counts > 0).astype(np.uint8)
                    return np.asarray(self._core.logits(tokens, parents, places, wanted)).ravel()
                ptr = np.zeros(tokens.size + 1, np.int64)
                counts.cumsum(out=ptr[1:])
                children, renormalise = _joined(parts, "child_tokens"), self._kind == "renormalised"
                return np.asarray(self._core.score(tokens, parents, places, ptr, children, renormalise))
            except BaseException:
                self._core.release(places)
                raise


def _joined(parts: Sequence[Rows], name: str) -> NDArray[np.int32]:
    return np.concatenate([getattr(part, name) for part in parts], dtype=np.int32)


def _rows_of(blocks: list[int]) -> NDArray[np.int32]:
    """The places in blocks, block by block."""
    starts = np.array(blocks, np.int32)[:, None] * BLOCK
    return (starts + np.arange(BLOCK)).ravel().astype(np.int32)
