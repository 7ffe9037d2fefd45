"""Which pairs form which update: rows of similar length together, in an order that only the seed decides.

Knows no torch and no text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adtrie.train.pairs import Example

_POOL_BATCHES = 50  # rows of about so many batches are sorted by length together: little padding, still mixed


@dataclass(frozen=True)
class Batch:
    """Tokens int64[B, T], padded on the right with 0; rows int64[C] and labels int64[C] of the completions.

    `rows` index the flattened [B * T] positions that predict the `labels`.
    real: bool[B, T], False for padding.
    """

    tokens: NDArray[np.int64]
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    real: NDArray[np.bool_]

    @property
    def num_tokens(self) -> int:
        """Tokens without padding."""
        return int(self.real.sum())


class BatchOrder:
    """The endless sequence of batches of a run: `batch(step)` is a function of examples, size and seed."""

    def __init__(self, examples: Sequence[Example], batch_tokens: int, seed: int) -> None:
        self._examples = examples
        self._lengths = np.array([len(example.tokens) for example in examples])
        self._batch_tokens, self._seed = batch_tokens, seed
        self._epoch, self._first = 0, 0
        self._plan = self._epoch_plan(0)
        self.batches_per_epoch = len(self._plan)

    def batch(self, step: int) -> Batch:
        """The batch of update `step`, from 0."""
        if step < self._first:
            self._epoch, self._first, self._plan = 0, 0, self._epoch_plan(0)
        while step >= self._first + len(self._plan):
            self._first += len(self._plan)
            self._epoch += 1
            self._plan = self._epoch_plan(self._epoch)
        return collate([self._examples[i] for i in self._plan[step - self._first]])

    def _epoch_plan(self, epoch: int) -> list[NDArray[np.int64]]:
        """Every example once: shuffled, cut into pools, sorted by length inside, cut into batches."""
        random = np.random.default_rng([self._seed, epoch])
        order = random.permutation(len(self._lengths))
        mean = float(self._lengths.mean())
        pool_rows = max(int(_POOL_BATCHES * self._batch_tokens / mean), 1)
        plan = []
        for start in range(0, len(order), pool_rows):
            pool = order[start : start + pool_rows]
            by_length = pool[np.argsort(self._lengths[pool], kind="stable")]
            plan += cut(by_length, self._lengths, self._batch_tokens)
        return [plan[i] for i in random.permutation(len(plan))]


def cut(order: NDArray[np.int64], lengths: NDArray[np.int64], batch_tokens: int) -> list[NDArray[np.int64]]:
    """`order` (ascending length) in consecutive pieces whose padded size is at most `batch_tokens`."""
    pieces, start = [], 0
    for end in range(1, len(order) + 1):
        if end == len(order) or (end - start + 1) * int(lengths[order[end]]) > batch_tokens:
            pieces.append(order[start:end])
            start = end
    return pieces


def in_order(examples: Sequence[Example], batch_tokens: int) -> list[Batch]:
    """All examples once, by length: for the dev loss."""
    lengths = np.array([len(example.tokens) for example in examples])
    pieces = cut(np.argsort(lengths, kind="stable"), lengths, batch_tokens)
    return [collate([examples[i] for i in piece]) for piece in pieces]


def collate(examples: Sequence[Example]) -> Batch:
    """One batch; causal attention never looks at padding on the right, so no mask is needed."""
    width = max(len(example.tokens) for example in examples)
    tokens = np.zeros((len(examples), width), np.int64)
    real = np.zeros(tokens.shape, bool)
    rows, labels = [], []
    for index, example in enumerate(examples):
        length = len(example.tokens)
        tokens[index, :length], real[index, :length] = example.tokens, True
        rows.append(index * width + np.arange(example.start - 1, length - 1))
        labels.append(example.tokens[example.start :])
    return Batch(tokens, np.concatenate(rows), np.concatenate(labels).astype(np.int64), real)
