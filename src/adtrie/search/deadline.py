"""Whether one more forward of a request ends in time: the row cost, corrected by what was seen.

Where forwards can be stopped it is begun if it probably ends in time, else only if it almost certainly does.
Knows a clock and counts of rows; no trie, no scores. A `Pace` outlives requests, a `Deadline` is of one.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.config import RowCost
from adtrie.errors import InputError, shown
from adtrie.search.scorer import Scorer, StoppableScorer

Clock = Callable[[], float]  # seconds since any moment, never going back
MAX_DEADLINE_MS = 1e9
STOPPED = 1.1  # times as long as it had or was expected to take a stopped forward counts: a guess
FEW, CAUTION = 16, 1.5  # before so many measurements a forward counts as slower than its table says


@dataclass(frozen=True)
class Risk:
    """How sure it has to be that a forward ends in time.

    A prediction is the `quantile` of the last `kept` measurements. After `refused` requests that could not
    begin the slowest is forgotten. `leeway_ms` are kept besides, because stops come a little late.
    """

    quantile: float
    kept: int
    refused: int
    leeway_ms: float = 0.0


CERTAIN = Risk(0.99, 256, 100)  # at most one of a hundred forwards ends late or is tried too early
STOPPABLE = Risk(0.8, 64, 4, 0.5)  # what takes longer is given up: set for recall (`search deadlines`)


class Pace:
    """How much longer forwards take than their table says, and what the work between them takes.

    Made once for an engine and given to every `Deadline`; callers from several threads take turns.
    `risk` is STOPPABLE if the forwards are those of a `StoppableScorer`.
    """

    def __init__(self, risk: Risk = CERTAIN) -> None:
        self._risk = risk
        self._ratios: deque[float] = deque(maxlen=risk.kept)
        self._start_ms: deque[float] = deque(maxlen=risk.kept)
        self._end_ms: deque[float] = deque(maxlen=CERTAIN.kept)
        self._refused = 0

    @property
    def factor(self) -> float:
        """What the milliseconds of the table are multiplied with, at least 1.0."""
        seen = max(_high(self._ratios, self._risk.quantile), 1.0)
        return seen if len(self._ratios) >= FEW else max(seen, CAUTION)

    @property
    def host_ms(self) -> float:
        """Milliseconds besides a forward: from counting its rows to its start, from its end to the answer."""
        return _high(self._start_ms, self._risk.quantile) + self.end_ms

    @property
    def end_ms(self) -> float:
        """Milliseconds from the end of the last forward to the answer, seldom more."""
        return _high(self._end_ms, CERTAIN.quantile) + self._risk.leeway_ms

    def saw_forward(self, predicted_ms: float, ms: float) -> None:
        """Takes in one forward: what the table said and what it took."""
        self._ratios.append(ms / predicted_ms)

    def saw_stopped(self, predicted_ms: float, ms: float) -> None:
        """Takes in one that was stopped after `ms`: it would have taken longer, and longer than expected."""
        self._ratios.append(STOPPED * max(ms / predicted_ms, self.factor))

    def saw_start(self, ms: float) -> None:
        """Takes in the work between counting the rows of a forward and its beginning."""
        self._start_ms.append(ms)

    def saw_end(self, ms: float) -> None:
        """Takes in the work after the last forward."""
        self._end_ms.append(ms)

    def refused(self) -> None:
        """A request could not begin, though its table says that there is time.

        A machine that was busy once must not refuse all later forwards: now and then the slowest measurements
        are forgotten. So at most one of `Risk.refused` such requests is tried too early.
        """
        self._refused += 1
        if self._refused % self._risk.refused == 0:
            _forget_slowest(self._ratios)
            _forget_slowest(self._start_ms)
        if self._refused % CERTAIN.refused == 0:
            _forget_slowest(self._end_ms)


class Deadline:
    """The time one request has, from the moment this is made."""

    def __init__(
        self, ms: float, cost: RowCost, clock: Clock = time.perf_counter, pace: Pace | None = None
    ) -> None:
        """`ms` from now; 0 leaves no time for any forward. InputError unless it is a number from 0 to 1e9."""
        self._clock, self._cost, self._pace = clock, cost, pace or Pace()
        self._counted = clock()
        self._end = self._counted + check_deadline_ms(ms) / 1e3
        self._forward_ended: float | None = None
        self._stop_at = math.inf

    def left_ms(self) -> float:
        """Milliseconds until the deadline; negative after it."""
        return (self._end - self._clock()) * 1e3

    def most_rows(self, limit: int, least: int = 1) -> int:
        """How many rows, up to `limit`, a forward may have to end in time together with the work after it.

        Fewer than `least` are of no use to the caller.
        """
        self._counted = self._clock()
        left = (self._end - self._counted) * 1e3
        price = self._cost.first(limit + 1)[1:]
        rows = int(price.searchsorted((left - self._pace.host_ms) / self._pace.factor, side="right"))
        if rows < least <= limit and self._forward_ended is None and left > price[least - 1]:
            self._pace.refused()
        return rows

    def fits(self, rows: int) -> bool:
        """Whether a forward of so many rows is expected to end in time."""
        return self._expected_ms(rows) <= self.left_ms()

    def num_forwards(self, rows: int) -> float:
        """How many forwards of so many rows are expected to fit into the time left."""
        return max(self.left_ms(), 0.0) / self._expected_ms(rows)

    def _expected_ms(self, rows: int) -> float:
        """Of a forward and the work after it."""
        return self._cost.ms(rows) * self._pace.factor + self._pace.host_ms

    def forward(self, rows: int, run: Callable[[], None]) -> None:
        """Runs one forward of so many rows, and remembers what it took."""
        began, expected = self._clock(), self._cost.ms(rows)
        self._pace.saw_start((began - self._counted) * 1e3)
        try:
            run()
        except OutOfTime:  # what it took longer counts as work after it
            self._forward_ended = min(self._clock(), max(self._stop_at, began))
            self._pace.saw_stopped(expected, (self._forward_ended - began) * 1e3)
            raise
        self._forward_ended = self._clock()
        self._pace.saw_forward(expected, (self._forward_ended - began) * 1e3)

    def stop_ms(self) -> float:
        """Milliseconds from now until the forward that begins must be stopped, or the answer is late."""
        self._stop_at = self._end - self._pace.end_ms / 1e3
        return (self._stop_at - self._clock()) * 1e3

    def finish(self) -> None:
        """The answer is there: what came after the last forward is remembered."""
        if self._forward_ended is not None:
            self._pace.saw_end((self._clock() - self._forward_ended) * 1e3)


class OutOfTime(Exception):
    """Tells a search that its next forward would not end in time, or was stopped; no caller sees it."""


class StoppingScorer:
    """A scorer whose forwards, if they can be stopped, end by OutOfTime before the answer is late."""

    def __init__(self, scorer: Scorer, deadline: Deadline) -> None:
        self._scorer, self._deadline = scorer, deadline
        self.renormalised = scorer.renormalised

    def score(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        """That of the scorer (which see)."""
        if not isinstance(self._scorer, StoppableScorer):
            return self._scorer.score(tokens, parents, child_ptr, child_tokens)
        left = self._deadline.stop_ms()
        scores = self._scorer.score_within(tokens, parents, child_ptr, child_tokens, left)
        if scores is None:
            raise OutOfTime
        return scores


class TimedScorer:
    """A scorer for a beam search: refuses a forward that would end after the deadline, by OutOfTime."""

    def __init__(self, scorer: Scorer, deadline: Deadline) -> None:
        self._scorer, self._deadline = StoppingScorer(scorer, deadline), deadline
        self.renormalised = scorer.renormalised

    def score(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        """That of the scorer (which see)."""
        if self._deadline.most_rows(tokens.size, tokens.size) < tokens.size:
            raise OutOfTime
        scores: list[NDArray[np.float32]] = []
        run = lambda: scores.append(self._scorer.score(tokens, parents, child_ptr, child_tokens))  # noqa: E731
        self._deadline.forward(tokens.size, run)
        return scores[0]


def check_deadline_ms(ms: Any) -> float:
    """`ms` as a float; InputError unless it is a number from 0 to 1e9 (NaN is none)."""
    if isinstance(ms, bool | np.bool_) or not isinstance(ms, int | float | np.integer | np.floating):
        raise InputError(f"deadline_ms: expected a number of milliseconds, got {shown(ms)}")
    if not 0 <= ms <= MAX_DEADLINE_MS:
        raise InputError(f"deadline_ms: expected 0 to {MAX_DEADLINE_MS:g} milliseconds, got {shown(ms)}")
    return float(ms)


def _forget_slowest(seen: deque[float]) -> None:
    with suppress(ValueError):  # nothing there, or another thread dropped it
        seen.remove(max(seen))


def _high(seen: deque[float], quantile: float) -> float:
    """The quantile of what was seen, 0.0 of nothing."""
    if not seen:
        return 0.0
    return sorted(seen)[math.ceil(quantile * len(seen)) - 1]
