"""Kills a writer 200 times amid changes and compactions: `python -m benchmarks.live_kill`.

After each kill the catalogue is opened again and compared, row by row, with the history it acknowledged.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks import machine

sys.path += [str(machine.ROOT / "tests" / part) for part in ("live", "catalogue")]

from kills import check_kills


def main() -> None:
    """Kills, compares, writes benchmarks/results/live_kill.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest-s", type=float, default=0.5, help="from its first change to the kill")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        draw = random.Random(options.seed)
        outcome = check_kills(Path(folder), options.kills, options.seed, options.longest_s, draw)
    result = {**asdict(outcome), "seed": options.seed, "every_acknowledged_change_was_there": True}
    print(result)
    print(machine.write("live_kill", result))


if __name__ == "__main__":
    main()
