"""What each search has found at each time budget, and what exact costs in each setting. On recorded rows.

Times are milliseconds of the forwards by a measured table plus the search's own processor time, so that a
busy machine changes little. `search_deadlines` is the wall clock.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from adtrie.catalogue.trie import Trie
from adtrie.config import RowCost
from adtrie.evaluate.plots import Axis, Curve, line_plot
from adtrie.search.deadline import FEW, Deadline, Pace
from adtrie.search.exact import exact
from adtrie.search.scorer import SearchResult
from adtrie.search.stepwise import stepwise
from adtrie.search.verify import verify
from benchmarks import machine
from benchmarks.search_record import MOST_ROWS, K, Kept, Recorded, Recording, recall
from benchmarks.search_replay import Replay

BUDGETS_MS = (5, 10, 20, 30, 40, 50, 60, 75, 90, 110, 130, 150, 180, 220, 260, 300)
WIDTHS = (1, 2, 3, 4, 6, 8, 10, 15, 20, 30)
BEAMS = ("stepwise", "verify")
SETTINGS = ((1, "auto"), (1, "rows"), (K, "auto"), (K, "rows"), (K, "forwards"))


@dataclass(frozen=True)
class Found:
    """What one search of one query had found at its end: part of the true top k, their probability, ms."""

    recall: float
    mass: float
    ms: float


def table_of_modes() -> RowCost:
    """Rows to milliseconds on two threads, measured by `benchmarks.search modes` on the quiet machine."""
    found = machine.read("search_modes")["row_cost"]
    return RowCost.measured(found["rows"], found["ms"])


def curves(recording: Recording) -> dict[str, Any]:
    """Per budget: exact, and the beams, which have found nothing before their end.

    One width: the best of all (mode, width) for all queries. Any width: the best for each query, chosen with
    hindsight, which no program could.
    """
    cost, kept = table_of_modes(), Kept(recording.folder / "anytime.jsonl")
    for one in recording.queries("anytime"):
        if one.query not in kept.found:
            ours = [_exact_in(ms, one, recording.trie, cost) for ms in BUDGETS_MS]
            beams = [_beam(name, width, one, recording.trie, cost) for name in BEAMS for width in WIDTHS]
            kept.add(one.query, [[asdict(found) for found in part] for part in (ours, beams)])
    of = [kept.found[query] for query in recording.setting.queries if query in kept.found]
    ours = np.array([[tuple(found.values()) for found in part[0]] for part in of])  # [queries, budgets, 3]
    beams = np.array([[tuple(found.values()) for found in part[1]] for part in of])
    return {
        "queries": len(of),
        "k": K,
        "row_cost": {"rows": cost.table_rows.tolist(), "ms": cost.table_ms.round(2).tolist()},
        "budgets": [_row(ms, ours[:, at], beams) for at, ms in enumerate(BUDGETS_MS)],
    }


def _exact_in(ms: float, one: Recorded, trie: Trie, cost: RowCost) -> Found:
    replay, pace = Replay(one.rows, cost), Pace()
    for _ in range(FEW):  # the table is right here: no caution is due
        pace.saw_forward(1.0, 1.0)
        pace.saw_host(1.0)
    deadline = Deadline(ms, cost, replay.clock, pace)
    found = exact(replay, trie, one.rows.prompt, K, cost, 16_384, deadline=deadline)
    return _found(found, one.truth, replay)


def _beam(name: str, width: int, one: Recorded, trie: Trie, cost: RowCost) -> Found:
    replay = Replay(one.rows, cost)
    if name == "stepwise":
        found = stepwise(replay, trie, one.rows.prompt, K, width)
    else:
        found = verify(replay, trie, one.rows.prompt, K, width, cost)
    return _found(found, one.truth, replay)


def _found(found: SearchResult, truth: SearchResult, replay: Replay) -> Found:
    ms = replay.clock() * 1e3
    return Found(recall(found, truth), float(np.exp(found.scores[:K]).sum()), ms)


def _row(ms: float, ours: Any, beams: Any) -> dict[str, Any]:
    """One budget: means over queries; of beams recall and mass count that end in time."""
    in_time = beams[:, :, 2] <= ms
    recalls, masses = beams[:, :, 0] * in_time, beams[:, :, 1] * in_time
    return {
        "ms": ms,
        "recall": round(float(ours[:, 0].mean()), 4),
        "recall_beams_of_one_width": round(float(recalls.mean(axis=0).max()), 4),
        "recall_beams_of_any_width": round(float(recalls.max(axis=1).mean()), 4),
        "mass": round(float(ours[:, 1].mean()), 4),
        "mass_beams_of_one_width": round(float(masses.mean(axis=0).max()), 4),
        "mass_beams_of_any_width": round(float(masses.max(axis=1).mean()), 4),
        "latest_ms": round(float(ours[:, 2].max()), 2),
    }


def plot(result: dict[str, Any]) -> str:
    """The curves as one HTML page that loads nothing."""
    drawn = []
    for name, label in (("recall", "recall of the true top 10"), ("mass", "summed probability")):
        lines = [
            Curve(said, [(one["ms"], one[f"{name}{part}"]) for one in result["budgets"]])
            for said, part in (
                ("exact with a deadline", ""),
                ("the best beam of one width", "_beams_of_one_width"),
                ("the best beam of any width, by hindsight", "_beams_of_any_width"),
            )
        ]
        drawn.append(line_plot(lines, Axis("milliseconds", 0, 300), Axis(label, 0, 1, 1)))
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>anytime</title>'
    style = "<style>body{font:14px sans-serif;max-width:40em;margin:2em auto}</style>"
    said = f"<p>{result['queries']} queries, 12,613 keywords; forwards by a measured table of rows.</p>"
    return "\n".join([head, style, "<h1>What is found in time</h1>", said, *drawn, "</html>\n"])


def settings(recording: Recording) -> dict[str, Any]:
    """Rows and forwards of exact in each setting, beside the fewest rows any search by its bound needs."""
    cost, kept = table_of_modes(), Kept(recording.folder / "settings.jsonl")
    for one in recording.queries("settings"):
        if one.query not in kept.found:
            least = {k: one.rows.num_above(float(one.truth.scores[k - 1])) for k in (1, K)}
            found = [_costs(k, prefer, one, recording.trie, cost) for k, prefer in SETTINGS]
            kept.add(one.query, [[*costs, least[k]] for (k, _), costs in zip(SETTINGS, found, strict=True)])
    of = [kept.found[query] for query in recording.setting.queries if query in kept.found]
    table = np.array(of)  # [queries, settings, 4]
    return {
        "queries": len(of),
        "settings": [_summary(k, prefer, table[:, at]) for at, (k, prefer) in enumerate(SETTINGS)],
    }


def _costs(k: int, prefer: Any, one: Recorded, trie: Trie, cost: RowCost) -> tuple[int, int, int]:
    """Forwards, rows and most rows of one forward."""
    replay = Replay(one.rows, cost)
    found = exact(replay, trie, one.rows.prompt, k, cost, MOST_ROWS, prefer=prefer)
    if found.gap or found.entries.tolist() != one.truth.entries[:k].tolist():
        raise SystemExit(f"{one.query!r}: {prefer} differs")
    return found.forwards, found.rows, max(replay.calls)


def _summary(k: int, prefer: str, found: Any) -> dict[str, Any]:
    forwards, rows, most, least = found.T
    return {
        "k": k,
        "prefer": prefer,
        "forwards_p50_p90_p99": np.percentile(forwards, [50, 90, 99]).round(1).tolist(),
        "rows_p50_p90_p99": np.percentile(rows, [50, 90, 99]).round(1).tolist(),
        "fewest_rows_p50": float(np.median(least)),
        "rows_p50_over_fewest_p50": round(float(np.median(rows) / np.median(least)), 3),
        "most_rows_of_a_forward": int(most.max()),
    }
