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

from benchmarks.engines import ENGINES, EngineKind, chosen
from benchmarks.json_process import JsonProcess
from benchmarks.machine import ForeignLoad
from benchmarks.peer_models import REAL, SHAPES
from benchmarks.speed_engines import prompt
from benchmarks.undisturbed import TRIES, Sample, undisturbed

DECODED = 16
SETTLED = 24  # tokens alone before those that count: what an engine learned beside the loop is forgotten
ROUNDS, PEER_ROUNDS = 5, 3  # beside the loop a peer may take a second for each token
MOST_BITS = 8  # of the engines by default: unquantized ones are slow alone
SETTLE_S = 0.3  # until the loop runs and the scheduler has spread the threads


@contextmanager
def busy_core() -> Iterator[int]:
    """One core taken by a loop, whose process id it gives."""
    core = max(os.sched_getaffinity(0))
    code = f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    loop = subprocess.Popen([sys.executable, "-c", code])
    try:
        time.sleep(SETTLE_S)
        yield loop.pid
    finally:
        loop.kill()
        loop.wait()


def decode_s(process: JsonProcess, tokens: list[int], settled: int = 0) -> float:
    """Seconds per token, after `settled` that do not count; the process is awake only meanwhile."""
    process.resume()
    try:
        if settled:
            process.ask({"do": "generate", "tokens": tokens, "count": settled}, timeout_s=300.0)
        answer = process.ask({"do": "generate", "tokens": tokens, "count": 1 + DECODED}, timeout_s=300.0)
    finally:
        process.pause()
    return float(answer["rest_s"]) / DECODED


def beside_s(process: JsonProcess, tokens: list[int], tries: int) -> Sample[float]:
    """Seconds per token beside the loop, again where others than the loop disturb it."""
    with busy_core() as loop:
        return undisturbed(
            lambda: decode_s(process, tokens), lambda: ForeignLoad([process.pid, loop]).share, tries
        )


def measure(kinds: tuple[EngineKind, ...], rounds: int, tries: int = TRIES) -> dict[str, Any]:
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
        samples: dict[str, list[tuple[Sample[float], Sample[float]]]] = {kind.name: [] for kind, _ in running}
        for number in range(rounds):
            for kind, process in running:
                if not kind.ours and number >= PEER_ROUNDS:
                    continue
                alone = undisturbed(
                    lambda p=process: decode_s(p, tokens, SETTLED),
                    lambda p=process: ForeignLoad([p.pid]).share,
                    tries,
                )
                samples[kind.name].append((alone, beside_s(process, tokens, tries)))
    for kind, _ in running:
        pairs = samples[kind.name]
        alone, beside = np.array([[sample.value for sample in pair] for pair in pairs]).T
        rows.append(
            {
                "engine": kind.name,
                "label": kind.label,
                "ours": kind.ours,
                "alone_tokens_s": round(float(np.median(1 / alone)), 1),
                "busy_tokens_s": round(float(np.median(1 / beside)), 1),
                "times_slower": round(float(np.median(beside / alone)), 2),
                "samples": np.round(beside / alone, 2).tolist(),
                "rounds": len(pairs),
                "disturbed_rounds": sum(any(sample.disturbed for sample in pair) for pair in pairs),
            }
        )
    return {"shape": REAL, "label": SHAPES[REAL].label, "threads": 2, "rounds": rounds, "engines": rows}


def main() -> None:
    """Measures and writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", nargs="*", default=[], help="names; by default all quantized ones")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--tries", type=int, default=TRIES, help="of a sample that other processes disturb")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    kinds = chosen(options.engines or [kind.name for kind in ENGINES if kind.bits <= MOST_BITS])
    result = measure(kinds, options.rounds, options.tries)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for row in result["engines"]:
        print(row["label"], row.get("failed") or f"{row['times_slower']} times slower")


if __name__ == "__main__":
    main()
