"""Rows -> milliseconds of one forward, measured once per machine and model and cached. Knows no search."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adtrie import __version__
from adtrie.config import RowCost, cache_dir
from adtrie.errors import InputError

if TYPE_CHECKING:
    from adtrie.engine.engine import Engine

ROW_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_CONTEXT = 128  # tokens before the measured rows: instruction and listing of a typical request
_CHILDREN = 8
_MAX_CACHE_BYTES = 65_536
_REPEATS, _MOST_REPEATS, _ENOUGH_MS = 3, 25, 250.0  # of one row count


def load_or_measure(engine: Engine) -> RowCost:
    """The cached table of this machine, model and options; else measured now and cached."""
    key = _key(engine)
    path = cache_dir() / "latency" / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.json"
    table = _read(path, key)
    if table is None:
        table = measure(engine)
        _write(path, {"key": key, "rows": table.table_rows.tolist(), "ms": table.table_ms.tolist()})
    return table


def measure(engine: Engine) -> RowCost:
    """Least milliseconds of a scoring forward of each of ROW_COUNTS rows, made monotone.

    The least, not the median: other processes only ever add time, and the table is kept for long.
    """
    context = max(1, min(_CONTEXT, engine.spec.max_positions - 1))
    rows = [n for n in ROW_COUNTS if n <= max(1, engine.spec.vocab_size)]
    prefix = np.zeros(context - 1, dtype=np.int32)
    session = engine.session(prefix, max_rows=max(rows) + 1)
    children = np.arange(min(_CHILDREN, engine.spec.vocab_size), dtype=np.int32)
    milliseconds = []
    for count in rows:
        tokens, ptr = np.zeros(count, np.int32), np.arange(count + 1, dtype=np.int64) * len(children)
        parents, listed = np.full(count, -1, np.int32), np.tile(children, count)
        samples: list[float] = []
        while len(samples) < _REPEATS or (len(samples) < _MOST_REPEATS and sum(samples) < _ENOUGH_MS):
            session.reset()
            started = time.perf_counter()
            session.score(tokens, parents, ptr, listed)
            samples.append((time.perf_counter() - started) * 1e3)
        milliseconds.append(min(samples))
    return RowCost.measured(rows, milliseconds)


def _key(engine: Engine) -> dict[str, Any]:
    return {
        "adtrie": __version__,
        "machine": _processor(),
        "cores": os.cpu_count(),
        "model": engine.fingerprint,
        "weights": engine.weights,
        "activations": engine.activations,
        "threads": engine.num_threads,
        "isa": engine.isa,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _read(path: Path, key: dict[str, Any]) -> RowCost | None:
    """The table in `path` if it is sound and for `key`; a damaged or foreign file counts as none."""
    try:
        if path.stat().st_size > _MAX_CACHE_BYTES:
            return None
        content = json.loads(path.read_text())
        if content["key"] != key:
            return None
        return RowCost.measured(content["rows"], content["ms"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, InputError):
        return None


def _write(path: Path, content: dict[str, Any]) -> None:
    """Crash-safe; a cache that cannot be written only costs the next start a measurement."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", delete=False) as file:
            json.dump(content, file)
        os.replace(file.name, path)
    except OSError:
        return
