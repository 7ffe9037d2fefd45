"""What must hold before timing: verify = stepwise, exact = all entries scored, on real queries."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.progress import track

from adtrie.search.enumerate import enumerate_all
from adtrie.search.exact import exact
from adtrie.search.scorer import SearchResult
from benchmarks import search_setting

TOLERANCE = 1e-5
WIDTH = K = 10


def verify_equals_stepwise(num_queries: int, weights: str, adapter: str | None) -> dict[str, Any]:
    """Entries and scores of verify against stepwise; raises SystemExit at the first difference."""
    setting = search_setting.load(num_queries, weights=weights, adapter=adapter)
    setting.model.warm()
    largest = 0.0
    for query in track(setting.queries, f"verify = stepwise ({weights})"):
        plain = setting.model.target(query, setting.catalogue, K, "stepwise", width=WIDTH)
        fast = setting.model.target(query, setting.catalogue, K, "verify", width=WIDTH)
        if [hit.text for hit in plain] != [hit.text for hit in fast]:
            raise SystemExit(f"verify differs from stepwise on {query!r}: {fast} and {plain}")
        largest = max(largest, *(abs(a.score - b.score) for a, b in zip(plain, fast, strict=True)))
        if largest > TOLERANCE:
            raise SystemExit(f"verify differs from stepwise by {largest} on {query!r}")
    return {
        "weights": weights,
        "queries": len(setting.queries),
        "width": WIDTH,
        "largest_difference": largest,
    }


def exact_equals_enumeration(num_queries: int, num_keywords: int, adapter: str | None) -> dict[str, Any]:
    """Exact top-10 against the scores of all entries; raises SystemExit at the first difference."""
    setting = search_setting.load(num_queries, num_keywords, adapter=adapter)
    setting.model.warm()
    cost, trie = setting.model.engine.latency(), setting.catalogue.trie
    session = setting.session(max_rows=100_000)
    rows: list[int] = []
    all_rows = 0
    for query in track(setting.queries, "exact = enumeration"):
        prompt = setting.prompt(query)
        session.reset()
        found = exact(session, trie, prompt, K, cost, max_rows=100_000)
        session.reset()
        everything = enumerate_all(session, trie, prompt)
        if not _same(found, everything):
            raise SystemExit(f"exact differs from enumeration on {query!r}")
        rows.append(found.rows)
        all_rows = everything.rows
    return {
        "queries": len(setting.queries),
        "entries": trie.num_entries,
        "k": K,
        "median_rows_exact": float(np.median(rows)),
        "rows_enumeration": all_rows,
    }


def _same(found: SearchResult, everything: SearchResult) -> bool:
    return (
        found.gap == 0.0
        and found.entries.tolist() == everything.entries[:K].tolist()
        and found.scores.tolist() == everything.scores[:K].tolist()
    )
