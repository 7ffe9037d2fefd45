"""The order in which tokens are tried at one position: most likely first, or drawn with one uniform number.

A pure function of logits, options and position, so that a draft can be checked against it. Knows no text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import InputError, ModelError

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 100.0  # and 0
MAX_TOP_K = 1_000_000
MAX_SEED = 2**63 - 1
LEAST_SHARE = 1e-9  # tokens below this share of the likeliest one's probability are never drawn
_FEW = 128  # tokens sorted before all are
_MASK = 2**64 - 1


@dataclass(frozen=True)
class Sampling:
    """How a token is picked; temperature 0 takes the most likely one. InputError for a value out of range.

    Filters in this order: temperature, the `top_k` likeliest (0: all), the fewest that hold `top_p` of the
    mass, those with at least `min_p` of the likeliest one's probability.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        _check_real("temperature", self.temperature, 0.0, MAX_TEMPERATURE)
        if 0.0 < self.temperature < MIN_TEMPERATURE:
            raise InputError(
                f"temperature: expected 0 or at least {MIN_TEMPERATURE}, got {self.temperature}; use 0"
            )
        _check_real("top_p", self.top_p, 0.0, 1.0)
        _check_real("min_p", self.min_p, 0.0, 1.0)
        if self.top_p == 0.0:
            raise InputError(
                "top_p: expected a number above 0, got 0; use temperature 0 for the likeliest token"
            )
        for name, value, upper in (("top_k", self.top_k, MAX_TOP_K), ("seed", self.seed, MAX_SEED)):
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= upper:
                raise InputError(f"{name}: expected an integer from 0 to {upper}, got {value!r:.60}")

    @property
    def is_greedy(self) -> bool:
        """Whether chance plays no part."""
        return self.temperature == 0.0


def uniform(seed: int, position: int) -> float:
    """The number in [0, 1) that draws the token at `position` (0, 1, ... in the text): 53 bits of splitmix64.

    It depends on nothing else, so text made in another order of forwards is the same text.
    """
    value = (seed * 0xD1342543DE82EF95 + (position + 1) * 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((value ^ (value >> 31)) >> 11) * 2.0**-53


def in_order(logits: NDArray[np.float32], sampling: Sampling, position: int) -> Iterator[int]:
    """Token ids of logits float32[V] in the order they are to be tried until one is not refused.

    Greedy: descending, ties by id. Drawn: the first by `uniform`; after a refusal the number is stretched
    over the refused token's interval, which makes it uniform again, so the taken token is distributed as the
    filtered probabilities renormalised without the refused ones. Behind them: the rest, most likely first.
    Raises ModelError for NaN.
    """
    best = int(np.argmax(logits))
    if not np.isfinite(logits[best]):
        raise ModelError(
            f"logits: expected finite numbers, got {logits[best]}; the weights are damaged or overflow"
        )
    if sampling.is_greedy:
        return _descending(logits, best)
    return _drawn(logits, sampling, position)


def _descending(logits: NDArray[np.float32], best: int) -> Iterator[int]:
    """Likeliest first, ties by id. Few are ever asked for, so only the first few are sorted at first."""
    yield best
    if logits.size > _FEW:
        least = np.partition(logits, -_FEW)[-_FEW]
        few = np.flatnonzero(logits >= least)  # with all that tie with the last of them
        yield from (token for token in _sorted(logits, few) if token != best)
        rest = np.flatnonzero(~(logits >= least))
    else:
        rest = np.delete(np.arange(logits.size), best)
    yield from _sorted(logits, rest)


def _sorted(logits: NDArray[np.float32], tokens: NDArray[np.int64]) -> list[int]:
    found: list[int] = tokens[np.argsort(-logits[tokens], kind="stable")].tolist()
    return found


def _drawn(logits: NDArray[np.float32], sampling: Sampling, position: int) -> Iterator[int]:
    tokens, weights = filtered(logits, sampling)
    tried = set(tokens.tolist())
    number = uniform(sampling.seed, position)
    while tokens.size:
        edges = np.cumsum(weights)
        point = number * float(edges[-1])
        index = min(int(np.searchsorted(edges, point, side="right")), tokens.size - 1)
        yield int(tokens[index])
        below = float(edges[index - 1]) if index else 0.0
        number = min(max((point - below) / float(weights[index]), 0.0), 1.0 - 2.0**-53)
        tokens, weights = np.delete(tokens, index), np.delete(weights, index)
    for token in np.argsort(-logits, kind="stable").tolist():
        if token not in tried:
            yield token


def filtered(
    logits: NDArray[np.float32], sampling: Sampling
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Tokens int64[n] that may be drawn, likeliest first, and their probabilities up to one factor."""
    scaled = (logits.astype(np.float64) - float(logits.max())) / sampling.temperature
    tokens = np.flatnonzero(scaled >= math.log(LEAST_SHARE))
    tokens = tokens[np.argsort(-scaled[tokens], kind="stable")]
    if sampling.top_k:
        tokens = tokens[: sampling.top_k]
    weights = np.exp(scaled[tokens])
    if sampling.top_p < 1.0:
        edges = np.cumsum(weights)
        num_kept = int(np.searchsorted(edges, sampling.top_p * edges[-1], side="left")) + 1
        tokens, weights = tokens[:num_kept], weights[:num_kept]
    kept = weights >= sampling.min_p  # the likeliest one weighs 1
    return tokens[kept], weights[kept]


def _check_real(name: str, value: Any, lower: float, upper: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not lower <= value <= upper:
        raise InputError(f"{name}: expected a number from {lower:g} to {upper:g}, got {value!r:.60}")
