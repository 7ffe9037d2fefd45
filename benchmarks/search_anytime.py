"""What each search has found at each time budget, and what exact costs in each setting. On recorded rows.

Times are predicted milliseconds of the forwards (the measured table) plus the search's own processor time, so
that a busy machine changes nothing. `benchmarks.deadline` is the same on the wall clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.progress import track

from adtrie.config import RowCost
from adtrie.search.deadline import FEW, Deadline, Pace
from adtrie.search.exact import exact
from adtrie.search.scorer import SearchResult
from adtrie.search.stepwise import stepwise
from adtrie.search.verify import verify
from benchmarks.search_replay import Replay, Rows
from benchmarks.search_setting import Setting

K = 10
BUDGETS_MS = (5, 10, 20, 30, 40, 50, 60, 75, 90, 110, 130, 150, 180, 220, 260, 300)
WIDTHS = (1, 2, 3, 4, 6, 8, 10, 15, 20, 30)


@dataclass(frozen=True)
class Found:
    """What one search of one query had found at its end: part of the true top k, their probability, ms."""

    recall: float
    mass: float
    ms: float


def curves(setting: Setting, cost: RowCost) -> dict[str, Any]:
    """Per budget: exact, and the beams. `of one width`: the best width for all queries; `of any width`: the
    best of all beams of each query that end in time, chosen with hindsight."""
    session, trie = setting.session(max_rows=65_536), setting.catalogue.trie
    ours: list[list[Found]] = []
    beams: list[list[Found]] = []
    for query in track(setting.queries, "anytime"):
        rows = Rows(session, setting.prompt(query))
        truth = exact(Replay(rows, cost), trie, rows.prompt, K, cost, 40_000)
        if truth.gap:
            raise SystemExit(f"{query!r}: the true top {K} takes more than 40,000 rows")
        ours.append([_exact_in(ms, rows, cost, trie, truth) for ms in BUDGETS_MS])
        beams.append(
            [
                _beam(name, width, rows, cost, trie, truth)
                for name in ("stepwise", "verify")
                for width in WIDTHS
            ]
        )
    return {
        "queries": len(setting.queries),
        "k": K,
        "row_cost": {"rows": cost.table_rows.tolist(), "ms": cost.table_ms.round(2).tolist()},
        "budgets": [_row(ms, [found[i] for found in ours], beams) for i, ms in enumerate(BUDGETS_MS)],
    }


def _exact_in(ms: float, rows: Rows, cost: RowCost, trie: Any, truth: SearchResult) -> Found:
    replay, pace = Replay(rows, cost), Pace()
    for _ in range(FEW):  # the table is right here: no caution is due
        pace.saw_forward(1.0, 1.0)
        pace.saw_host(1.0)
    deadline = Deadline(ms, cost, replay.clock, pace)
    found = exact(replay, trie, rows.prompt, K, cost, 16_384, deadline=deadline)
    return _found(found, truth, replay)


def _beam(name: str, width: int, rows: Rows, cost: RowCost, trie: Any, truth: SearchResult) -> Found:
    replay = Replay(rows, cost)
    if name == "stepwise":
        return _found(stepwise(replay, trie, rows.prompt, K, width), truth, replay)
    return _found(verify(replay, trie, rows.prompt, K, width, cost), truth, replay)


def _found(found: SearchResult, truth: SearchResult, replay: Replay) -> Found:
    ms = replay.clock() * 1e3
    right = np.isin(found.entries, truth.entries)
    return Found(float(right.sum()) / truth.entries.size, float(np.exp(found.scores[right]).sum()), ms)


def _row(ms: float, ours: list[Found], beams: list[list[Found]]) -> dict[str, Any]:
    """One budget: means over queries; a beam that ends later has found nothing."""
    recall = np.array([[beam.recall if beam.ms <= ms else 0.0 for beam in of] for of in beams])
    mass = np.array([[beam.mass if beam.ms <= ms else 0.0 for beam in of] for of in beams])
    return {
        "ms": ms,
        "recall": round(float(np.mean([found.recall for found in ours])), 4),
        "recall_beams_of_one_width": round(float(recall.mean(axis=0).max()), 4),
        "recall_beams_of_any_width": round(float(recall.max(axis=1).mean()), 4),
        "mass": round(float(np.mean([found.mass for found in ours])), 4),
        "mass_beams_of_one_width": round(float(mass.mean(axis=0).max()), 4),
        "mass_beams_of_any_width": round(float(mass.max(axis=1).mean()), 4),
        "latest_ms": round(max(found.ms for found in ours), 2),
    }


def settings(setting: Setting, cost: RowCost) -> dict[str, Any]:
    """Rows and forwards of exact in each setting, beside one node at a time, which is the fewest rows."""
    session, trie = setting.session(max_rows=65_536), setting.catalogue.trie
    log: dict[tuple[str, int], list[tuple[int, int, int, int]]] = {}
    for query in track(setting.queries, "settings"):
        rows = Rows(session, setting.prompt(query))
        for k in (1, K):
            truth = exact(Replay(rows, cost), trie, rows.prompt, k, cost, 40_000)
            fewest = rows.num_above(float(truth.scores[-1]))
            for prefer in ("auto", "rows", "forwards"):
                replay = Replay(rows, cost)
                found = exact(replay, trie, rows.prompt, k, cost, 40_000, prefer=prefer)
                if found.gap or found.entries.tolist() != truth.entries.tolist():
                    raise SystemExit(f"{query!r}: settings differ")
                log.setdefault((prefer, k), []).append(
                    (found.forwards, found.rows, max(replay.calls), fewest)
                )
    return {
        "queries": len(setting.queries),
        "settings": [_summary(*key, np.array(found)) for key, found in log.items()],
    }


def _summary(prefer: str, k: int, found: Any) -> dict[str, Any]:
    return {
        "prefer": prefer,
        "k": k,
        "forwards_p50_p90_p99": np.percentile(found[:, 0], [50, 90, 99]).round(1).tolist(),
        "rows_p50_p90_p99": np.percentile(found[:, 1], [50, 90, 99]).round(1).tolist(),
        "rows_p50_over_fewest_p50": round(float(np.median(found[:, 1]) / np.median(found[:, 3])), 3),
        "most_rows_of_a_forward": int(found[:, 2].max()),
    }
