"""What a request costs at least, and how many a second one server gives within a limit. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ARRIVALS = 4_000  # of one simulated load
STEPS = 24  # of the bisection: finer than the measurement


def floor_ms(prompt_rows: int, forwards: int, rows: int, weights_s: float, row_s: float) -> float:
    """Milliseconds below which no engine can answer: each forward reads the weights or computes its rows.

    weights_s: to read all weights once; row_s: of one row's arithmetic at peak. forwards counts the prompt's;
    rows does not. The rows are spread evenly, which is the least there can be.
    """
    steps = max(forwards - 1, 0)
    total = max(weights_s, prompt_rows * row_s)
    if steps:
        total += steps * max(weights_s, rows / steps * row_s)
    return total * 1e3


def latencies_ms(service_ms: Sequence[float], rate: float, seed: int = 0) -> np.ndarray:
    """Waiting and service, float64[ARRIVALS], of Poisson arrivals at `rate` a second at one server."""
    random = np.random.default_rng(seed)
    arrivals = np.cumsum(random.exponential(1e3 / rate, ARRIVALS))
    services = random.choice(np.asarray(service_ms, np.float64), ARRIVALS)
    finished, found = 0.0, np.empty(ARRIVALS)
    for number, (arrival, service) in enumerate(zip(arrivals.tolist(), services.tolist(), strict=True)):
        finished = max(finished, arrival) + service
        found[number] = finished - arrival
    return found


def rate_at_limit(service_ms: Sequence[float], limit_ms: float) -> float | None:
    """Most requests a second whose 99th percentile of latency keeps the limit; None where none does.

    Computed from measured service times: one server, Poisson arrivals, first come first served.
    """
    if float(np.percentile(service_ms, 99)) > limit_ms:
        return None
    low, high = 0.0, 1e3 / float(np.mean(service_ms))
    for _ in range(STEPS):
        middle = (low + high) / 2
        if float(np.percentile(latencies_ms(service_ms, middle), 99)) <= limit_ms:
            low = middle
        else:
            high = middle
    return round(low, 2)
