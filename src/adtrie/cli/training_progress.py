"""How a training run is shown while it runs; shared by the commands that train."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from adtrie.cli.terminal import note

if TYPE_CHECKING:
    from adtrie.train.run import Position

LINE_EVERY_S = 30.0


def status_line(place: Position) -> str:
    """Step, losses, speed and time left in one line."""
    left = place.seconds_left
    return (
        f"step {place.step}/{place.total or '?'}  loss {place.loss:.3f}  dev {place.dev_curve[-1][1]:.3f}  "
        f"{place.tokens_per_s:.0f} tokens/s  {'?' if left is None else f'{left / 60:.0f}'} min left"
    )


@contextmanager
def training_progress() -> Iterator[Callable[[Position], None]]:
    """A bar on a terminal; elsewhere a line at every dev evaluation and every LINE_EVERY_S seconds."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("starting: dev loss", total=None)
            yield lambda place: bar.update(
                task, description=status_line(place), completed=place.step, total=place.total or None
            )
    else:
        yield _lines()


def _lines() -> Callable[[Position], None]:
    shown_at, num_dev = -LINE_EVERY_S, 0

    def watch(place: Position) -> None:
        nonlocal shown_at, num_dev
        now = time.monotonic()
        if now - shown_at >= LINE_EVERY_S or len(place.dev_curve) > num_dev:
            shown_at, num_dev = now, len(place.dev_curve)
            note(status_line(place))

    return watch
