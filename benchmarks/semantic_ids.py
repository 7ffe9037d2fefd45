"""Ten million codes behind the trie, in a process of its own: `python -m benchmarks.semantic_ids`.

Codes of 8 tokens from 2,048, uniform (the hardest to share) and skewed as cluster paths are (wide at the top,
few children below, several items per code). Seconds to build, peak memory, bytes per entry; random codes are
walked through the trie's children before anything is reported. Needs no model.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue import Trie, balanced_codes
from adtrie.catalogue.sequences import common_prefixes, sort_sequences
from benchmarks import machine

VOCAB, LENGTH = 2048, 8
CHECKED = 2000
BARS = {"bytes_per_entry": 26.0, "seconds": 300.0, "peak_gib": 4.0}


def uniform_codes(num_rows: int, seed: int = 0) -> NDArray[np.uint16]:
    """uint16[N, 8]: every token equally likely."""
    return np.random.default_rng(seed).integers(0, VOCAB, (num_rows, LENGTH), dtype=np.uint16)


def clustered_codes(num_rows: int, seed: int = 0) -> NDArray[np.uint16]:
    """uint16[N, 8]: 2,048 parts at the top, 16 per level below, some of them popular; rows share codes."""
    rng = np.random.default_rng(seed)
    codes = np.empty((num_rows, LENGTH), np.uint16)
    codes[:, 0] = rng.integers(0, VOCAB, num_rows, dtype=np.uint16)
    for level in range(1, LENGTH):
        codes[:, level] = np.minimum(rng.geometric(0.35, num_rows) - 1, 15).astype(np.uint16)
    return codes


def build(codes: NDArray[np.uint16]) -> tuple[Trie, NDArray[np.int64], NDArray[np.int64]]:
    """The trie of the distinct codes, the order of the rows int64[N], and each entry's first row in it."""
    tokens, starts = codes.ravel(), np.arange(len(codes), dtype=np.int64) * LENGTH
    order = sort_sequences(tokens, np.append(starts, tokens.size))
    lengths = np.full(len(codes), LENGTH, np.int64)
    starts = starts[order]
    shared = common_prefixes(tokens, starts, lengths)
    first = np.flatnonzero(shared < LENGTH)
    return Trie.from_sorted(tokens, starts[first], lengths[first], shared[first], VOCAB), order, first


def check(codes: NDArray[np.uint16], trie: Trie, order: NDArray[np.int64], first: NDArray[np.int64]) -> None:
    """Stop unless random rows are found by walking their codes, and the ends of all rows are in order."""
    rows = np.random.default_rng(1).integers(0, len(codes), CHECKED)
    entry_of = np.searchsorted(first, np.argsort(order)[rows], side="right") - 1
    lo, hi = np.zeros(CHECKED, np.int64), np.full(CHECKED, trie.num_entries)
    for depth in range(LENGTH):
        children = trie.children(lo, hi, np.full(CHECKED, depth))
        key = np.repeat(np.arange(CHECKED), np.diff(children.ptr)) * VOCAB + children.tokens
        at = np.searchsorted(key, np.arange(CHECKED) * VOCAB + codes[rows, depth])
        if not np.array_equal(key[at], np.arange(CHECKED) * VOCAB + codes[rows, depth]):
            raise SystemExit("a code is not in the trie: nothing is reported")
        lo, hi = children.lo[at], children.hi[at]
    if not (np.array_equal(lo, entry_of) and np.array_equal(hi, lo + 1) and children.is_leaf[at].all()):
        raise SystemExit("a code leads to another entry: nothing is reported")


def measure(kind: str, num_rows: int) -> dict[str, Any]:
    """One trie built in this process: seconds of wall and processor, peak memory, bytes."""
    codes = {"uniform": uniform_codes, "clustered": clustered_codes}[kind](num_rows)
    before = _peak_gib()
    wall, busy = time.perf_counter(), time.process_time()
    trie, order, first = build(codes)
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    peak = _peak_gib()
    check(codes, trie, order, first)
    return {
        "codes": kind,
        "rows": num_rows,
        "entries": trie.num_entries,
        "wall_s": round(wall, 1),
        "processor_s": round(busy, 1),
        "peak_gib": round(peak, 3),
        "peak_before_gib": round(before, 3),
        "trie_bytes_per_entry": round(trie.num_bytes / trie.num_entries, 2),
        "trie_and_rows_bytes_per_row": round((trie.num_bytes + 4 * trie.num_entries) / num_rows, 2),
    }


def measure_clusters(num_rows: int, width: int, branching: tuple[int, ...]) -> dict[str, Any]:
    """Balanced clusters of random vectors around random centres, and whether sizes are within one."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((1000, width), np.float32)
    vectors = centres[rng.integers(0, 1000, num_rows)]
    vectors += 0.5 * rng.standard_normal(vectors.shape, np.float32)
    wall, busy = time.perf_counter(), time.process_time()
    codes = balanced_codes(vectors, branching)
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    sizes = np.unique(codes, axis=0, return_counts=True)[1]
    if sizes.max() - sizes.min() > len(branching):
        raise SystemExit("sizes are not balanced: nothing is reported")
    return {
        "vectors": num_rows,
        "width": width,
        "branching": branching,
        "wall_s": round(wall, 1),
        "processor_s": round(busy, 1),
        "peak_gib": round(_peak_gib(), 3),
        "rows_per_code": [int(sizes.min()), int(sizes.max())],
    }


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def in_process(*arguments: object) -> dict[str, Any]:
    """The result of one measurement in a fresh process, so that its peak memory is its own."""
    command = [sys.executable, "-m", "benchmarks.semantic_ids", "--measure", *map(str, arguments)]
    done = subprocess.run(command, cwd=machine.ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr.strip()[-2000:])
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    """Measures each in a process of its own; writes benchmarks/results/semantic_ids.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--measure", nargs=2, metavar=("KIND", "ROWS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        kind, rows = options.measure[0], int(options.measure[1])
        result = measure_clusters(rows, 64, (256, 16, 16)) if kind == "clusters" else measure(kind, rows)
        print(json.dumps(result))
        return
    load = machine.ForeignLoad()
    tries = [in_process(kind, options.rows) for kind in ("uniform", "clustered")]
    result = {
        "vocabulary": VOCAB,
        "tokens": LENGTH,
        "bars": BARS,
        "tries": tries,
        "clusters": in_process("clusters", options.vectors),
        "foreign_load": round(load.share(), 3),
    }
    print(json.dumps(result, indent=1))
    print(f"written to {machine.write('semantic_ids', result)}")


if __name__ == "__main__":
    main()
