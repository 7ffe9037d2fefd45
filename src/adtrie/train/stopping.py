"""Ctrl-C in the middle of a run: it ends after the update in progress, with its state saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from adtrie.train.run import Run


@contextmanager
def stoppable(run: Run) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) ends the run after the update in progress; a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: object) -> None:
        run.stop()
        for other, handler in before.items():
            signal.signal(other, handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
