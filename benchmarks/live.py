"""A catalogue of 1,735,369 entries that changes while it is searched: `python -m benchmarks.live`.

Milliseconds until a change is visible and until it is safe, child lookups of 70 beams per step, filters, and
latencies of requests with and without 1,000 changes per second beside them. Knows no engine: a request is the
trie's part of a width-70 search. Attributes and bids are drawn; the strings are real.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.api import load_model
from adtrie.catalogue import Catalogue, Trie
from adtrie.catalogue.build import BatchTokenizer
from adtrie.evaluate import load_task
from adtrie.live import LiveCatalogue, Version
from adtrie.models import open_checkpoint
from benchmarks import machine
from benchmarks.catalogue import MAX_TOKENS, NODES, STRINGS, read_strings

PARTS = ("changes", "lookups", "filters", "sustained", "requests", "compaction")
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


class Watched(LiveCatalogue):
    """Notes when each version became visible."""

    visible_at = 0.0

    def _list_root(self, version: Version) -> None:
        self.visible_at = time.perf_counter()
        super()._list_root(version)


def until_visible(live: Watched, call: Callable[[int], object], repeats: int) -> dict[str, float]:
    """Milliseconds from the calls to the moment that the next request gets what they changed."""
    times = []
    for i in range(repeats):
        started = time.perf_counter()
        call(i)
        times.append(1e3 * (live.visible_at - started))
    return summary(times)


def change_times(live: Watched, repeats: int) -> dict[str, Any]:
    """Milliseconds until one change each is visible."""
    new = [
        [{"id": f"n{i}-{j}", "text": f"brand new {i} {j}", "bid": 1.5} for j in range(100)] for i in range(40)
    ]
    several = [[f"k{500_000 + 100 * i + j}" for j in range(100)] for i in range(30)]
    calls: dict[str, tuple[Callable[[int], object], int]] = {
        "remove_1": (lambda i: live.remove([f"k{7 * i}"]), repeats),
        "set_bid_1": (lambda i: live.set_bid([f"k{7 * i + 1}"], [2.5]), repeats),
        "remove_100": (lambda i: live.remove(several[i]), 30),
        "add_100": (lambda i: live.add(new[i]), 40),
        "add_1": (lambda i: live.add([{"id": f"m{i}", "text": f"new one {i}"}]), repeats),
        "remove_1_of_many": (lambda i: live.remove([f"k{7 * i + 3}"]), repeats),
        "pause_advertiser": (lambda i: live.pause(f"advertiser = a{40 + i}"), 10),
        "resume_advertiser": (lambda i: live.resume(f"advertiser = a{40 + i}"), 10),
    }
    return {name: until_visible(live, *call) for name, call in calls.items()}


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


def serve(snapshot: Callable[[], Catalogue], seconds: float) -> tuple[list[float], list[float]]:
    """Milliseconds of the trie part of requests, ten steps of a width-70 beam; of steps but the first."""
    whole: list[float] = []
    steps: list[float] = []
    end = time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        trie, before = snapshot().trie, 0.0
        for _ in widest(trie, 10):
            now = time.perf_counter()
            if before:
                steps.append(1e3 * (now - before))
            before = now
        whole.append(1e3 * (time.perf_counter() - started))
    return whole, steps


class Changing(threading.Thread):
    """Makes changes of every kind at a rate, `at_once` per version, until stopped."""

    def __init__(self, live: LiveCatalogue, rate: int, at_once: int) -> None:
        super().__init__(daemon=True)
        self.live, self.rate, self.at_once = live, rate, at_once
        self.stopped = threading.Event()
        self.first = 1_000 * live.version  # so that threads one after the other change other rows
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
        batch, at, part = self.live.batch(), self.first + self.made, self.at_once // 5
        batch.add([{"id": f"s{at + i}", "text": f"sustained {at + i}"} for i in range(part)])
        batch.remove([f"k{(7 * (at + i)) % 1_700_000}" for i in range(2 * part)])
        batch.set_bid([f"k{(11 * (at + i)) % 1_700_000}" for i in range(2 * part)], [1.25] * (2 * part))
        return batch


def sustained(live: LiveCatalogue, rate: int, at_once: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Requests with and without changes beside them, in turns: latencies of each, and the rate kept."""
    times: dict[str, tuple[list[float], list[float]]] = {"without": ([], []), "with": ([], [])}
    made, busy_s, elapsed = 0, 0.0, 0.0
    for _ in range(rounds):
        for kind, (whole, steps) in times.items():
            changing, started = Changing(live, rate, at_once), time.perf_counter()
            if kind == "with":
                changing.start()
            found = serve(live.snapshot, seconds)
            whole += found[0]
            steps += found[1]
            if kind == "with":
                changing.stopped.set()
                changing.join()
                elapsed += time.perf_counter() - started
                made += changing.made
                busy_s += changing.busy_s
    result = {
        "changes_per_second": round(made / elapsed),
        "changes_at_once": at_once,
        "share_of_a_core": round(busy_s / elapsed, 3),
    }
    for i, unit in enumerate(("request", "step")):
        without, beside = summary(times["without"][i]), summary(times["with"][i])
        result[unit] = {
            "without_ms": without,
            "with_ms": beside,
            "number": [len(times["without"][i]), len(times["with"][i])],
            "p99_ratio": round(beside["p99"] / without["p99"], 3),
        }
    return result


def filter_times(catalogue: Catalogue) -> dict[str, Any]:
    """Milliseconds to prepare a filter, its first step of a search included."""
    found = {}
    for where in FILTERS:
        catalogue.select(where)
        eligible = len(catalogue.select(where))
        prepared = milliseconds(lambda _, where=where: catalogue.select(where).trie, 20)  # type: ignore[misc]
        found[where] = {"eligible": eligible, **prepared}
    return found


def requests(live: LiveCatalogue, name: str, number: int) -> dict[str, Any]:
    """Whole requests for the best entry, on one thread, with and without 1,000 changes per second."""
    model = load_model(name, threads=1)
    model.warm()
    queries = [row.query for row in load_task("pricerunner").sample("dev", number)]
    times: dict[str, list[float]] = {"without_ms": [], "with_ms": []}
    for start in range(0, number, 20):  # in turns
        for kind in times:
            changing = Changing(live, 1_000, 50)
            if kind == "with_ms":
                changing.start()
            for query in queries[start : start + 20]:
                started = time.perf_counter()
                model.target(query, live.snapshot(), k=1, max_rows=48)
                times[kind].append(1e3 * (time.perf_counter() - started))
            changing.stopped.set()
            if kind == "with_ms":
                changing.join()
    return {kind: summary(found) for kind, found in times.items()} | {"requests": number}


def tokenizer_of(name: str) -> BatchTokenizer:
    """The tokenizer of a model."""
    with open_checkpoint(name) as checkpoint:
        return checkpoint.tokenizer


def changes(folder: Path, tokenizer: BatchTokenizer) -> dict[str, Any]:
    """Milliseconds until visible, and until safe, of one change each, with thousands of added rows."""
    started = time.perf_counter()
    with Watched.open(folder, tokenizer, sync="never", compact_above=1 << 30) as live:
        live.remove(["none"])
        open_ms = round(1e3 * (time.perf_counter() - started), 1)
        visible = change_times(live, 100)
        added_rows = live.snapshot().state.num_added
    with LiveCatalogue.open(folder, tokenizer, compact_above=1 << 30) as live:
        safe = {"remove_1": milliseconds(lambda i: live.remove([f"k{11 * i + 5}"]), 50)}
    return {"open_ms": open_ms, "added_rows": added_rows, "visible_ms": visible, "safe_ms": safe}


def measure(part: str, folder: Path, model: str) -> Any:
    """One part, on a live catalogue."""
    tokenizer, random = tokenizer_of(model), np.random.default_rng(1)
    if part == "changes":
        return changes(folder, tokenizer)
    with LiveCatalogue.open(folder, tokenizer, sync="never", compact_above=1 << 30) as live:
        version = live.snapshot()
        if part == "lookups":
            filtered = version.select(FILTERS[0]).trie
            tries = {"base": version.state.base.trie, "changed": version.trie, "changed_filtered": filtered}
            return {name: lookup_times(trie, random) for name, trie in tries.items()}
        if part == "filters":
            return {"base": filter_times(version.state.base), "changed": filter_times(version)}
        if part == "sustained":
            return [sustained(live, 1_000, at_once, 1.5, 3) for at_once in (20, 50, 200)]
        if part == "requests":
            return requests(live, model, 100)
        started = time.perf_counter()
        live.compact()
        return {"seconds": round(time.perf_counter() - started, 1)}


def main() -> None:
    """Measures parts, all by default, prints them and puts them into benchmarks/results/live.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--model", default="smollm2-135m", help="whose tokenizer; for requests, the model")
    parser.add_argument("--folder", type=Path, help="made before and kept here, or made now; else temporary")
    parser.add_argument("--rows", type=int, default=1 << 31, help="only the first of the strings")
    options = parser.parse_args()
    if not STRINGS.exists():
        raise SystemExit(f"{STRINGS} is missing: this benchmark needs the shared data beside the repository")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "live"
        if not folder.exists():
            tokenizer = tokenizer_of(options.model)
            LiveCatalogue.create(
                folder, Catalogue.build(rows(options.rows), tokenizer, max_tokens=MAX_TOKENS)
            )
        result: dict[str, Any] = machine.read("live")
        result["entries"] = LiveCatalogue.open(folder, write=False).snapshot().num_entries
        for part in options.parts or PARTS:
            load = machine.ForeignLoad()
            result[part] = measure(part, folder, options.model)
            result.setdefault("foreign_load", {})[part] = round(load.share(), 3)
            print(f"{part}: {json.dumps(result[part], indent=1)}")
        print(machine.write("live", result))


if __name__ == "__main__":
    main()
