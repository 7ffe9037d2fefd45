"""What each search has found at each time budget, and what exact costs in each setting. On recorded rows.

Times are milliseconds of the forwards by a measured table plus the search's own processor time, so that a
busy machine changes little. `search_deadlines` is the wall clock.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue import Neighbours
from adtrie.catalogue.trie import Trie
from adtrie.config import RowCost
from adtrie.evaluate import load_task
from adtrie.evaluate.page import document
from adtrie.evaluate.plots import Axis, Curve, line_plot
from adtrie.search.deadline import FEW, Deadline, Pace
from adtrie.search.exact import exact
from adtrie.search.scorer import SearchResult
from adtrie.search.stepwise import stepwise
from adtrie.search.verify import verify
from benchmarks import machine
from benchmarks.search_record import MOST_ROWS, K, Kept, Recorded, Recording, recall
from benchmarks.search_replay import Replay
from benchmarks.search_setting import TASK, Setting

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
    """Per budget: exact with and without the neighbours of the query as seeds, and beams with and without.

    Beams have found nothing before their end; each may have any width, chosen per query with hindsight, which
    no program could. `neighbours_alone` are what retrieval ranks first, without a model.
    """
    cost, kept = table_of_modes(), Kept(recording.folder / "anytime.jsonl")
    neighbours = past_and_text(recording.setting)
    for one in recording.queries("anytime"):
        if one.query not in kept.found:
            runs = _Runs(one, recording.trie, cost, neighbours)
            parts = {name: [asdict(found) for found in part] for name, part in runs.all().items()}
            kept.add(one.query, [parts])
    of = [kept.found[query][0] for query in recording.setting.queries if query in kept.found]
    table = {
        name: np.array([[tuple(found.values()) for found in parts[name]] for parts in of]) for name in of[0]
    }
    return {
        "queries": len(of),
        "k": K,
        "row_cost": {"rows": cost.table_rows.tolist(), "ms": cost.table_ms.round(2).tolist()},
        "budgets": [_row(ms, at, table) for at, ms in enumerate(BUDGETS_MS)],
    }


def past_and_text(setting: Setting) -> Neighbours:
    """The neighbours of a query by text and by the training queries, as `--neighbours 10` has them."""
    task = load_task(TASK)
    entry = {setting.catalogue.text(at): at for at in range(setting.catalogue.num_entries)}
    past = [(row.query, entry[row.label]) for row in task.rows_of("train") if row.label in entry]
    return Neighbours(setting.catalogue, past, K)


@dataclass(frozen=True)
class _Runs:
    """All searches of one query."""

    one: Recorded
    trie: Trie
    cost: RowCost
    neighbours: Neighbours

    def all(self) -> dict[str, list[Found]]:
        """By name: at each budget for exact, of each mode and width for beams."""
        beams = [(mode, width) for mode in BEAMS for width in WIDTHS]
        return {
            "exact": [self.exact(ms, True) for ms in BUDGETS_MS],
            "exact_unseeded": [self.exact(ms, False) for ms in BUDGETS_MS],
            "beams": [self.beam(mode, width, False) for mode, width in beams],
            "beams_seeded": [self.beam(mode, width, True) for mode, width in beams],
            "neighbours_alone": [self.alone()],
        }

    def exact(self, ms: float, seeded: bool) -> Found:
        replay, pace = Replay(self.one.rows, self.cost), Pace()
        for _ in range(FEW):  # the table is right here: no caution is due
            pace.saw_forward(1.0, 1.0)
            pace.saw_end(1.0)
        deadline = Deadline(ms, self.cost, replay.clock, pace)
        return self._found(
            exact(
                replay,
                self.trie,
                self.one.rows.prompt,
                K,
                self.cost,
                16_384,
                self._seeds(seeded),
                deadline=deadline,
            ),
            replay,
        )

    def beam(self, mode: str, width: int, seeded: bool) -> Found:
        replay, prompt = Replay(self.one.rows, self.cost), self.one.rows.prompt
        seeds = self._seeds(seeded)
        if mode == "stepwise":
            return self._found(stepwise(replay, self.trie, prompt, K, width, seeds), replay)
        return self._found(verify(replay, self.trie, prompt, K, width, self.cost, seeds=seeds), replay)

    def alone(self) -> Found:
        """What retrieval alone ranks first; it has no probabilities."""
        started = time.thread_time()
        first = self._seeds(True)[:K]
        ms = (time.thread_time() - started) * 1e3
        return Found(float(np.isin(self.one.truth.entries, first).mean()), 0.0, ms)

    def _seeds(self, seeded: bool) -> NDArray[np.int64]:
        return self.neighbours.of(self.one.query) if seeded else np.zeros(0, np.int64)

    def _found(self, found: SearchResult, replay: Replay) -> Found:
        ms = replay.clock() * 1e3
        return Found(recall(found, self.one.truth), float(np.exp(found.scores[:K]).sum()), ms)


def _row(ms: float, at: int, table: Mapping[str, Any]) -> dict[str, Any]:
    """One budget: means over queries; what ends later counts as nothing found."""
    found: dict[str, Any] = {"ms": ms}
    for name, runs in table.items():
        mine = runs[:, at : at + 1] if name.startswith("exact") else runs
        # An answer of exact counts even if it is late: how late is told.
        in_time = 1.0 if name.startswith("exact") else mine[:, :, 2] <= ms
        recalls, masses = mine[:, :, 0] * in_time, mine[:, :, 1] * in_time
        found[name] = {"recall": _mean_of_best(recalls), "mass": _mean_of_best(masses)}
        if name == "beams":
            one_width = {"recall": _best_mean(recalls), "mass": _best_mean(masses)}
            found["beams_of_one_width"] = one_width
        if name.startswith("exact"):
            late = mine[:, 0, 2] - ms
            found[name] |= {"late_p99_ms": round(float(np.percentile(late, 99)), 2)}
    return found


def _mean_of_best(values: Any) -> float:
    return round(float(values.max(axis=1).mean()), 4)


def _best_mean(values: Any) -> float:
    return round(float(values.mean(axis=0).max()), 4)


CURVES = {
    "exact": "exact with a deadline, neighbours as seeds",
    "exact_unseeded": "exact with a deadline, no seeds",
    "beams": "the best beam of any width, by hindsight",
    "beams_seeded": "the same with the neighbours beside it",
    "beams_of_one_width": "the best beam of one width",
}


def plot(result: dict[str, Any]) -> str:
    """The curves as one HTML page that loads nothing."""
    drawn = []
    for name, label in (("recall", "recall of the true top 10"), ("mass", "summed probability")):
        lines = [
            Curve(said, [(one["ms"], one[curve][name]) for one in result["budgets"]])
            for curve, said in CURVES.items()
        ]
        drawn.append((label, line_plot(lines, Axis("milliseconds", 0, 300), Axis(label, 0, 1, 1))))
    said = f"{result['queries']} queries, 12,613 keywords; forwards by a measured table of rows."
    return document("What is found in time", [said], [], [], drawn)


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
