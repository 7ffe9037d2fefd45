"""A measurement repeated while other processes take processor time. Knows nothing of what is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value")
MOST_FOREIGN = 0.05  # share of the machine's processor time, above which a sample is repeated
TRIES = 3
WAIT_S = 1.0


@dataclass(frozen=True)
class Sample(Generic[Value]):
    """A value, the foreign share of processor time while it was made, and how often it was tried."""

    value: Value
    foreign: float
    tries: int

    @property
    def disturbed(self) -> bool:
        """Whether others took more than MOST_FOREIGN even in the best try."""
        return self.foreign > MOST_FOREIGN


def undisturbed(
    measure: Callable[[], Value],
    watch: Callable[[], Callable[[], float]],
    tries: int = TRIES,
    sleep: Callable[[float], None] = time.sleep,
) -> Sample[Value]:
    """`measure()` with at most MOST_FOREIGN foreign load, else the least disturbed of `tries`.

    `watch()` starts to observe and returns what gives the foreign share since then.
    """
    best: Sample[Value] | None = None
    for number in range(1, max(1, tries) + 1):
        foreign = watch()
        value = measure()
        found = Sample(value, foreign(), number)
        if best is None or found.foreign < best.foreign:
            best = found
        if not found.disturbed:
            break
        if number < tries:
            sleep(WAIT_S)
    assert best is not None
    return Sample(best.value, best.foreign, number)


class Patience:
    """Undisturbed samples with a bound on all repeats together: a machine may never be quiet.

    tries: of one sample; repeats: of all, after which each sample is made once, whatever disturbs it.
    """

    def __init__(self, tries: int, repeats: int, sleep: Callable[[float], None] = time.sleep) -> None:
        self.tries, self.left, self._sleep = tries, repeats, sleep

    def sample(self, measure: Callable[[], Value], watch: Callable[[], Callable[[], float]]) -> Sample[Value]:
        """`undisturbed` with what patience is left."""
        found = undisturbed(measure, watch, min(self.tries, 1 + self.left), self._sleep)
        self.left -= found.tries - 1
        return found
