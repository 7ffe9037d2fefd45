"""Requests with a deadline on the wall clock: how many answers come late, and how good they are.

`Model.answer` with the neighbours of the query, as a caller sees it, on recorded queries with known top 10.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from adtrie.catalogue import Neighbours
from adtrie.request import TargetOptions
from benchmarks import machine
from benchmarks.search_anytime import past_and_text
from benchmarks.search_record import K, Recorded, Recording
from benchmarks.search_setting import Setting

DEADLINES_MS = (5, 10, 20, 50)
LATE_MS = 1.0
WARM_UP = 40  # requests before the first that counts: the pace of this machine is learned from them


def measure(recording: Recording, deadline_ms: float, num_requests: int) -> dict[str, Any]:
    """One deadline: overruns and recall of `num_requests` requests, going round the recorded queries."""
    setting = recording.setting
    of = list(recording.queries(f"{deadline_ms:g} ms"))
    options, neighbours = TargetOptions(k=K, deadline_ms=deadline_ms), past_and_text(setting)
    setting.model.warm(options)
    for number in range(WARM_UP):
        _ask(setting, of[number % len(of)], TargetOptions(k=K, deadline_ms=100), neighbours)
    load, log = machine.ForeignLoad(), []
    for number in range(num_requests):
        log.append(_ask(setting, of[number % len(of)], options, neighbours))
    ms, recall, forwards = np.array(log).T
    late = ms - deadline_ms
    return {
        "deadline_ms": deadline_ms,
        "requests": num_requests,
        "queries": len(of),
        "threads": setting.model.engine.num_threads,
        "late_by_more_than_1_ms": round(float((late > LATE_MS).mean()), 4),
        "overrun_p99_ms": round(float(np.percentile(late, 99)), 2),
        "overrun_max_ms": round(float(late.max()), 2),
        "ms_p50": round(float(np.median(ms)), 2),
        "recall_mean": round(float(recall.mean()), 4),
        "forwards_mean": round(float(forwards.mean()), 2),
        "foreign_load": round(load.share(), 3),
    }


def _ask(
    setting: Setting, one: Recorded, options: TargetOptions, neighbours: Neighbours
) -> tuple[float, float, int]:
    """Milliseconds on the wall clock, recall of the true top K, forwards."""
    began = time.perf_counter()
    hits = setting.model.answer(one.query, setting.catalogue, options, seeds=neighbours)
    ms = (time.perf_counter() - began) * 1e3
    texts = {setting.catalogue.text(entry) for entry in one.truth.entries.tolist()}
    return ms, len(texts & {hit.text for hit in hits}) / len(texts), hits.forwards
