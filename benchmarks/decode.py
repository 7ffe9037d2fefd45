"""Decode speed of the engine beside the read bandwidth of the same run: `python -m benchmarks.decode`.

A forward of few rows reads all weights once, so tokens/s at batch 1 is bounded by bandwidth / weight bytes.
Answers are checked before anything is timed.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from adtrie import _core
from adtrie.engine import Engine, Session
from adtrie.models import open_checkpoint
from benchmarks import machine

ROWS = (1, 8, 32, 64)
CONTEXT = 128
FORWARDS = {1: 48, 8: 16, 32: 8, 64: 5}  # per sample; a sample is one mean over them
PROMPT = (
    "Online advertising is a form of marketing which uses the Internet to bring promotional messages to "
    "consumers. A listing of a shop names brand, series, size and colour of one product. "
)


def context_tokens(tokens: NDArray[np.int32]) -> NDArray[np.int32]:
    """The first CONTEXT tokens of a repeated text."""
    return np.asarray(np.resize(tokens, CONTEXT), dtype=np.int32)


def score_rows(session: Session, tokens: NDArray[np.int32], child: int) -> NDArray[np.float32]:
    """One forward of the given rows below the prefix, each asked for one child (full normaliser)."""
    count = len(tokens)
    return session.score(
        tokens,
        np.full(count, -1, np.int32),
        np.arange(count + 1, dtype=np.int64),
        np.full(count, child, np.int32),
    )


def check(engine: Engine, reference: Engine, prompt: NDArray[np.int32]) -> dict[str, Any]:
    """Rows alone and together give equal bits; top-1 agreement with float32 weights and activations."""
    session = engine.session(prompt)
    tokens = np.arange(100, 164, dtype=np.int32)
    together = score_rows(session, tokens, 7)
    for row in (0, 13, 63):
        session.reset()
        alone = score_rows(session, tokens[row : row + 1], 7)
        if alone[0] != together[row]:
            raise SystemExit(f"row {row} alone gives {alone[0]}, among 64 {together[row]}: nothing was timed")
    agreement = np.mean(engine.logits(prompt).argmax(1) == reference.logits(prompt).argmax(1))
    return {"rows_bit_equal_alone_and_together": True, "top1_agreement_with_float32": float(agreement)}


def sample(session: Session, rows: int) -> float:
    """Seconds per forward of `rows` rows, mean of FORWARDS[rows] forwards."""
    tokens = np.arange(200, 200 + rows, dtype=np.int32)
    total = 0.0
    for _ in range(FORWARDS[rows]):
        session.reset()
        started = time.perf_counter()
        score_rows(session, tokens, 7)
        total += time.perf_counter() - started
    return total / FORWARDS[rows]


def measure(engine: Engine, prompt: NDArray[np.int32], repeats: int) -> dict[str, Any]:
    """Medians over interleaved samples: bandwidth probe, then each row count, `repeats` times."""
    session = engine.session(prompt)
    for rows in ROWS:
        sample(session, rows)
    bandwidth: list[float] = []
    seconds: dict[int, list[float]] = {rows: [] for rows in ROWS}
    load = machine.ForeignLoad()
    for _ in range(repeats):
        bandwidth.append(float(np.median(_core.read_bandwidth(engine.weight_bytes, engine.num_threads, 5))))
        for rows in ROWS:
            seconds[rows].append(sample(session, rows))
    bound = [rate / engine.weight_bytes for rate in bandwidth]
    return {
        "threads": engine.num_threads,
        "isa": engine.isa,
        "weight_bytes": engine.weight_bytes,
        "context": CONTEXT,
        "repeats": repeats,
        "foreign_load": round(load.share(), 3),
        "read_bandwidth_gb_s": round(float(np.median(bandwidth)) / 1e9, 2),
        "rows": [_row(rows, seconds[rows], bound, engine.weight_bytes) for rows in ROWS],
    }


def _row(rows: int, seconds: list[float], bound: list[float], weight_bytes: int) -> dict[str, Any]:
    rate = [1 / s for s in seconds]
    share = [r / b for r, b in zip(rate, bound, strict=True)]
    return {
        "rows": rows,
        "ms_per_forward": round(float(np.median(seconds)) * 1e3, 3),
        "tokens_per_s": round(float(np.median(rate)) * rows, 1),
        "gb_per_s": round(float(np.median(rate)) * weight_bytes / 1e9, 2),
        "percent_of_bandwidth_bound": round(float(np.median(share)) * 100, 1),
        "percent_min_max": [round(min(share) * 100, 1), round(max(share) * 100, 1)],
    }


def show(result: dict[str, Any]) -> None:
    """The result as a table on the terminal."""
    for item in result["measured"]:
        title = (
            f"{item['name']}: {item['weight_bytes'] / 1e6:.1f} MB of weights, {item['threads']} thread(s), "
            f"{item['isa']}, reads {item['read_bandwidth_gb_s']} GB/s, "
            f"foreign load {item['foreign_load']:.0%}"
        )
        table = Table("rows", "ms/forward", "tokens/s", "GB/s", "% of bandwidth bound", title=title)
        for row in item["rows"]:
            low, high = row["percent_min_max"]
            percent = f"{row['percent_of_bandwidth_bound']} ({low}-{high})"
            values = (row["rows"], row["ms_per_forward"], row["tokens_per_s"], row["gb_per_s"], percent)
            table.add_row(*map(str, values))
        Console().print(table)


def main() -> None:
    """Measures every weight form with all threads, and the file's own form with one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    checkpoint = open_checkpoint(options.model)
    prompt = context_tokens(checkpoint.tokenizer.encode(PROMPT))
    reference = Engine(checkpoint, weights="float32", activations="float32")
    measured = []
    for name, weights, threads in (
        ("INT4 as in the file (Q4_1, head Q8_0)", "auto", None),
        ("INT4 as in the file, one thread", "auto", 1),
        ("float32", "float32", None),
    ):
        engine = Engine(checkpoint, weights=weights, threads=threads)
        checked = check(engine, reference, prompt)
        measured.append({"name": name, **checked, **measure(engine, prompt, options.repeats)})
    result = {"model": options.model, "measured": measured}
    show(result)
    print(f"written to {machine.write('decode', result)}")


if __name__ == "__main__":
    main()
