"""Token sequences to calibrate on, and their padding to batches of similar length.

Knows no text, no model and no task.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BATCH_ROWS = 2_048  # tokens and padding that one product takes


@dataclass(frozen=True, eq=False)
class Sample:
    """Tokens int32[n]; the model is asked for those from `start` on, at least the last one."""

    tokens: NDArray[np.int32]
    start: int

    def __post_init__(self) -> None:
        if self.tokens.ndim != 1 or not 1 <= self.start < len(self.tokens):
            raise ValueError(f"sample: {len(self.tokens)} tokens of which those from {self.start} on count")


@dataclass(frozen=True, eq=False)
class Batch:
    """tokens int32[B, L] padded on the right with 0, where causal attention never looks.

    scored: bool[B, L], the rows whose next token counts. next_tokens: int32[rows scored], in order.
    real: bool[B, L], False for padding.
    """

    tokens: NDArray[np.int32]
    scored: NDArray[np.bool_]
    real: NDArray[np.bool_]

    @property
    def next_tokens(self) -> NDArray[np.int32]:
        """The text's own token after each scored row, int32[scored]."""
        return self.tokens[:, 1:][self.scored[:, :-1]]

    @property
    def shape(self) -> tuple[int, int]:
        """(B, L)."""
        return self.tokens.shape[0], self.tokens.shape[1]


def make_batches(samples: Sequence[Sample], rows: int = BATCH_ROWS) -> list[Batch]:
    """All samples, shortest first, in batches of at most `rows` tokens with padding (one sample at least)."""
    ordered = sorted(samples, key=lambda sample: len(sample.tokens))
    batches: list[list[Sample]] = []
    for sample in ordered:
        if not batches or (len(batches[-1]) + 1) * len(sample.tokens) > rows:
            batches.append([])
        batches[-1].append(sample)
    return [_pad(batch) for batch in batches]


def fingerprint(samples: Sequence[Sample]) -> str:
    """sha256 hex of all tokens and starts in order."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.start} {len(sample.tokens)}\n".encode())
        digest.update(sample.tokens.astype("<i4").tobytes())
    return digest.hexdigest()


def _pad(samples: Sequence[Sample]) -> Batch:
    shape = len(samples), max(len(sample.tokens) for sample in samples)
    tokens, scored, real = np.zeros(shape, np.int32), np.zeros(shape, bool), np.zeros(shape, bool)
    for row, sample in enumerate(samples):
        length = len(sample.tokens)
        tokens[row, :length] = sample.tokens
        scored[row, sample.start - 1 : length - 1] = True
        real[row, :length] = True
    return Batch(tokens, scored, real)
