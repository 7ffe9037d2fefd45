"""Continuous batching: requests that run at the same time, fed in common forwards with fair shares.

A request is a function that calls a scorer; each runs in a thread of its own and waits there for its scores.
Knows rows and lanes; no search, no text.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from threading import Condition, Lock, Thread
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from adtrie.config import RowCost
from adtrie.engine.lanes import Lane, Places, Rows
from adtrie.errors import CapacityError, InputError

T = TypeVar("T")
FAIR_ROWS = 8  # that a request counts for at most when it is decided whether more may begin
SURPLUS = 1.5  # rows that requests should have ready, in forwards of all lanes
PATIENCE_S = 0.002  # how long a forward waits for requests that are about to ask for rows
MAX_ROWS_IN_USE = 65_536  # no further request starts above it
SATURATED = 1.1  # a forward of so much more time per row than the best one is as good
MOST_ROWS = 128  # of one forward, however the table was measured: others wait for its end


class Group(Protocol):
    """Rows of many requests and the lanes that feed them: `engine.lanes.LaneGroup`, or a fake."""

    renormalised: bool
    wide: Any
    single: Any

    @property
    def rows_in_use(self) -> int:
        """Rows that requests hold at the moment."""

    def open(self, max_rows: int) -> Places:
        """Places for one request."""


def saturating_rows(cost: RowCost) -> int:
    """The fewest rows at which a forward costs little more per row than the cheapest; 128 at most."""
    per_row = cost.table_ms / cost.table_rows
    enough = int(cost.table_rows[int(np.argmax(per_row <= SATURATED * float(per_row.min())))])
    return min(enough, MOST_ROWS)


def cost_in_company(cost: RowCost, rows: int) -> RowCost:
    """What a forward costs a request whose rows go with others' in forwards of `rows`: the price of its rows.

    And of one row more, for the work between forwards.
    """
    per_row = cost.ms(rows) / rows
    return RowCost.measured([1, 1 + rows], [2 * per_row, (2 + rows) * per_row])


class Pending(Generic[T]):
    """A request that was submitted."""

    def __init__(self, batcher: Batcher, job: Callable[[BatchScorer], T], max_rows: int) -> None:
        self._batcher, self.job, self.max_rows = batcher, job, max_rows
        self.future: Future[T] = Future()
        self.scorer: BatchScorer | None = None
        self.cancelled = False

    def result(self, timeout: float | None = None) -> T:
        """What the request returned. Raises what it raised, CancelledError, or TimeoutError."""
        return self.future.result(timeout)

    def done(self) -> bool:
        """Whether `result` returns at once."""
        return self.future.done()

    def cancel(self) -> None:
        """Ends the request: at once if it has not begun, else when its forward in progress has ended."""
        self._batcher.cancel(self)


class BatchScorer:
    """The scorer of one request: hands its rows to the lanes and waits for the scores."""

    def __init__(self, batcher: Batcher, number: int, places: Places) -> None:
        self._batcher, self._places = batcher, places
        self.number = number  # requests that began earlier come first
        self.appetite = FAIR_ROWS  # rows of its newest forward, at most so many
        self.renormalised = batcher.group.renormalised

    def score(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        """As `Session.score`: the same bits, whatever other requests are fed at the same time."""
        places = self._places.append(len(tokens))
        parents = self._places.of(np.asarray(parents, np.int32))
        if len(child_ptr) != len(tokens) + 1 or len(parents) != len(tokens):
            raise InputError("score: expected one parent for each token and one more entry of child_ptr")
        rows = Rows(np.asarray(tokens, np.int32), parents, places, child_ptr, child_tokens)
        return self._batcher.feed(_Call(self, rows)) if rows.size else np.zeros(0, np.float32)

    def close(self) -> None:
        """Frees the rows of the request."""
        self._places.close()


class _Call:
    """The rows of one `score`, fed in one or more forwards."""

    def __init__(self, scorer: BatchScorer, rows: Rows) -> None:
        self.scorer, self.rows = scorer, rows
        self.fed = 0  # rows whose scores are there
        self.scores = np.zeros(rows.child_tokens.size, np.float32)
        self.error: BaseException | None = None
        self.ended = Lock()  # held until the scores are there
        self.ended.acquire()

    @property
    def left(self) -> int:
        """Rows to be fed yet."""
        return self.rows.size - self.fed


class Batcher:
    """Runs up to `concurrency` requests at the same time over the lanes of `group`; `queue` more may wait.

    A forward has at most `rows_per_forward` rows, shared out evenly, what is over to the oldest request. A
    request begins when the others leave forwards room. Close it, or use it in a `with` statement.
    """

    def __init__(self, group: Group, rows_per_forward: int, concurrency: int, queue: int) -> None:
        self.group, self.rows_per_forward = group, rows_per_forward
        self._concurrency, self._queue_size = concurrency, queue
        self._changed = Condition()
        self._queue: deque[Pending[Any]] = deque()
        self._running: dict[int, Pending[Any]] = {}
        self._waiting: list[_Call] = []
        self._thinking = 0  # running requests that neither wait for scores nor are being fed
        self._numbers = itertools.count()
        self._closed = self._wide = False
        self._lanes = [Thread(target=self._serve, args=(lane,), daemon=True) for lane in group.single]
        for thread in self._lanes:
            thread.start()

    def __enter__(self) -> Batcher:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def submit(self, job: Callable[[BatchScorer], T], max_rows: int) -> Pending[T]:
        """Runs `job(scorer)`, which may feed up to `max_rows` rows, as soon as there is room for it.

        Raises CapacityError when the queue is full, InputError after `close`.
        """
        pending = Pending(self, job, max_rows)
        with self._changed:
            if self._closed:
                raise InputError("batcher: it is closed; submit before close()")
            if len(self._queue) >= self._queue_size + self._concurrency - len(self._running):
                raise CapacityError(
                    f"{len(self._queue)} requests are waiting, no more may; try again when some are answered"
                )
            self._queue.append(pending)
            self._start()
        return pending

    def cancel(self, pending: Pending[Any]) -> None:
        """Ends one request; see `Pending.cancel`."""
        with self._changed:
            pending.cancelled = True
            if pending in self._queue:
                self._queue.remove(pending)
                pending.future.set_exception(CancelledError())
            for call in [call for call in self._waiting if call.scorer is pending.scorer]:
                self._waiting.remove(call)
                self._end(call, CancelledError())

    def close(self) -> None:
        """Cancels what has not ended and returns when every thread has."""
        with self._changed:
            self._closed = True
            for pending in [*self._queue, *self._running.values()]:
                self.cancel(pending)
            self._changed.notify_all()
        for thread in self._lanes:
            thread.join()

    def feed(self, call: _Call) -> NDArray[np.float32]:
        """Scores of the rows of one request; its thread waits for them."""
        with self._changed:
            pending = self._running[call.scorer.number]
            if pending.cancelled:
                raise CancelledError
            call.scorer.appetite = min(call.rows.size, FAIR_ROWS)
            self._thinking -= 1
            self._waiting.append(call)
            self._start()
            self._changed.notify()
        call.ended.acquire()
        if call.error is not None:
            raise call.error
        return call.scores

    def _start(self) -> None:
        """Begins queued requests while the running ones leave room in the forwards."""
        wanted = SURPLUS * self.rows_per_forward * len(self._lanes)
        while self._queue and len(self._running) < self._concurrency:
            ready = sum(pending.scorer.appetite for pending in self._running.values() if pending.scorer)
            if self._running and (ready >= wanted or self.group.rows_in_use >= MAX_ROWS_IN_USE):
                return
            pending = self._queue.popleft()
            number = next(self._numbers)
            pending.scorer = BatchScorer(self, number, self.group.open(pending.max_rows))
            self._running[number] = pending
            self._thinking += 1
            Thread(target=self._run, args=(pending, pending.scorer), daemon=True).start()

    def _run(self, pending: Pending[Any], scorer: BatchScorer) -> None:
        """The thread of one request."""
        try:
            result, error = pending.job(scorer), None
        except BaseException as raised:  # whatever it is, it is this request's alone
            result, error = None, raised
        with self._changed:
            scorer.close()
            del self._running[scorer.number]
            self._thinking -= 1
            self._start()
            self._changed.notify_all()
        if error is None:
            pending.future.set_result(result)
        else:
            pending.future.set_exception(error)

    def _serve(self, lane: Lane) -> None:
        """The thread of one lane: forwards until the end."""
        while shares := self._next():
            alone = self._wide  # set by this thread, or no forward would have begun
            self._forward(self.group.wide if alone else lane, shares)
            if alone:
                with self._changed:
                    self._wide = False
                    self._changed.notify_all()

    def _next(self) -> list[tuple[_Call, int]]:
        """The calls of the next forward with the rows of each; waits for them. Empty at the end."""
        with self._changed:
            since = time.monotonic()
            while True:
                if self._closed and not self._running:
                    return []
                if not self._waiting or self._wide:
                    self._changed.wait()
                    since = time.monotonic()
                    continue
                left = PATIENCE_S - (time.monotonic() - since)
                ready = sum(call.left for call in self._waiting)
                if self._thinking == 0 or ready >= self.rows_per_forward or left <= 0:
                    break
                self._changed.wait(left)
            return self._take()

    def _take(self) -> list[tuple[_Call, int]]:
        """Takes a fair share of each waiting call, oldest requests first.

        All threads feed a request that is alone. Where every request waits, each lane takes its part of them:
        one would leave the others idle.
        """
        lanes = len(self._lanes)
        self._wide = len(self._running) == 1
        room = self.rows_per_forward * (lanes if self._wide else 1)
        calls = sorted(self._waiting, key=lambda call: call.scorer.number)[:room]
        if len(self._waiting) == len(self._running) > 1:
            calls = calls[: share_of_a_lane([call.left for call in calls], lanes)]
        shares = fair_shares([call.left for call in calls], room)
        taken = set(map(id, calls))
        self._waiting = [call for call in self._waiting if id(call) not in taken]
        return list(zip(calls, shares, strict=True))

    def _forward(self, lane: Lane, shares: list[tuple[_Call, int]]) -> None:
        """One forward; where it fails each call is fed alone, so that an error hits its own request only."""
        try:
            parts = [call.rows.part(call.fed, call.fed + rows) for call, rows in shares]
            scores = lane.score(parts)
        except BaseException as error:
            if len(shares) > 1:
                for share in shares:
                    self._forward(lane, [share])
            else:
                with self._changed:
                    self._end(shares[0][0], error)
            return
        with self._changed:
            at = 0
            for (call, rows), part in zip(shares, parts, strict=True):
                first, count = int(call.rows.child_ptr[call.fed]), part.child_tokens.size
                call.scores[first : first + count] = scores[at : at + count]
                call.fed, at = call.fed + rows, at + count
                cancelled = self._running[call.scorer.number].cancelled
                if cancelled or call.left == 0:
                    self._end(call, CancelledError() if cancelled else None)
                else:
                    self._waiting.append(call)
            self._changed.notify_all()

    def _end(self, call: _Call, error: BaseException | None) -> None:
        """Wakes the thread of a call."""
        call.error = error
        self._thinking += 1
        call.ended.release()


def share_of_a_lane(rows: Sequence[int], lanes: int) -> int:
    """How many of the first calls have at least one part in `lanes` of all their rows (positive counts)."""
    fed = np.cumsum(rows)
    return int(np.searchsorted(fed, fed[-1] / lanes)) + 1


def fair_shares(wanted: Sequence[int], room: int) -> list[int]:
    """Rows of each call: all get as many as the least served, the rest goes to the first that want more.

    Sums to min(room, sum(wanted)); `wanted` are at most `room` positive counts.
    """
    shares = [0] * len(wanted)
    hungry = sorted(range(len(wanted)), key=lambda i: wanted[i])
    while hungry and room >= len(hungry):
        level = min(wanted[hungry[0]] - shares[hungry[0]], room // len(hungry))
        for i in hungry:
            shares[i] += level
        room -= level * len(hungry)
        hungry = [i for i in hungry if shares[i] < wanted[i]]
    for i in sorted(hungry):
        more = min(room, wanted[i] - shares[i])
        shares[i], room = shares[i] + more, room - more
    return shares
