"""What compressing a linear needs to know of the texts: how its inputs lie, and what an error there costs.

A change dW of a linear changes its outputs at token t by dW x_t. To second order the log-probabilities of the
answers change, in Kullback-Leibler divergence, by half of E[(g_t . dW x_t)^2] summed over tokens, g_t being
the gradient of the log-probability of answers drawn from the model itself (the Fisher information). With
the rows of g_t taken as independent and its size |g_t|^2 as the weight of the token,

    KL per answered token = 1/2 sum_r F_r dw_r M dw_r,
    M = sum_t |g_t|^2 x_t x_t^T / sum_t |g_t|^2,   F_r = sum_t g_tr^2 / answered tokens,

so errors of all linears are nats and add up. Knows no codes, no plan. Works block by block, forwards and
then backwards, with the hidden states between blocks on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from adtrie.compress.block import (
    SHARED_INPUTS,
    Block,
    Floats,
    Seen,
    float_matrix,
    rms_norm,
    rms_norm_backward,
)
from adtrie.compress.hessian import Curvature
from adtrie.compress.in_order import in_order
from adtrie.compress.samples import Batch
from adtrie.compress.work_folder import WorkFolder
from adtrie.engine.source import WeightSource
from adtrie.errors import FormatError

SCORED_AT_ONCE = 256  # rows whose logits are held together
_NORM, _HEAD, _EMBED = "final_norm", "head", "embed"

Step = Callable[[], None]
S = TypeVar("S", "_Sums", "_HeadSums")


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """What an error in a linear costs, in nats per answered token.

    curvature: of its inputs. row_weights: float64[N], F_r / 2. used: float64[N] and float64[K], for an
    embedding: how often each row is looked up and what an error of each element costs then.
    """

    curvature: Curvature
    row_weights: NDArray[np.float64]
    used: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def rows(self, rows: NDArray[np.intp]) -> Sensitivity:
        """The same of some rows."""
        used = None if self.used is None else (self.used[0][rows], self.used[1])
        return Sensitivity(self.curvature, self.row_weights[rows], used)

    def row_costs(self, weights: Floats, values: Floats) -> NDArray[np.float64]:
        """Nats float64[N] that each row of `values` costs in place of that of `weights`."""
        costs = self.row_weights * self.curvature.row_errors(weights, values)
        if self.used is None:
            return costs
        counts, prices = self.used
        return np.asarray(costs + counts * (np.square(weights - values, dtype=np.float64) @ prices))


class Calibration:
    """Statistics of `batches` on the model behind `source`, in a work folder that keeps finished parts."""

    def __init__(
        self, source: WeightSource, batches: Sequence[Batch], work: WorkFolder, seed: int = 0
    ) -> None:
        self._source, self._batches, self._work, self._seed = source, batches, work, seed
        self._num_blocks = source.spec.num_layers
        self._num_scored = sum(int(batch.scored.sum()) for batch in batches)

    @property
    def num_steps(self) -> int:
        """Calls of `step` that `run` makes at most: one per block, forwards and backwards, and the head."""
        return 2 * self._num_blocks + 1

    def run(self, step: Step) -> None:
        """Computes what is not finished."""
        first = next((b for b in range(self._num_blocks) if not self._done(b)), None)
        if first is None:
            return
        last = max(b for b in range(self._num_blocks) if not self._done(b))
        if last == self._num_blocks - 1:
            self._forwards(step)
            self._head(step)
        for index in range(last, -1, -1):
            self._backwards(index)
            step()

    def block(self, index: int) -> dict[str, Sensitivity]:
        """That of each linear of block `index`; linears with the same input share their curvature."""
        found = self._work.load(_statistics(index))
        if found is None:
            raise FormatError(
                f"{self._work.path}: statistics of block {index} are damaged; delete the folder"
            )
        sensitivities = {}
        for group, names in enumerate(SHARED_INPUTS):
            curvature = Curvature(found[f"moments.{group}"].astype(np.float64))
            for name in names:
                rows = found[f"rows.{name}"].astype(np.float64) / 2
                sensitivities[name] = Sensitivity(curvature, rows)
        return sensitivities

    def embedding(self) -> dict[str, Sensitivity]:
        """That of the embedding and the head, one entry where they are the same matrix."""
        head, embed = self._work.load(_HEAD), self._work.load(_EMBED)
        if head is None or embed is None:
            raise FormatError(f"{self._work.path}: statistics of the head are damaged; run it again")
        moments, rows = head["moments"].astype(np.float64), head["rows"].astype(np.float64) / 2
        counts, prices = embed["counts"].astype(np.float64), embed["prices"].astype(np.float64) / 2
        if self._source.spec.tied_head:
            both = rows.mean() * moments + np.diag(counts.mean() * prices)
            return {_EMBED: Sensitivity(Curvature(both), rows, (counts, prices))}
        looked_up = Sensitivity(Curvature(np.diag(prices)), np.zeros_like(rows), (counts, prices))
        return {_EMBED: looked_up, _HEAD: Sensitivity(Curvature(moments), rows)}

    def _done(self, index: int) -> bool:
        return self._work.has(_statistics(index))

    def _forwards(self, step: Step) -> None:
        """Hidden states before every block and after the last one."""
        states = self._work.load(_states(0))
        if states is None:
            embed = float_matrix(self._source, "embed")
            states = _numbered(embed[batch.tokens] for batch in self._batches)
            self._work.save(_states(0), states)
        for index in range(self._num_blocks):
            after = self._work.load(_states(index + 1))
            if after is None:
                block = Block(self._source, index)
                after = _numbered(in_order(block.forward, _ordered(states)))
                self._work.save(_states(index + 1), after)
            states = after
            step()

    def _head(self, step: Step) -> None:
        """Answers drawn from the model; the gradient of their log-probability at the last hidden states."""
        if not (self._work.has(_HEAD) and self._work.has(_gradients(self._num_blocks))):
            states = self._work.load(_states(self._num_blocks))
            assert states is not None
            head, sums = _Head(self._source, self._seed), _HeadSums()
            inputs = zip(_ordered(states), self._batches, range(len(states)), strict=True)
            gradients = _collected(sums, in_order(head.backward, inputs))
            self._work.save(_gradients(self._num_blocks), gradients)
            self._work.save(_HEAD, sums.statistics(self._num_scored))
        step()

    def _backwards(self, index: int) -> None:
        """Statistics of block `index` and the gradients at its input; frees what is no longer needed."""
        states, gradients = self._work.load(_states(index)), self._work.load(_gradients(index + 1))
        if states is None or gradients is None:
            raise FormatError(
                f"{self._work.path}: states of block {index} are damaged; delete it and start over"
            )
        block, sums = Block(self._source, index), _Sums()

        def backward(pair: tuple[Floats, Floats]) -> tuple[Floats, _Sums]:
            part = _Sums()
            return block.backward(*pair, part.add), part

        pairs = zip(_ordered(states), _ordered(gradients), strict=True)
        before = _collected(sums, in_order(backward, pairs))
        self._work.save(_gradients(index), before)
        if index == 0:
            self._work.save(_EMBED, self._embedding_statistics(before))
        self._work.save(_statistics(index), sums.statistics(self._num_scored))
        for name in (_states(index + 1), _gradients(index + 1)):
            self._work.forget(name)

    def _embedding_statistics(self, gradients: dict[str, Floats]) -> dict[str, NDArray[np.float32]]:
        counts, squares, num_real = np.zeros(self._source.spec.vocab_size), np.zeros(1), 0
        for batch, gradient in zip(self._batches, _ordered(gradients), strict=True):
            counts += np.bincount(batch.tokens[batch.real], minlength=len(counts))
            squares = squares + np.square(gradient[batch.real], dtype=np.float64).sum(axis=0)
            num_real += int(batch.real.sum())
        return {
            "counts": (counts / self._num_scored).astype(np.float32),
            "prices": (squares / num_real).astype(np.float32),
        }


class _Sums:
    """Sums over batches for one block."""

    def __init__(self) -> None:
        self._moments: dict[int, NDArray[np.float64]] = {}
        self._weights: dict[int, float] = {}
        self._rows: dict[str, NDArray[np.float64]] = {}

    def merge(self, other: _Sums) -> None:
        """Adds those of the next batch."""
        for group, moments in other._moments.items():
            self._moments[group] = self._moments.get(group, 0.0) + moments
            self._weights[group] = self._weights.get(group, 0.0) + other._weights[group]
        for name, rows in other._rows.items():
            self._rows[name] = self._rows.get(name, 0.0) + rows

    def add(self, seen: Seen) -> None:
        group = SHARED_INPUTS.index(seen.names)
        weights = np.zeros(len(seen.inputs))
        for name, gradient in zip(seen.names, seen.gradients, strict=True):
            squares = np.square(gradient)
            self._rows[name] = self._rows.get(name, 0.0) + squares.sum(axis=0, dtype=np.float64)
            weights += squares.sum(axis=1, dtype=np.float64)
        scaled = seen.inputs * np.sqrt(weights)[:, None].astype(np.float32)
        self._moments[group] = self._moments.get(group, 0.0) + (scaled.T @ scaled).astype(np.float64)
        self._weights[group] = self._weights.get(group, 0.0) + float(weights.sum())

    def statistics(self, num_scored: int) -> dict[str, NDArray[np.float32]]:
        found = {
            f"moments.{group}": (moments / (self._weights[group] or 1.0)).astype(np.float32)
            for group, moments in self._moments.items()
        }
        return found | {
            f"rows.{name}": (rows / num_scored).astype(np.float32) for name, rows in self._rows.items()
        }


class _HeadSums:
    """Sums over scored rows for the head."""

    def __init__(self) -> None:
        self._moments: NDArray[np.float64] | float = 0.0
        self._rows: NDArray[np.float64] | float = 0.0
        self._weight = 0.0

    def add(self, hidden: Floats, shares: Floats) -> None:
        """Rows with the probabilities `shares`: the Fisher information of each logit, without drawing."""
        spread = shares * (1 - shares)
        weights = spread.sum(axis=1)
        scaled = hidden * np.sqrt(weights)[:, None]
        self._moments = self._moments + (scaled.T @ scaled).astype(np.float64)
        self._rows = self._rows + spread.sum(axis=0, dtype=np.float64)
        self._weight += float(weights.sum(dtype=np.float64))

    def merge(self, other: _HeadSums) -> None:
        """Adds those of the next batch."""
        self._moments, self._rows = self._moments + other._moments, self._rows + other._rows
        self._weight += other._weight

    def statistics(self, num_scored: int) -> dict[str, NDArray[np.float32]]:
        return {
            "moments": np.asarray(self._moments / (self._weight or 1.0), np.float32),
            "rows": np.asarray(self._rows / num_scored, np.float32),
        }


class _Head:
    """The final norm and the head: answers and gradients."""

    def __init__(self, source: WeightSource, seed: int) -> None:
        spec = source.spec
        self._norm, self._epsilon = source.vector(_NORM), spec.rms_epsilon
        self._weights = float_matrix(source, "embed" if spec.tied_head else "head")
        self._seed = seed

    def backward(self, inputs: tuple[Floats, Batch, int]) -> tuple[Floats, _HeadSums]:
        """Gradient at hidden states x [B, L, H] of the log-probability of one answer per scored row.

        inputs: x, its batch, its number, which seeds the answers.
        """
        x, batch, number = inputs
        random, sums = np.random.default_rng((self._seed, number)), _HeadSums()
        hidden = rms_norm(x, self._norm, self._epsilon)
        scored = hidden[batch.scored]
        to_scored = np.empty_like(scored)
        for first in range(0, len(scored), SCORED_AT_ONCE):
            rows = slice(first, first + SCORED_AT_ONCE)
            to_scored[rows] = self._answer(scored[rows], random, sums)
        to_hidden = np.zeros_like(hidden)
        to_hidden[batch.scored] = to_scored
        return rms_norm_backward(x, to_hidden, self._norm, self._epsilon), sums

    def _answer(self, hidden: Floats, random: np.random.Generator, sums: _HeadSums) -> Floats:
        shares = softmax(hidden @ self._weights.T)
        sums.add(hidden, shares)
        drawn = (np.cumsum(shares, axis=1) < random.random((len(hidden), 1), np.float32)).sum(axis=1)
        shares[np.arange(len(hidden)), np.minimum(drawn, shares.shape[1] - 1)] -= 1
        return np.asarray(-shares @ self._weights)


def softmax(logits: Floats) -> Floats:
    """Probabilities along the last axis; reuses the memory of `logits`."""
    logits -= logits.max(axis=-1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=-1, keepdims=True)
    return logits


def _collected(sums: S, parts: Iterable[tuple[Floats, S]]) -> dict[str, Floats]:
    """The arrays of all batches, numbered; what comes with them is added to `sums` in order."""
    arrays: dict[str, Floats] = {}
    for number, (array, part) in enumerate(parts):
        arrays[str(number)] = array
        sums.merge(part)
    return arrays


def _numbered(arrays: Iterable[Floats]) -> dict[str, Floats]:
    return {str(number): array for number, array in enumerate(arrays)}


def _ordered(arrays: dict[str, Floats]) -> list[Floats]:
    return [arrays[str(number)] for number in range(len(arrays))]


def _states(index: int) -> str:
    return f"states-{index}"


def _gradients(index: int) -> str:
    return f"gradients-{index}"


def _statistics(index: int) -> str:
    return f"statistics-{index}"
