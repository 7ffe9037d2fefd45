"""One structure on one set of sequences: built, checked, timed. `benchmarks.structures` starts it."""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.structure_rivals import STRUCTURES

SECONDS_PER_STEP = 0.5  # of timing at one depth
MOST_REPEATS = 300


def resident_bytes() -> int:
    """Memory of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def microseconds(call: Callable[[], Any]) -> float:
    """Median microseconds of a call, of as many as fit."""
    call()
    times: list[float] = []
    until = time.perf_counter() + SECONDS_PER_STEP
    while len(times) < MOST_REPEATS and (not times or time.perf_counter() < until):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return round(1e6 * statistics.median(times), 1)


def main() -> None:
    """Arguments: structure, folder; writes the result as JSON to standard output."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    tokens, offsets = np.load(folder / "tokens.npy"), np.load(folder / "offsets.npy")
    task = json.loads((folder / "steps.json").read_text())
    before, wall, busy = resident_bytes(), time.perf_counter(), time.process_time()
    structure = STRUCTURES[name](tokens, offsets, task["vocab"])
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    grown = resident_bytes() - before
    states = [structure.start([tuple(prefix) for prefix in step["prefixes"]]) for step in task["steps"]]
    for step, state in zip(task["steps"], states, strict=True):
        if structure.listed(state) != step["children"]:
            raise SystemExit(f"children at depth {len(step['prefixes'][0])} differ from the brute force")
    result = {
        "build_s": round(wall, 2),
        "build_processor_s": round(busy, 2),
        "bytes": structure.num_bytes or grown,
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "step_us": [microseconds(lambda at=state: structure.step(at)) for state in states],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
