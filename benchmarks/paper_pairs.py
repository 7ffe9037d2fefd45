"""Two rows of the paper's table at equal bytes, on many texts: `python -m benchmarks.paper_pairs A,B ...`.

The table's 200 held-out texts do not tell a difference of a few percent in divergence from chance. This takes
more of them and the difference text by text, with its interval. Rows are packed in the table's work folder.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.compress.samples import Sample, make_batches
from adtrie.evaluate.metrics import Interval
from adtrie.evaluate.resampling import Summed
from adtrie.models import open_checkpoint
from benchmarks import machine
from benchmarks.paper_rows import ALL_ROWS, SCENARIOS
from benchmarks.paper_setting import Bench, Sizes
from benchmarks.paper_table import DEFAULT_WORK

PAIRS = ("adaptive,group-64",)


def text_numbers(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """int64[scored]: which text every scored row of their batches is of; numbers are in batch order."""
    numbers, texts = [], 0
    for batch in make_batches(samples):
        numbers.append(texts + np.nonzero(batch.scored)[0])
        texts += len(batch.scored)
    return np.concatenate(numbers)


def interval(differences: NDArray[np.float64], texts: NDArray[np.int64]) -> Interval:
    """The mean difference of scored rows with its interval, texts resampled whole."""
    counts = np.stack([np.bincount(texts, differences), np.bincount(texts)], axis=1)
    return Summed(counts, lambda total: float(total[0] / total[1])).interval(seed=0)


def compare(bench: Bench, pairs: Sequence[tuple[str, str]], recovered: bool) -> list[dict[str, Any]]:
    """Mean nats of both rows of each pair, and the difference with its interval."""
    texts, nats = text_numbers(bench.held_out), {}
    found = []
    for name in dict.fromkeys(name for pair in pairs for name in pair):
        row = ALL_ROWS[name]
        path = (bench.recovered(row) if recovered else None) or bench.packed(row)
        with open_checkpoint(str(path)) as checkpoint:
            nats[name] = bench.reference.rows_of(checkpoint)
        print(f"{name}: {nats[name].mean():.5f} nats")
    for first, second in pairs:
        difference = interval(nats[first] - nats[second], texts)
        found.append(
            {
                "rows": [first, second],
                "nats": [round(float(nats[name].mean()), 6) for name in (first, second)],
                "difference": round(difference.mean, 6),
                "interval": [round(difference.low, 6), round(difference.high, 6)],
                "texts": int(texts.max()) + 1,
                "scored_rows": len(texts),
            }
        )
        low, high = found[-1]["interval"]
        print(f"{first} - {second}: {difference.mean:+.5f} ({low:+.5f} to {high:+.5f})")
    return found


def main() -> None:
    """Compares pairs of rows; writes benchmarks/results/paper_pairs.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "pairs", nargs="*", default=list(PAIRS), help="two names of rows with a comma between"
    )
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), default="targeting")
    parser.add_argument("--texts", type=int, default=1_000, help="held-out texts")
    parser.add_argument(
        "--recovered", type=Path, help="folder of recovered checkpoints, used where there are"
    )
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK)
    options = parser.parse_args()
    pairs = [(first, second) for first, _, second in (pair.partition(",") for pair in options.pairs)]
    unknown = [name for pair in pairs for name in pair if name not in ALL_ROWS]
    if unknown:
        raise SystemExit(f"row {unknown[0]!r} is unknown; choose from {', '.join(ALL_ROWS)}")
    started, sizes = time.monotonic(), Sizes(texts=options.texts)
    bench = Bench(SCENARIOS[options.scenario], options.work, sizes, recovered=options.recovered)
    with closing(bench):
        found = compare(bench, pairs, options.recovered is not None)
    result = {
        "scenario": options.scenario,
        "recovered": options.recovered is not None,
        "pairs": found,
        "seconds": round(time.monotonic() - started, 1),
    }
    print(f"written to {machine.write('paper_pairs', result)}")


if __name__ == "__main__":
    main()
