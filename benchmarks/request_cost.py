"""What a request costs at least, and how many a second one server gives within a limit. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ARRIVALS = 4_000  # of one simulated load
STEPS = 24  # of the bisection: finer than the measurement


@dataclass(frozen=True)
class Floor:
    """Seconds nothing can go below: to read all weights once; a row's arithmetic at peak, of trie and prompt.

    Prompt rows need no logits but the last one's, so their share has no head.
    """

    weights_s: float
    row_s: float
    prompt_row_s: float

    def ms(self, prompt_rows: int, forwards: int, rows: int) -> float:
        """Milliseconds of a request: each forward reads the weights or computes its rows.

        forwards counts the prompt's, rows does not. Rows are spread evenly over the forwards after the
        prompt's, which is the least there can be; where there are none, they went with the prompt.
        """
        prompt_s, steps = prompt_rows * self.prompt_row_s, forwards - 1
        if steps < 1:
            return max(self.weights_s, prompt_s + rows * self.row_s) * 1e3
        total = max(self.weights_s, prompt_s) + steps * max(self.weights_s, rows / steps * self.row_s)
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
