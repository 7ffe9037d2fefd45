"""Whatever answers queries takes turns, query by query; what the samples say. Knows no model and no peer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.request_cost import rate_at_limit
from benchmarks.undisturbed import TRIES, Patience, Sample

LIMITS_MS = (100.0, 250.0, 500.0, 1000.0)


@dataclass(frozen=True)
class Request:
    """What one request took. rows: without the prompt's; forwards: with it."""

    ms: float
    forwards: int
    rows: int = 0


@dataclass
class Participant:
    """Something that answers queries. ask: query to what it took; queries: how many it is asked."""

    name: str
    ask: Callable[[str], Request]
    queries: int
    pids: tuple[int, ...] = ()


def take_turns(
    participants: Sequence[Participant],
    queries: Sequence[str],
    watch: Callable[[Iterable[int]], Callable[[], float]],
    tries: int = TRIES,
) -> dict[str, list[Sample[Request]]]:
    """Samples of each participant, query by query in turn, another participant first each time."""
    found: dict[str, list[Sample[Request]]] = {item.name: [] for item in participants}
    patience = Patience(tries, len(queries) * len(participants) // 4)
    for number, query in enumerate(queries):
        at = number % len(participants)
        for item in [*participants[at:], *participants[:at]]:
            if number < item.queries:
                sample = patience.sample(
                    lambda ask=item.ask, text=query: ask(text), lambda pids=item.pids: watch(pids)
                )
                found[item.name].append(sample)
    return found


def summary(
    name: str, samples: Sequence[Sample[Request]], peers: Mapping[str, Sequence[Sample[Request]]]
) -> dict[str, Any]:
    """One participant's figures; beside each peer the median of the ratios of the same query."""
    ms = [sample.value.ms for sample in samples]
    return {
        "name": name,
        "requests": len(ms),
        "p50_ms": round(float(np.median(ms)), 2),
        "p99_ms": round(float(np.percentile(ms, 99)), 2),
        "median_forwards": float(np.median([sample.value.forwards for sample in samples])),
        "median_rows": float(np.median([sample.value.rows for sample in samples])),
        "repeated": sum(sample.tries - 1 for sample in samples),
        "disturbed": sum(sample.disturbed for sample in samples),
        "requests_s_at_p99_ms": {f"{limit:.0f}": rate_at_limit(ms, limit) for limit in LIMITS_MS},
        "times_faster_than": {
            other: round(
                float(np.median([b.value.ms / a.value.ms for a, b in zip(samples, theirs, strict=False)])), 2
            )
            for other, theirs in peers.items()
        },
        "ms": [round(value, 2) for value in ms],
    }
