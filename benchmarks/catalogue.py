"""A catalogue of 1,735,369 real strings on one core: `python -m benchmarks.catalogue`.

Seconds to build, bytes per entry, the snapshot, children() of 70 nodes. Answers are checked before any is
reported. Knows no engine: of the model only the tokenizer is used.
"""

from __future__ import annotations

import argparse
import gzip
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue import Catalogue
from adtrie.catalogue.spelling import BatchTokenizer
from adtrie.models import open_checkpoint
from benchmarks import machine

STRINGS = machine.ROOT.parent / "shared" / "data" / "scale_vocab" / "real_strings.tsv.gz"
MAX_TOKENS = 255  # the most a trie takes; a few of the strings are longer than the default 64
NODES = 70
Node = tuple[int, int, int]


def read_strings(path: Path) -> Iterator[str]:
    """The strings of the file, one after the other."""
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.rstrip("\n").split("\t", 1)[1]


def one_core() -> None:
    """Keep this process, and the threads the tokenizer would start, on one core."""
    os.environ |= {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def build(tokenizer: BatchTokenizer) -> tuple[Catalogue, dict[str, Any]]:
    """The catalogue, and wall and processor seconds of building it with the split by stage."""
    wall, busy = time.perf_counter(), time.process_time()
    catalogue = Catalogue.build(read_strings(STRINGS), tokenizer, max_tokens=MAX_TOKENS)
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    report = catalogue.report
    return catalogue, {
        "rows": report.num_rows,
        "entries": report.num_entries,
        "merged": report.num_merged,
        "refused": report.num_refused,
        "wall_s": round(wall, 2),
        "processor_s": round(busy, 2),
        "stages_wall_s": {name: round(seconds, 2) for name, seconds in report.seconds.items()},
    }


def check(catalogue: Catalogue, tokenizer: BatchTokenizer, random: np.random.Generator) -> None:
    """Stop unless the paths of 500 entries spell encode(prefix + text) and the end token."""
    for entry in random.integers(0, len(catalogue), 500):
        wanted = [*tokenizer.encode(" " + catalogue.text(entry)).tolist(), catalogue.info.end_token]
        if catalogue.trie.tokens(int(entry)).tolist() != wanted:
            raise SystemExit(f"entry {entry} {catalogue.text(entry)!r} has other tokens: nothing is reported")


def memory(catalogue: Catalogue) -> dict[str, Any]:
    """Bytes per entry of everything kept: the trie's arrays, then texts and ids."""
    trie, num_entries = catalogue.trie, len(catalogue)
    root = trie.children(0, num_entries, 0)
    cached = sum(int(getattr(root, name).nbytes) for name in ("ptr", "tokens", "lo", "hi", "is_leaf"))
    parts = {
        "edges": trie.edges.nbytes,
        "offsets": trie.offsets.nbytes,
        "shared": trie.shared.nbytes,
        "branches": trie.branches.num_bytes,
        "root_cache": cached,
    }
    return {
        "trie_bytes_per_entry": round(sum(parts.values()) / num_entries, 2),
        "of_which": {name: round(size / num_entries, 2) for name, size in parts.items()},
        "text_and_id_bytes_per_entry": round(catalogue.text_bytes / num_entries, 2),
        "max_depth": trie.max_depth,
        "num_inner_nodes": int(trie.num_rows(0, num_entries, 0)[0]) + 1,
    }


def snapshot_times(catalogue: Catalogue, repeats: int = 7) -> dict[str, Any]:
    """Size of the snapshot and milliseconds to write, open (median) and verify it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalogue.adtrie"
        save_ms = milliseconds(lambda: catalogue.save(path), 1)
        open_ms = milliseconds(lambda: Catalogue.open(path), repeats)
        verify_ms = milliseconds(Catalogue.open(path).verify, 1)
        return {
            "snapshot_bytes": path.stat().st_size,
            "save_ms": round(save_ms, 1),
            "open_ms": round(open_ms, 2),
            "verify_ms": round(verify_ms, 1),
        }


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    """Median milliseconds of one call."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times)


def node_of(catalogue: Catalogue, entry: int, depth: int) -> Node | None:
    """The node at `depth` on the path of an entry, None when the entry ends before."""
    trie, node = catalogue.trie, (0, len(catalogue), 0)
    tokens = trie.tokens(entry)
    if len(tokens) <= depth:
        return None
    for token in tokens[:depth]:
        children = trie.children(*node)
        at = int(np.searchsorted(children.tokens, token))
        node = (int(children.lo[at]), int(children.hi[at]), node[2] + 1)
    return node


def nodes_at(catalogue: Catalogue, depth: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Up to 70 distinct nodes int64[3, n] on the paths of random entries: big subtrees are likelier."""
    found: set[Node] = set()
    for entry in random.integers(0, len(catalogue), 20 * NODES):
        node = node_of(catalogue, int(entry), depth)
        if node is not None:
            found.add(node)
        if len(found) == NODES:
            break
    return np.array(sorted(found), dtype=np.int64).reshape(-1, 3).T


def children_times(catalogue: Catalogue, random: np.random.Generator) -> list[dict[str, Any]]:
    """Median microseconds of one children() call for 70 nodes of one depth, for each depth to 12."""
    rows = []
    for depth in range(1, 13):
        lo, hi, depths = nodes_at(catalogue, depth, random)
        children = catalogue.trie.children(lo, hi, depths)
        time_ms = milliseconds(lambda at=(lo, hi, depths): catalogue.trie.children(*at), 100)  # type: ignore[misc]
        rows.append(
            {
                "depth": depth,
                "nodes": len(lo),
                "entries_below": int((hi - lo).sum()),
                "children": len(children.tokens),
                "children_us": round(1e3 * time_ms, 1),
            }
        )
    return rows


def main() -> None:
    """Measure, print and write benchmarks/results/catalogue.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m", help="whose tokenizer")
    options = parser.parse_args()
    if not STRINGS.exists():
        raise SystemExit(f"{STRINGS} is missing: this benchmark needs the shared data beside the repository")
    one_core()
    load, random = machine.ForeignLoad(), np.random.default_rng(0)
    tokenizer = open_checkpoint(options.model).tokenizer
    print("building (about a minute) ...", flush=True)
    catalogue, built = build(tokenizer)
    check(catalogue, tokenizer, random)
    result = {
        "model": options.model,
        "build": built,
        "memory": memory(catalogue),
        "snapshot": snapshot_times(catalogue),
        "children": children_times(catalogue, random),
        "foreign_load": round(load.share(), 3),
    }
    for name, value in result.items():
        for line in value if isinstance(value, list) else [value]:
            print(f"{name}: {line}")
    print(machine.write("catalogue", result))


if __name__ == "__main__":
    main()
