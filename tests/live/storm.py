"""A writer to be killed: makes changes drawn from a seed, one version each, and says which are acknowledged.

`python storm.py FOLDER SEED FIRST`: begins after version FIRST - 1; one line per acknowledged version.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).parents[1] / "catalogue")]

from live_model import TOKENIZER, Model

from adtrie.live import LiveCatalogue

NUM_TEXTS, NUM_IDS = 60, 40
BASE = [{"text": f"t {i}", "id": str(i % 10), "c": "xy"[i % 2]} for i in range(20)]
Change = tuple[Any, ...]


def change_of(version: int, seed: int) -> Change:
    """What makes a version: the same for the writer and for who checks it."""
    draw = random.Random(f"{seed} {version}")
    kind = draw.choice(["add", "add", "remove", "bid", "pause", "resume"])
    if kind == "add":
        rows = []
        for _ in range(draw.randint(1, 4)):
            row = {"text": f"t {draw.randrange(NUM_TEXTS)}", "id": str(draw.randrange(NUM_IDS))}
            rows.append({**row, "bid": float(draw.randint(1, 9)), "c": draw.choice("xyz")})
        return kind, rows
    if kind in ("remove", "bid"):
        ids = [str(one) for one in draw.sample(range(NUM_IDS), 2)]
        return (kind, ids) if kind == "remove" else (kind, ids, [draw.randint(1, 9) / 2, 3.0])
    return kind, draw.choice(["c = x", "not has c"])


def apply(model: Model, change: Change) -> None:
    """The change on the dictionary."""
    kind, *values = change
    if kind == "add":
        model.add(values[0])
    elif kind == "remove":
        model.remove(values[0])
    elif kind == "bid":
        model.set_bid(*values)
    elif kind == "pause":
        model.pauses = tuple(dict.fromkeys([*model.pauses, values[0]]))
    else:
        model.pauses = tuple(one for one in model.pauses if one != values[0])


def main() -> None:
    folder, seed, first = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    names = {"bid": "set_bid"}
    with LiveCatalogue.open(folder, TOKENIZER, compact_above=30) as live:
        assert live.version == first - 1
        for version in range(first, sys.maxsize):
            kind, *values = change_of(version, seed)
            done = getattr(live, names.get(kind, kind))(*values)
            assert done.version == version
            print(version, flush=True)


if __name__ == "__main__":
    main()
