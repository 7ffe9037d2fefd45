"""Every setting of a tuning run in one place, checked; and the learning rate it means for a step.

Knows no torch, no data and no file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from adtrie.errors import InputError

# One token after the query: everything behind it is fed again for each request, what is before it is cached.
TASK_TEMPLATES = {
    "pricerunner": "Listing: {query} =>",
    "unspsc": "Product: {query} =>",
    "naics": "Activity: {query} =>",
    "unspsc-codes": "Product: {query} =>",
    "naics-codes": "Activity: {query} =>",
    "e2e": "Facts: {query} =>",
}
TASK_MAX_TOKENS = {"e2e": 192}  # where the Recipe's own are too few
PAIRS_TEMPLATE = "Query: {query} =>"
TARGETS = ("q", "k", "v", "o", "gate", "up", "down")
FINAL_RATE = 0.05  # share of the learning rate left at the end of the cosine


@dataclass(frozen=True)
class Recipe:
    """What is trained and how; InputError for a value out of range.

    `minutes` bounds the wall time, `steps` fixes the number of updates instead. `batch_tokens` counts tokens
    of one update, padding included; `max_tokens` prompt and completion of one pair; `patience` dev
    evaluations without improvement before the run stops. `full`: whole linears instead of adapters.
    `titles`: every entry is also a query for itself, so that entries without training rows are learned too.
    """

    template: str
    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = TARGETS
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    epochs: float = 2.0
    minutes: float | None = 55.0
    steps: int | None = None
    batch_tokens: int = 1024
    max_tokens: int = 128
    warmup_steps: int = 30
    evaluate_every: int = 100
    dev_rows: int = 320
    patience: int = 4
    seed: int = 0
    full: bool = False
    titles: bool = False

    def __post_init__(self) -> None:
        _check("rank", self.rank, 1, 1024)
        _check("learning rate", self.learning_rate, 1e-8, 1.0)
        _check("epochs", self.epochs, 0.001, 1000)
        _check("minutes", 1.0 if self.minutes is None else self.minutes, 0.01, 60 * 24 * 30)
        _check("steps", 1 if self.steps is None else self.steps, 1, 10_000_000)
        _check("max_tokens", self.max_tokens, 8, 4096)
        _check("batch_tokens", self.batch_tokens, self.max_tokens, 1 << 20)
        _check("evaluate_every", self.evaluate_every, 1, 1_000_000)
        _check("seed", self.seed, 0, 2**31 - 1)
        unknown = set(self.targets) - set(TARGETS)
        if unknown or not self.targets:
            raise InputError(f"targets: expected some of {', '.join(TARGETS)}, got {self.targets!r:.80}")

    def rate(self, step: int, total: int) -> float:
        """Learning rate of update `step` (from 0) of `total`: linear warm-up, then cosine to FINAL_RATE."""
        warmup = min(self.warmup_steps, max(total // 10, 1))
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        done = min((step - warmup) / max(total - warmup, 1), 1.0)
        return self.learning_rate * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * done)))


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # false for NaN too
        raise InputError(f"{name}: expected {low:g} to {high:g}, got {value!r:.40}")
