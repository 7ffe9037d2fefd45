"""One transformer block in float32 over padded batches of chains, forwards and backwards.

The same function as `engine.reference`, many rows at a time; backwards it hands out, for every linear, its
inputs and the gradients of its outputs. Knows no statistics and no file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from adtrie.config import ModelSpec
from adtrie.engine.rope import rope_frequencies
from adtrie.engine.source import WeightSource
from adtrie.errors import InputError
from adtrie.format.tensors import dense_values

Floats = NDArray[np.float32]
SHARED_INPUTS = (("q", "k", "v"), ("o",), ("gate", "up"), ("down",))  # linears with the same input
BLOCK_LINEARS = tuple(name for names in SHARED_INPUTS for name in names)


class Seen(NamedTuple):
    """Linears that share `inputs` [rows, K], and the gradient [rows, N] of each one's outputs."""

    names: tuple[str, ...]
    inputs: Floats
    gradients: tuple[Floats, ...]


@dataclass(frozen=True, eq=False)
class Rope:
    """cosine and sine float32[L, D / 2] of positions 0 to L - 1."""

    cosine: Floats
    sine: Floats

    @classmethod
    def of(cls, spec: ModelSpec, num_positions: int) -> Rope:
        positions = np.arange(num_positions, dtype=np.float32)
        angles = positions[:, None] * rope_frequencies(spec)
        return cls(np.cos(angles), np.sin(angles))

    def turn(self, heads: Floats, backwards: bool = False) -> Floats:
        """heads [..., L, D] turned by their positions; turning is its own gradient, backwards."""
        half = heads.shape[-1] // 2
        first, second = heads[..., :half], heads[..., half:]
        sine = -self.sine if backwards else self.sine
        return np.concatenate(
            [first * self.cosine - second * sine, second * self.cosine + first * sine], axis=-1
        )


class Block:
    """The weights of block `index` of a source, dequantized."""

    def __init__(self, source: WeightSource, index: int) -> None:
        self.spec = spec = source.spec
        name = f"layers.{index}."
        self.weights = {part: float_matrix(source, name + part) for part in BLOCK_LINEARS}
        norms = ["attn_norm", "mlp_norm", *(["q_norm", "k_norm"] if spec.qk_norm else [])]
        biases = [*("qkv" if spec.qkv_bias else ""), *("o" if spec.output_bias else "")]
        vectors = [*norms, *(f"{part}.bias" for part in biases)]
        self._vectors = {part: source.vector(name + part) for part in vectors}

    def forward(self, x: Floats) -> Floats:
        """Hidden states [B, L, H] after this block."""
        attention = self._attend(x, Rope.of(self.spec, x.shape[1]))
        middle = x + self._linear("o", attention.context)
        _, _, product = self._gates(self._norm(middle, "mlp_norm"))
        return np.asarray(middle + product @ self.weights["down"].T)

    def backward(self, x: Floats, gradient: Floats, visit: Callable[[Seen], None]) -> Floats:
        """Gradient [B, L, H] at the input `x`, from that at the output; `visit` is called once per input."""
        attention = self._attend(x, Rope.of(self.spec, x.shape[1]))
        middle = x + self._linear("o", attention.context)
        to_middle = gradient + self._mlp_backward(middle, gradient, visit)
        visit(_seen("o", attention.context, to_middle))
        to_context = cast("Floats", to_middle @ self.weights["o"])
        return np.asarray(to_middle + self._attention_backward(x, attention, to_context, visit))

    def _mlp_backward(self, x: Floats, gradient: Floats, visit: Callable[[Seen], None]) -> Floats:
        normed = self._norm(x, "mlp_norm")
        gate, up, product = self._gates(normed)
        visit(_seen("down", product, gradient))
        to_product = gradient @ self.weights["down"]
        share = _sigmoid(gate)
        to_gate = to_product * up * share * (1 + gate * (1 - share))
        to_up = to_product * gate * share
        visit(Seen(("gate", "up"), _rows(normed), (_rows(to_gate), _rows(to_up))))
        to_normed = cast("Floats", to_gate @ self.weights["gate"] + to_up @ self.weights["up"])
        return self._norm_backward(x, to_normed, "mlp_norm")

    def _attend(self, x: Floats, rope: Rope) -> _Attention:
        normed = self._norm(x, "attn_norm")
        raw = {part: self._heads(self._linear(part, normed)) for part in "qkv"}
        q, k = (self._head_norm(raw[part], part) for part in "qk")
        q, k = rope.turn(q), rope.turn(k)
        grouped = self._grouped(q)
        scores = grouped @ k.swapaxes(-1, -2)[:, :, None] / np.float32(np.sqrt(self.spec.head_size))
        length = x.shape[1]
        scores += np.triu(np.full((length, length), -np.inf, np.float32), 1)
        np.exp(scores - scores.max(axis=-1, keepdims=True), out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        context = cast("Floats", scores @ raw["v"][:, :, None])
        return _Attention(normed, raw, rope, grouped, k, scores, self._merged(context))

    def _attention_backward(
        self, x: Floats, seen: _Attention, gradient: Floats, visit: Callable[[Seen], None]
    ) -> Floats:
        to_context = self._grouped(self._heads(gradient))
        weights, values = seen.weights, seen.raw["v"]
        to_v = (weights.swapaxes(-1, -2) @ to_context).sum(axis=2)
        to_weights = to_context @ values[:, :, None].swapaxes(-1, -2)
        to_scores = weights * (to_weights - (to_weights * weights).sum(axis=-1, keepdims=True))
        to_scores /= np.float32(np.sqrt(self.spec.head_size))
        to_q = to_scores @ seen.keys[:, :, None]
        to_k = (to_scores.swapaxes(-1, -2) @ seen.queries).sum(axis=2)
        batch, _, _, length, size = to_q.shape
        to_heads = {
            "q": seen.rope.turn(to_q.reshape(batch, -1, length, size), backwards=True),
            "k": seen.rope.turn(to_k, backwards=True),
            "v": to_v,
        }
        if self.spec.qk_norm:
            for part in "qk":
                to_heads[part] = self._norm_backward(seen.raw[part], to_heads[part], f"{part}_norm")
        flat = {part: self._merged_heads(to_heads[part]) for part in "qkv"}
        visit(Seen(("q", "k", "v"), _rows(seen.normed), tuple(_rows(flat[part]) for part in "qkv")))
        to_normed = sum((flat[part] @ self.weights[part] for part in "qkv"), np.float32(0))
        return self._norm_backward(x, np.asarray(to_normed), "attn_norm")

    def _gates(self, normed: Floats) -> tuple[Floats, Floats, Floats]:
        gate, up = normed @ self.weights["gate"].T, normed @ self.weights["up"].T
        return gate, up, gate * _sigmoid(gate) * up

    def _linear(self, part: str, x: Floats) -> Floats:
        out = x @ self.weights[part].T
        bias = self._vectors.get(f"{part}.bias")
        return out if bias is None else out + bias

    def _norm(self, x: Floats, name: str) -> Floats:
        return rms_norm(x, self._vectors[name], self.spec.rms_epsilon)

    def _norm_backward(self, x: Floats, gradient: Floats, name: str) -> Floats:
        return rms_norm_backward(x, gradient, self._vectors[name], self.spec.rms_epsilon)

    def _head_norm(self, heads: Floats, part: str) -> Floats:
        return self._norm(heads, f"{part}_norm") if self.spec.qk_norm else heads

    def _heads(self, flat: Floats) -> Floats:
        """[B, L, heads * D] as [B, heads, L, D]."""
        batch, length, _ = flat.shape
        return flat.reshape(batch, length, -1, self.spec.head_size).swapaxes(1, 2)

    def _grouped(self, heads: Floats) -> Floats:
        """[B, heads, L, D] as [B, KV heads, heads that share one, L, D]."""
        batch, _, length, size = heads.shape
        return heads.reshape(batch, self.spec.num_kv_heads, -1, length, size)

    def _merged(self, grouped: Floats) -> Floats:
        batch, _, _, length, size = grouped.shape
        return self._merged_heads(grouped.reshape(batch, -1, length, size))

    @staticmethod
    def _merged_heads(heads: Floats) -> Floats:
        """[B, heads, L, D] as [B, L, heads * D]."""
        batch, _, length, _ = heads.shape
        return np.ascontiguousarray(heads.swapaxes(1, 2)).reshape(batch, length, -1)


class _Attention(NamedTuple):
    """What the backward needs of the forward; heads are [B, heads, L, D]."""

    normed: Floats
    raw: dict[str, Floats]  # q, k before their norm and turn, v
    rope: Rope
    queries: Floats  # [B, KV heads, shared, L, D]
    keys: Floats
    weights: Floats  # [B, KV heads, shared, L, L]
    context: Floats  # [B, L, heads * D]


def float_matrix(source: WeightSource, name: str) -> Floats:
    """Linear or embedding `name` as float32[N, K]. Raises InputError unless all of it is finite."""
    values = dense_values(source.matrix(name))
    if not bool(np.isfinite(values).all()):
        raise InputError(f"{name}: holds NaN or infinity; the model is damaged, fetch it again")
    return values


def rms_norm(x: Floats, weight: Floats, epsilon: float) -> Floats:
    """x over its root mean square along the last axis, times `weight`."""
    return np.asarray(x * _inverse_rms(x, epsilon) * weight)


def rms_norm_backward(x: Floats, gradient: Floats, weight: Floats, epsilon: float) -> Floats:
    """Gradient at x from that at the normed x."""
    inverse = _inverse_rms(x, epsilon)
    scaled = gradient * weight
    along = np.mean(scaled * x, axis=-1, keepdims=True)
    return np.asarray(inverse * (scaled - x * inverse * inverse * along))


def _inverse_rms(x: Floats, epsilon: float) -> Floats:
    return np.asarray(1 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(epsilon)))


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))  # exp(-x) overflows


def _rows(x: Floats) -> Floats:
    return x.reshape(-1, x.shape[-1])


def _seen(name: str, inputs: Floats, gradient: Floats) -> Seen:
    return Seen((name,), _rows(inputs), (_rows(gradient),))
