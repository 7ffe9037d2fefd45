"""Decode while another process keeps one core busy: `python -m benchmarks.speed_manners`.

Each engine decodes alone and beside a loop bound to one core, in turn. Two threads that share their work
evenly lose a factor of 2 or a little more; threads that wait for each other by spinning lose far more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engines import EngineKind, chosen
from benchmarks.json_process import JsonProcess
from benchmarks.peer_models import REAL, SHAPES
from benchmarks.speed_engines import prompt

DECODED = 16
ROUNDS = 5
SETTLE_S = 0.3  # until the loop runs and the scheduler has spread the threads


@contextmanager
def busy_core() -> Iterator[None]:
    """One core taken by a loop."""
    core = max(os.sched_getaffinity(0))
    code = f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    loop = subprocess.Popen([sys.executable, "-c", code])
    try:
        time.sleep(SETTLE_S)
        yield
    finally:
        loop.kill()
        loop.wait()


def decode_s(process: JsonProcess, tokens: list[int]) -> float:
    """Seconds per token; the process is awake only meanwhile."""
    process.resume()
    try:
        answer = process.ask({"do": "generate", "tokens": tokens, "count": 1 + DECODED}, timeout_s=300.0)
    finally:
        process.pause()
    return float(answer["rest_s"]) / DECODED


def measure(kinds: tuple[EngineKind, ...], rounds: int) -> dict[str, Any]:
    """Tokens a second alone and beside the loop, and how much slower that is, of each engine."""
    tokens, rows = prompt(32), []
    with ExitStack() as stack:
        running: list[tuple[EngineKind, JsonProcess]] = []
        for kind in kinds:
            try:
                process = stack.enter_context(kind.start(REAL))
            except RuntimeError as error:
                rows.append({"engine": kind.name, "label": kind.label, "failed": str(error)[-400:]})
                continue
            decode_s(process, tokens)
            running.append((kind, process))
        seconds: dict[str, list[tuple[float, float]]] = {kind.name: [] for kind, _ in running}
        for _ in range(rounds):
            for kind, process in running:
                alone = decode_s(process, tokens)
                with busy_core():
                    seconds[kind.name].append((alone, decode_s(process, tokens)))
    for kind, _ in running:
        alone, beside = np.array(seconds[kind.name]).T
        rows.append(
            {
                "engine": kind.name,
                "label": kind.label,
                "ours": kind.ours,
                "alone_tokens_s": round(float(np.median(1 / alone)), 1),
                "busy_tokens_s": round(float(np.median(1 / beside)), 1),
                "times_slower": round(float(np.median(beside / alone)), 2),
                "samples": np.round(beside / alone, 2).tolist(),
            }
        )
    return {"shape": REAL, "label": SHAPES[REAL].label, "threads": 2, "rounds": rounds, "engines": rows}


def main() -> None:
    """Measures and writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", nargs="*", default=[], help="names; by default all")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    result = measure(chosen(options.engines), options.rounds)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for row in result["engines"]:
        print(row["label"], row.get("failed") or f"{row['times_slower']} times slower")


if __name__ == "__main__":
    main()
