"""Our own searches on the same queries: forwards when forwards are what counts, milliseconds as they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.progress import track

from adtrie.config import RowCost
from adtrie.search.exact import exact
from adtrie.search.scorer import SearchResult
from adtrie.search.stepwise import stepwise
from adtrie.search.verify import verify
from benchmarks import machine
from benchmarks.search_setting import GUESSED, Setting

WIDTH = K = 10
Search = Callable[[], SearchResult]


def forwards_with_free_rows(setting: Setting, max_rows_per_forward: int = 1024) -> dict[str, Any]:
    """Forwards and rows of verify where rows cost nothing (the GPU's end of the scale) against stepwise."""
    session, trie = setting.session(), setting.catalogue.trie
    counts: list[tuple[int, int, int, int]] = []
    for query in track(setting.queries, "forwards, rows free"):
        prompt = setting.prompt(query)
        session.reset()
        plain = stepwise(session, trie, prompt, K, WIDTH)
        session.reset()
        fast = verify(session, trie, prompt, K, WIDTH, RowCost.flat(), max_rows_per_forward)
        if plain.entries.tolist() != fast.entries.tolist() or plain.scores.tolist() != fast.scores.tolist():
            raise SystemExit(f"verify differs from stepwise on {query!r}")
        counts.append((plain.forwards, fast.forwards, plain.rows, fast.rows))
    table = np.array(counts)
    medians = np.median(table, axis=0)
    return {
        "queries": len(counts),
        "max_rows_per_forward": max_rows_per_forward,
        "stepwise_median_forwards": float(medians[0]),
        "verify_median_forwards": float(medians[1]),
        "median_ratio": float(np.median(table[:, 1] / table[:, 0])),
        "stepwise_median_rows": float(medians[2]),
        "verify_median_rows": float(medians[3]),
    }


def times(setting: Setting, num_exact: int, num_exact_ten: int) -> dict[str, Any]:
    """Milliseconds, forwards and rows per request of each search, interleaved query by query.

    exact runs on the first queries only: an untuned model may take its whole row budget.
    """
    session, trie, cost = setting.session(), setting.catalogue.trie, setting.model.engine.latency()
    guess = setting.guesses()
    log: dict[str, list[tuple[float, int, int, float]]] = {}
    load = machine.ForeignLoad()
    for number, query in enumerate(track(setting.queries, "milliseconds")):
        prompt = setting.prompt(query)
        searches: dict[str, Search] = {
            "stepwise width 10": lambda p=prompt: stepwise(session, trie, p, K, WIDTH),
            "verify width 10": lambda p=prompt: verify(session, trie, p, K, WIDTH, cost),
        }
        if number < num_exact:
            searches["exact k=1"] = lambda p=prompt: exact(session, trie, p, 1, cost)
            searches[GUESSED] = lambda p=prompt, q=query: exact(session, trie, p, 1, cost, seeds=guess(q))
        if number < num_exact_ten:
            searches["exact k=10"] = lambda p=prompt: exact(session, trie, p, K, cost)
        names = list(searches)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            session.reset()
            started = time.perf_counter()
            result = searches[name]()
            ms = (time.perf_counter() - started) * 1e3
            log.setdefault(name, []).append((ms, result.forwards, result.rows, result.gap))
    base = np.array(log["stepwise width 10"])[:, 0]
    return {
        "queries": len(setting.queries),
        "threads": setting.model.engine.num_threads,
        "isa": setting.model.engine.isa,
        "median_prompt_tokens": float(np.median([len(setting.prompt(q)) for q in setting.queries])),
        "foreign_load": round(load.share(), 3),
        "row_cost": {"rows": cost.table_rows.tolist(), "ms": np.round(cost.table_ms, 3).tolist()},
        "searches": [_summary(name, np.array(samples), base) for name, samples in log.items()],
    }


def _summary(name: str, samples: Any, base: Any) -> dict[str, Any]:
    ms = samples[:, 0]
    return {
        "search": name,
        "requests": len(ms),
        "p50_ms": round(float(np.median(ms)), 2),
        "p99_ms": round(float(np.percentile(ms, 99)), 2),
        "median_forwards": float(np.median(samples[:, 1])),
        "median_rows": float(np.median(samples[:, 2])),
        "proven": round(float(np.mean(samples[:, 3] == 0)), 3),
        "speed_up_over_stepwise": round(float(np.median(base[: len(ms)] / ms)), 2),
    }
