"""The forward in plain NumPy: the definition that the native engine is tested against.

One row at a time, no cache tricks, no quantized arithmetic: weights are dequantized first. Beside it the
products of quantized weights and 8-bit activations, whose integers every kernel must give exactly, and of
weights and activations in bfloat16, which every kernel must give to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.config import ModelSpec, QuantizedMatrix
from adtrie.engine.rope import rope_frequencies
from adtrie.format.tensors import Tensor, dense_values

Floats = NDArray[Any]
_BLOCK = 32  # inputs per scale of 8-bit activations


def block_dots(matrix: QuantizedMatrix, codes: NDArray[np.int8]) -> NDArray[np.int64]:
    """Sums over each block of 32 inputs of weight code (minus zero, if without mins) times int8[T, K] code.

    Returns int64[T, N, K/32].
    """
    zero = 0 if matrix.mins is not None else 1 << (matrix.bits - 1)
    weights = (matrix.codes.astype(np.int64) - zero).reshape(matrix.shape[0], -1, _BLOCK)
    blocks = codes.astype(np.int64).reshape(len(codes), -1, _BLOCK)
    return np.asarray(np.einsum("nbk,tbk->tnb", weights, blocks))


def multiply_int8(
    matrix: QuantizedMatrix, codes: NDArray[np.int8], steps: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Product float64[T, N] of `matrix` and activations `codes` int8[T, K] * `steps` float32[T, K/32]."""
    per_block = np.arange(codes.shape[1] // _BLOCK) * _BLOCK // matrix.group  # group of each block
    scales = matrix.scales.astype(np.float64)[:, per_block]
    product = np.einsum("tnb,nb,tb->tn", block_dots(matrix, codes), scales, steps.astype(np.float64))
    if matrix.mins is not None:
        sums = codes.astype(np.int64).reshape(len(codes), -1, _BLOCK).sum(axis=2) * steps.astype(np.float64)
        product += sums @ matrix.mins.astype(np.float64)[:, per_block].T
    return np.asarray(product)


def round_bfloat16(values: Floats) -> NDArray[np.float32]:
    """The nearest bfloat16, ties to even, as float32; zero below the normal range."""
    bits = np.asarray(values, dtype=np.float32).view(np.uint32)
    nearest = (bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    return np.where(bits & np.uint32(0x7F800000), nearest, np.uint32(0)).view(np.float32)


def multiply_bfloat16(weights: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Product float32[T, N] of weights [N, K] and activations [T, K], both rounded to bfloat16.

    Per two inputs two fused multiply-adds in float32, the second input first.
    """
    weights, x = (np.pad(round_bfloat16(a), ((0, 0), (0, a.shape[1] % 2))) for a in (weights, x))
    total = np.zeros((len(x), len(weights)), dtype=np.float32)
    for k in range(0, x.shape[1], 2):
        for i in (k + 1, k):
            total = _added(total, np.outer(x[:, i], weights[:, i]))
    return total


def _added(sums: NDArray[np.float32], products: NDArray[np.float32]) -> NDArray[np.float32]:
    """sums + products in float32, rounded once. Products of two bfloat16 are exact.

    The float64 sum is off by `lost`. An even last bit then moves towards the truth, to an odd one: so it is
    never taken for a tie, and rounding it again to float32 is rounding once.
    """
    a, b = sums.astype(np.float64), products.astype(np.float64)
    total = a + b
    part = total - a
    lost = (a - (total - part)) + (b - part)
    even = total.view(np.uint64) & np.uint64(1) == 0
    odd = np.nextafter(total, np.copysign(np.inf, lost))
    return np.where((lost != 0) & even, odd, total).astype(np.float32)


class ReferenceForward:
    """Forward over a token tree. `tensor(name)` gives any tensor by its canonical name.

    activations: what becomes of the inputs of a linear, such as `round_bfloat16`; nothing where it is None.
    """

    def __init__(
        self,
        spec: ModelSpec,
        tensor: Callable[[str], Tensor],
        dtype: type = np.float64,
        activations: Callable[[Floats], Floats] | None = None,
    ) -> None:
        self.spec = spec
        self._tensor = tensor
        self._dtype = dtype
        self._activations = activations
        self._frequencies = rope_frequencies(spec)
        self._keys: list[list[Floats]] = [[] for _ in range(spec.num_layers)]  # [layer][row] -> [KV heads, D]
        self._values: list[list[Floats]] = [[] for _ in range(spec.num_layers)]
        self._parents: list[int] = []

    def forward(self, tokens: NDArray[np.int32], parents: NDArray[np.int32]) -> Floats:
        """Hidden states [T, H] after the final norm; row i continues row parents[i], -1 = the beginning."""
        return np.stack([self._row(int(t), int(p)) for t, p in zip(tokens, parents, strict=True)])

    def logits(self, hidden: Floats) -> Floats:
        """Logits [T, V] of hidden states [T, H]."""
        return self._linear("embed" if self.spec.tied_head else "head", hidden)

    def _weights(self, name: str) -> Floats:
        return dense_values(self._tensor(name)).astype(self._dtype)

    def _linear(self, name: str, x: Floats) -> Floats:
        inputs = x if self._activations is None else self._activations(x).astype(self._dtype)
        return np.asarray(inputs @ self._weights(name).T)

    def _row(self, token: int, parent: int) -> Floats:
        row = len(self._parents)
        self._parents.append(parent)
        path = self._path(row)
        x = self._weights("embed")[token]
        for index in range(self.spec.num_layers):
            x = x + self._attention(index, self._norm(x, f"layers.{index}.attn_norm"), path)
            x = x + self._mlp(index, self._norm(x, f"layers.{index}.mlp_norm"))
        return self._norm(x, "final_norm")

    def _path(self, row: int) -> list[int]:
        path = [row]
        while self._parents[path[-1]] >= 0:
            path.append(self._parents[path[-1]])
        return path[::-1]

    def _norm(self, x: Floats, name: str) -> Floats:
        mean_square = np.mean(x * x, axis=-1, keepdims=True)
        return np.asarray(x / np.sqrt(mean_square + self.spec.rms_epsilon) * self._weights(name))

    def _attention(self, index: int, x: Floats, path: list[int]) -> Floats:
        spec, name = self.spec, f"layers.{index}."
        heads = {part: self._linear(name + part, x) for part in "qkv"}
        if spec.qkv_bias:
            heads = {part: value + self._weights(f"{name}{part}.bias") for part, value in heads.items()}
        q, k, v = (heads[part].reshape(-1, spec.head_size) for part in "qkv")
        if spec.qk_norm:
            q, k = self._norm(q, name + "q_norm"), self._norm(k, name + "k_norm")
        position = len(path) - 1
        self._keys[index].append(self._rotate(k, position))
        self._values[index].append(v)
        shared = spec.num_heads // spec.num_kv_heads
        keys = np.repeat(np.stack([self._keys[index][row] for row in path]), shared, axis=1)
        values = np.repeat(np.stack([self._values[index][row] for row in path]), shared, axis=1)
        scores = np.einsum("hd,lhd->hl", self._rotate(q, position), keys) / np.sqrt(spec.head_size)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        out = self._linear(name + "o", np.einsum("hl,lhd->hd", weights, values).ravel())
        return np.asarray(out + self._weights(name + "o.bias") if spec.output_bias else out)

    def _rotate(self, heads: Floats, position: int) -> Floats:
        angles: Floats = (np.float32(position) * self._frequencies).astype(self._dtype)
        first, second = np.split(heads, 2, axis=-1)
        cosine, sine = np.cos(angles), np.sin(angles)
        return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)

    def _mlp(self, index: int, x: Floats) -> Floats:
        name = f"layers.{index}."
        gate, up = self._linear(name + "gate", x), self._linear(name + "up", x)
        return np.asarray(self._linear(name + "down", gate / (1 + np.exp(-gate)) * up))
