"""Many ad texts at once against one after another: `python -m benchmarks.concurrent_texts`.

SmolLM2-135M with the adapter e2e, 64 test facts. Rounds alternate between both ways, with drafts (as one text
is written by default) and without; texts are compared. Written to benchmarks/results/concurrent_texts.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from adtrie.api import Model, load_model
from adtrie.creative import Creative
from adtrie.evaluate import load_creative_task
from benchmarks import machine

TASK = "e2e"
WAYS = {
    "one after another, drafts": (1, True),
    "one after another": (1, False),
    "at once, drafts": (0, True),
    "at once": (0, False),
}


def write_all(
    model: Model, facts: Sequence[str], concurrency: int, draft: bool
) -> tuple[float, list[Creative]]:
    """Seconds and texts; concurrency 1: one `create` after the other."""
    began = time.perf_counter()
    if concurrency == 1:
        made = [model.create(each, draft=draft) for each in facts]
    else:
        found = model.create_many(facts, concurrency=concurrency, draft=draft)
        made = [text for text in found if isinstance(text, Creative)]
    return time.perf_counter() - began, made


def measure(model: Model, facts: Sequence[str], rounds: int, concurrency: int) -> dict[str, Any]:
    """Texts per second of each way, medians over the rounds, and how many texts differ."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    load, differing, ways = machine.ForeignLoad(), 0, list(WAYS)
    for number in range(rounds):
        texts = {}
        for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
            count, draft = WAYS[way]
            took, made = write_all(model, facts, count or concurrency, draft)
            seconds[way].append(took)
            texts[way] = [text.text for text in made]
        differing += sum(texts[way] != texts[ways[0]] for way in ways)
        print(json.dumps({way: round(times[-1], 2) for way, times in seconds.items()}), flush=True)
    fastest_alone = np.minimum(seconds[ways[0]], seconds[ways[1]])
    return {
        "texts": len(facts),
        "rounds": rounds,
        "concurrency": concurrency,
        "foreign_load": round(load.share(), 3),
        "differing": differing,
        "texts_per_s": {way: round(len(facts) / float(np.median(seconds[way])), 2) for way in ways},
        "times_fastest_alone": {
            way: round(float(np.median(fastest_alone / np.array(seconds[way]))), 2) for way in ways[2:]
        },
    }


def main() -> None:
    """Measures every way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--weights", default="int4")
    options = parser.parse_args()
    facts = [brief.facts for brief in load_creative_task(TASK).sample("test", options.texts)]
    with load_model("smollm2-135m", adapter=TASK, weights=options.weights) as model:
        write_all(model, facts[:2], 2, True)
        found = measure(model, facts, options.rounds, options.concurrency)
    result = {"adapter": TASK, "weights": options.weights, "threads": model.engine.num_threads} | found
    print(json.dumps(found, indent=1))
    print(f"written to {machine.write('concurrent_texts', result)}")


if __name__ == "__main__":
    main()
