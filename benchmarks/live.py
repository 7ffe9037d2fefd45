"""A catalogue of 1,735,369 entries that changes while it is searched: `python -m benchmarks.live`.

Milliseconds until a change is visible and until it is safe, child lookups of 70 beams per step, filters, and
latencies of requests with and without 1,000 changes per second beside them. Knows no engine: a request is the
trie's part of a width-70 search. Attributes and bids are drawn; the strings are real.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue import Catalogue, Trie
from adtrie.catalogue.build import BatchTokenizer
from adtrie.live import LiveCatalogue
from adtrie.models import open_checkpoint
from benchmarks import machine
from benchmarks.catalogue import MAX_TOKENS, NODES, STRINGS, one_core, read_strings

FILTERS = (
    "country = DE",
    "country = DE and not adult and advertiser in [a17, a29, a4711]",
    "price < 40 and cat under [IAB2, IAB19]",
    "not adult",
)


def rows(limit: int) -> Iterator[dict[str, Any]]:
    """The strings with an id, a bid and drawn attributes."""
    random = np.random.default_rng(0)
    countries = ("DE", "FR", "US", "GB", "ES", "IT", "PL", "NL", "SE", "BR", "JP", "IN")
    for number, text in enumerate(read_strings(STRINGS)):
        if number == limit:
            return
        if number % 10_000 == 0:
            drawn = random.random((10_000, 5))
        share = drawn[number % 10_000]
        yield {
            "id": f"k{number}",
            "text": text,
            "bid": round(0.05 + 2 * float(share[0]), 2),
            "country": countries[int(12 * share[1] ** 2)],
            "advertiser": f"a{int(5_000 * share[2] ** 2)}",
            "adult": bool(share[3] < 0.03),
            "price": round(100 * float(share[4]), 2),
            "cat": f"IAB{1 + int(25 * share[0])}-{1 + int(9 * share[3])}",
        }


def milliseconds(call: Callable[[int], object], repeats: int) -> dict[str, float]:
    """Median, 99th percentile and most of the milliseconds of call(0), call(1), ..."""
    times = []
    for i in range(repeats):
        started = time.perf_counter()
        call(i)
        times.append(1e3 * (time.perf_counter() - started))
    return summary(times)


def summary(times: list[float]) -> dict[str, float]:
    """Median, 99th percentile and most."""
    return {
        "p50": round(statistics.median(times), 4),
        "p99": round(float(np.percentile(times, 99)), 4),
        "max": round(max(times), 4),
    }


def change_times(live: LiveCatalogue, repeats: int) -> dict[str, Any]:
    """Milliseconds of one change each, with the log's policy of `live`."""
    new = [
        [{"id": f"n{i}-{j}", "text": f"brand new {i} {j}", "bid": 1.5} for j in range(100)] for i in range(30)
    ]
    return {
        "remove_1": milliseconds(lambda i: live.remove([f"k{7 * i}"]), repeats),
        "set_bid_1": milliseconds(lambda i: live.set_bid([f"k{7 * i + 1}"], [2.5]), repeats),
        "remove_100": milliseconds(
            lambda i: live.remove([f"k{500_000 + 100 * i + j}" for j in range(100)]), 30
        ),
        "add_1": milliseconds(lambda i: live.add([{"id": f"m{i}", "text": f"new one {i}"}]), repeats),
        "add_100": milliseconds(lambda i: live.add(new[i]), 30),
        "pause_advertiser": milliseconds(lambda i: live.pause(f"advertiser = a{40 + i}"), 10),
        "resume_advertiser": milliseconds(lambda i: live.resume(f"advertiser = a{40 + i}"), 10),
    }


def widest(
    trie: Trie, steps: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """The nodes of a width-70 beam that keeps the nodes with most entries: those asked about at each step."""
    lo, hi, depth = np.array([0]), np.array([trie.num_entries]), np.array([0])
    for _ in range(steps):
        yield lo, hi, depth
        below = trie.children(lo, hi, depth)
        inner = np.flatnonzero(~below.is_leaf)
        size = below.hi[inner] - below.lo[inner]
        best = inner[np.argsort(-size, kind="stable")[:NODES]] if len(inner) > NODES else inner
        depth = np.full(len(best), depth[0] + 1)
        lo, hi = below.lo[best], below.hi[best]
        if not len(lo):
            return


def random_nodes(trie: Trie, depth: int, random: np.random.Generator) -> Any:
    """Up to 70 distinct nodes of a depth on the paths of random live entries."""
    found: set[tuple[int, int, int]] = set()
    for entry in random.integers(0, trie.num_entries, 20 * NODES).tolist():
        node, tokens = (0, trie.num_entries, 0), trie.tokens(entry)
        if len(tokens) <= depth:
            continue
        for token in tokens[:depth].tolist():
            below = trie.children(*node)
            at = int(below.tokens.searchsorted(token))
            if at == len(below.tokens) or int(below.tokens[at]) != token:
                break
            node = (int(below.lo[at]), int(below.hi[at]), node[2] + 1)
        if node[2] == depth:
            found.add(node)
        if len(found) == NODES:
            break
    return np.array(sorted(found), np.int64).reshape(-1, 3).T


def lookup_times(trie: Trie, random: np.random.Generator) -> list[dict[str, Any]]:
    """Microseconds of one children() call for 70 nodes: of random entries, and of the widest beam."""
    times = []
    beams = {int(nodes[2][0]): nodes for nodes in widest(trie, 9)}
    for depth in range(1, 9):
        lo, hi, depths = random_nodes(trie, depth, random)
        row: dict[str, Any] = {"depth": depth, "children": len(trie.children(lo, hi, depths).tokens)}
        row["random_us"] = round(
            1e3 * milliseconds(lambda _, at=(lo, hi, depths): trie.children(*at), 300)["p50"], 1
        )  # type: ignore[misc]
        if depth in beams:
            at = beams[depth]
            row["widest_children"] = len(trie.children(*at).tokens)
            row["widest_us"] = round(1e3 * milliseconds(lambda _, at=at: trie.children(*at), 300)["p50"], 1)  # type: ignore[misc]
        times.append(row)
    return times


def request(catalogue: Catalogue) -> None:
    """The trie's part of one request: ten steps of a width-70 beam."""
    for _ in widest(catalogue.trie, 10):
        pass


def serve(snapshot: Callable[[], Catalogue], seconds: float) -> list[float]:
    """Milliseconds of requests made one after the other."""
    times, end = [], time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        request(snapshot())
        times.append(1e3 * (time.perf_counter() - started))
    return times


class Changing(threading.Thread):
    """Makes changes of every kind at a rate, `at_once` per version, until stopped."""

    def __init__(self, live: LiveCatalogue, rate: int, at_once: int) -> None:
        super().__init__(daemon=True)
        self.live, self.rate, self.at_once = live, rate, at_once
        self.stopped = threading.Event()
        self.made, self.busy_s = 0, 0.0

    def run(self) -> None:
        started = time.perf_counter()
        while not self.stopped.is_set():
            begun = time.perf_counter()
            self.live.apply(self.batch())
            self.busy_s += time.perf_counter() - begun
            self.made += self.at_once
            self.stopped.wait(max(0.0, started + self.made / self.rate - time.perf_counter()))

    def batch(self) -> Any:
        """A fifth additions, two fifths removals, two fifths bids."""
        batch, at, part = self.live.batch(), self.made, self.at_once // 5
        batch.add([{"id": f"s{at + i}", "text": f"sustained {at + i}"} for i in range(part)])
        batch.remove([f"k{900_000 + at + i}" for i in range(2 * part)])
        batch.set_bid([f"k{at + i}" for i in range(2 * part)], [1.25] * (2 * part))
        return batch


def sustained(live: LiveCatalogue, rate: int, at_once: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Requests with and without changes beside them, in turns: latencies of each, and the rate kept."""
    quiet: list[float] = []
    busy: list[float] = []
    made, busy_s, elapsed = 0, 0.0, 0.0
    for _ in range(rounds):
        quiet += serve(live.snapshot, seconds)
        changing = Changing(live, rate, at_once)
        started = time.perf_counter()
        changing.start()
        busy += serve(live.snapshot, seconds)
        changing.stopped.set()
        changing.join()
        elapsed += time.perf_counter() - started
        made += changing.made
        busy_s += changing.busy_s
    without, beside = summary(quiet), summary(busy)
    return {
        "changes_per_second": round(made / elapsed),
        "changes_at_once": at_once,
        "share_of_a_core": round(busy_s / elapsed, 3),
        "requests": [len(quiet), len(busy)],
        "without_ms": without,
        "with_ms": beside,
        "p99_ratio": round(beside["p99"] / without["p99"], 3),
    }


def filter_times(catalogue: Catalogue) -> dict[str, Any]:
    """Milliseconds to prepare a filter, its first step of a search included."""
    found = {}
    for where in FILTERS:
        catalogue.select(where)
        eligible = len(catalogue.select(where))
        prepared = milliseconds(lambda _, where=where: catalogue.select(where).trie, 20)  # type: ignore[misc]
        found[where] = {"eligible": eligible, **prepared}
    return found


def tokenizer_of(name: str) -> BatchTokenizer:
    """The tokenizer of a model."""
    with open_checkpoint(name) as checkpoint:
        return checkpoint.tokenizer


def main() -> None:
    """Measure, print and write benchmarks/results/live.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m", help="whose tokenizer")
    parser.add_argument(
        "--snapshot", type=Path, help="built before and kept here, or built now and saved here"
    )
    parser.add_argument("--rows", type=int, default=1 << 31, help="only the first of the strings")
    parser.add_argument("--build-only", action="store_true")
    options = parser.parse_args()
    if not STRINGS.exists():
        raise SystemExit(f"{STRINGS} is missing: this benchmark needs the shared data beside the repository")
    tokenizer = tokenizer_of(options.model)
    with tempfile.TemporaryDirectory() as folder:
        path = options.snapshot or Path(folder) / "catalogue.cat"
        if not path.exists():
            one_core()
            Catalogue.build(rows(options.rows), tokenizer, max_tokens=MAX_TOKENS).save(path)
        if not options.build_only:
            report(measure(path, Path(folder) / "live", tokenizer))


def measure(snapshot: Path, folder: Path, tokenizer: BatchTokenizer) -> dict[str, Any]:
    """Everything, on a live catalogue that begins as the snapshot."""
    load, random = machine.ForeignLoad(), np.random.default_rng(1)
    opened = Catalogue.open(snapshot)
    LiveCatalogue.create(folder, opened)
    started = time.perf_counter()
    result: dict[str, Any] = {"entries": len(opened)}
    with LiveCatalogue.open(folder, tokenizer, sync="never", compact_above=1 << 30) as live:
        live.remove(["none"])
        result["open_ms"] = round(1e3 * (time.perf_counter() - started), 1)
        result["lookup_of_the_base"] = lookup_times(live.snapshot().trie, random)
        result["visible_ms"] = change_times(live, 200)
        version = live.snapshot()
        result["added_rows"] = version.state.num_added
        result["lookup_with_changes"] = lookup_times(version.trie, random)
        selection = version.select(FILTERS[0])
        result["lookup_with_changes_and_filter"] = lookup_times(selection.trie, random)
        result["filter_ms_of_the_base"] = filter_times(opened)
        result["filter_ms_with_changes"] = filter_times(version)
        result["sustained"] = [sustained(live, 1_000, at_once, 2.0, 3) for at_once in (10, 50, 100)]
    with LiveCatalogue.open(folder, tokenizer, compact_above=1 << 30) as live:
        result["safe_ms"] = {"remove_1": milliseconds(lambda i: live.remove([f"k{11 * i + 5}"]), 50)}
        started = time.perf_counter()
        live.compact()
        result["compaction_s"] = round(time.perf_counter() - started, 1)
    result["foreign_load"] = round(load.share(), 3)
    return result


def report(result: dict[str, Any]) -> None:
    """Prints and writes it."""
    for name, value in result.items():
        for line in value if isinstance(value, list) else [value]:
            print(f"{name}: {line}")
    print(machine.write("live", result))


if __name__ == "__main__":
    main()
