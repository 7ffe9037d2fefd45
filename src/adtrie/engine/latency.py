"""Rows -> milliseconds of one forward, measured once per plan, which keeps it. Knows no search."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from adtrie.config import RowCost

if TYPE_CHECKING:
    from adtrie.engine.engine import Engine

ROW_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_CONTEXT = 128  # tokens before the measured rows: instruction and listing of a typical request
_CHILDREN = 8
_REPEATS, _MOST_REPEATS, _ENOUGH_MS = 3, 25, 250.0  # of one row count
_TOO_LONG_MS, _FAR_TOO_LONG_MS = 2000.0, 10_000.0


def measure(engine: Engine) -> RowCost:
    """Least milliseconds of a scoring forward of each of ROW_COUNTS rows, made monotone.

    The least, not the median: other processes only ever add time, and the table is kept for long.
    """
    context = max(1, min(_CONTEXT, engine.spec.max_positions - 1))
    rows = [n for n in ROW_COUNTS if n <= max(1, engine.spec.vocab_size)]
    prefix = np.zeros(context - 1, dtype=np.int32)
    session = engine.session(prefix, max_rows=max(rows) + 1)
    children = np.arange(min(_CHILDREN, engine.spec.vocab_size), dtype=np.int32)
    samples: dict[int, list[float]] = {count: [] for count in rows}
    # In rounds: a burst of other processes' work spoils one sample of each count, not all of one count.
    while wanted := [count for count in rows if _more(samples[count])]:
        for count in wanted:
            tokens, ptr = np.zeros(count, np.int32), np.arange(count + 1, dtype=np.int64) * len(children)
            parents, listed = np.full(count, -1, np.int32), np.tile(children, count)
            session.reset()
            started = time.perf_counter()
            session.score(tokens, parents, ptr, listed)
            samples[count].append((time.perf_counter() - started) * 1e3)
    return RowCost.measured(rows, [min(samples[count]) for count in rows])


def _more(samples: list[float]) -> bool:
    spent = sum(samples)
    if len(samples) == 1:  # the first may have met memory that the system had to fetch
        return spent < _FAR_TOO_LONG_MS
    if len(samples) < _REPEATS:
        return spent < _TOO_LONG_MS
    return len(samples) < _MOST_REPEATS and spent < _ENOUGH_MS
