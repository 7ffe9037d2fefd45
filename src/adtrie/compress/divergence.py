"""How far a compressed model is from the one it was made from: the true divergence, on texts held out.

Knows no plan and no codes: two weight sources, one forward each, in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.compress.block import Block, Floats, float_matrix, rms_norm
from adtrie.compress.calibrate import SCORED_AT_ONCE
from adtrie.compress.in_order import in_order
from adtrie.compress.samples import Batch
from adtrie.engine.source import WeightSource


@dataclass(frozen=True)
class Divergence:
    """Of the next-token distributions at scored rows. kl: Kullback-Leibler in nats, mean and 99th percentile.

    top1_agreement: share of rows with the same most likely token. perplexity: of the texts' own next tokens,
    and of the original model.
    """

    kl_mean: float
    kl_p99: float
    top1_agreement: float
    perplexity: float
    reference_perplexity: float
    num_rows: int


class Comparison:
    """The uncompressed model on `batches`: its last hidden states, from which its logits are made again."""

    def __init__(
        self, source: WeightSource, batches: Sequence[Batch], hidden: Sequence[Floats] | None = None
    ) -> None:
        """hidden: those states of an earlier comparison of the same, which saves the forward."""
        self._source, self._batches = source, batches
        if hidden is None:
            hidden = last_hidden(source, run_blocks(source, embedded(source, batches)), batches)
        self.hidden = hidden
        self._head = head_matrix(source)

    def of(self, source: WeightSource) -> Divergence:
        """Divergence of the model behind `source`."""
        states = run_blocks(source, embedded(source, self._batches))
        return self.of_hidden(last_hidden(source, states, self._batches), head_matrix(source))

    def rows_of(self, source: WeightSource) -> NDArray[np.float64]:
        """Nats float64[scored] of every scored row, batch by batch."""
        states = run_blocks(source, embedded(source, self._batches))
        return self._rows(last_hidden(source, states, self._batches), head_matrix(source))[0]

    def of_hidden(self, hidden: Sequence[Floats], head: Floats) -> Divergence:
        """The same from last hidden states of scored rows, one array per batch, and a head."""
        kl, agrees, loss, reference_loss = self._rows(hidden, head)
        return Divergence(
            float(kl.mean()),
            float(np.quantile(kl, 0.99)),
            float(agrees.mean()),
            float(np.exp(loss.mean())),
            float(np.exp(reference_loss.mean())),
            len(kl),
        )

    def _rows(self, hidden: Sequence[Floats], head: Floats) -> list[NDArray[Any]]:
        def compare(each: tuple[Floats, Floats, Batch]) -> tuple[NDArray[Any], ...]:
            ours, theirs, batch = each
            return _compare(ours, theirs, self._head, head, batch.next_tokens)

        parts = in_order(compare, zip(self.hidden, hidden, self._batches, strict=True))
        return [np.concatenate(part) for part in zip(*parts, strict=True)]


def embedded(source: WeightSource, batches: Sequence[Batch]) -> list[Floats]:
    """Hidden states [B, L, H] before the first block."""
    embed = float_matrix(source, "embed")
    return [embed[batch.tokens] for batch in batches]


def run_blocks(source: WeightSource, states: Sequence[Floats]) -> list[Floats]:
    """Hidden states [B, L, H] after the last block."""
    found = list(states)
    for index in range(source.spec.num_layers):
        block = Block(source, index)
        found = list(in_order(block.forward, found))
    return found


def last_hidden(source: WeightSource, states: Sequence[Floats], batches: Sequence[Batch]) -> list[Floats]:
    """Hidden states [scored, H] after the final norm, of scored rows only."""
    norm, epsilon = source.vector("final_norm"), source.spec.rms_epsilon
    return [rms_norm(x[batch.scored], norm, epsilon) for x, batch in zip(states, batches, strict=True)]


def head_matrix(source: WeightSource) -> Floats:
    """float32[V, H]."""
    return float_matrix(source, "embed" if source.spec.tied_head else "head")


def _compare(
    ours: Floats, theirs: Floats, our_head: Floats, their_head: Floats, tokens: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """KL, agreement, loss and our loss of every row."""
    kl, agrees = np.zeros(len(tokens)), np.zeros(len(tokens), bool)
    losses = np.zeros((2, len(tokens)))
    for first in range(0, len(tokens), SCORED_AT_ONCE):
        rows = slice(first, first + SCORED_AT_ONCE)
        p, q = log_softmax(ours[rows] @ our_head.T), log_softmax(theirs[rows] @ their_head.T)
        here = np.arange(len(p))
        losses[0, rows], losses[1, rows] = -q[here, tokens[rows]], -p[here, tokens[rows]]
        agrees[rows] = p.argmax(axis=1) == q.argmax(axis=1)
        np.subtract(p, q, out=q)
        np.exp(p, out=p)
        kl[rows] = np.einsum("tv,tv->t", p, q, dtype=np.float64)
    return np.maximum(kl, 0.0), agrees, losses[0], losses[1]


def log_softmax(logits: Floats) -> Floats:
    """Log-probabilities along the last axis; reuses the memory of `logits`."""
    logits -= logits.max(axis=-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return logits
