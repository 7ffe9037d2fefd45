"""A marisa trie over the same sequences, run by the Python that has marisa-trie. Knows nothing of adtrie.

Tokens are characters; the children of a prefix are the next characters of all keys below it, since the trie
offers no child list (the way GENRE uses it). Writes the result as JSON to standard output.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import time
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import marisa_trie
import numpy as np

SECONDS_PER_STEP = 0.5
MOST_REPEATS = 300
SHIFT = 1  # no NUL in keys


def spelled(tokens: np.ndarray) -> str:
    """One character per token; code points of surrogates are stepped over."""
    points = tokens.astype(np.uint32) + SHIFT
    points[points >= 0xD800] += 0x800
    return points.astype("<u4").tobytes().decode("utf-32-le")


def token_of(char: str) -> int:
    """The token of a character."""
    point = ord(char)
    return (point - 0x800 if point >= 0xE000 else point) - SHIFT


def children(trie: marisa_trie.Trie, prefixes: list[str]) -> list[set[str]]:
    """The next characters below each prefix."""
    return [{key[len(prefix)] for key in trie.iterkeys(prefix)} for prefix in prefixes]


def microseconds(trie: marisa_trie.Trie, prefixes: list[str]) -> float:
    """Median microseconds of the children of all prefixes."""
    times: list[float] = []
    until = time.perf_counter() + SECONDS_PER_STEP
    while len(times) < MOST_REPEATS and (not times or time.perf_counter() < until):
        started = time.perf_counter()
        children(trie, prefixes)
        times.append(time.perf_counter() - started)
    return round(1e6 * statistics.median(times), 1)


def main() -> None:
    """Argument: the folder with tokens.npy, offsets.npy and steps.json."""
    folder = Path(sys.argv[1])
    tokens, offsets = np.load(folder / "tokens.npy"), np.load(folder / "offsets.npy")
    task = json.loads((folder / "steps.json").read_text())
    text = spelled(tokens)
    wall, busy = time.perf_counter(), time.process_time()
    trie = marisa_trie.Trie(text[first:last] for first, last in pairwise(offsets.tolist()))
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    steps = []
    for step in task["steps"]:
        prefixes = [spelled(np.array(prefix, np.uint32)) for prefix in step["prefixes"]]
        found = [sorted(map(token_of, chars)) for chars in children(trie, prefixes)]
        if found != step["children"]:
            raise SystemExit(f"children at depth {len(step['prefixes'][0])} differ from the brute force")
        steps.append(prefixes)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "trie"
        trie.save(str(path))
        size = path.stat().st_size
    print(
        json.dumps(
            {
                "build_s": round(wall, 2),
                "build_processor_s": round(busy, 2),
                "bytes": size,
                "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
                "step_us": [microseconds(trie, prefixes) for prefixes in steps],
                "version": metadata.version("marisa-trie"),
            }
        )
    )


if __name__ == "__main__":
    main()
