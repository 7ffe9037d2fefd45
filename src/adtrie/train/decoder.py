"""A plain PyTorch decoder over any checkpoint (all families), differentiable in what its linears train.

Knows no data, no optimizer and no file. `engine/reference.py` is the definition it is tested against.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from adtrie.config import ModelSpec
from adtrie.engine.rope import rope_frequencies
from adtrie.engine.source import WeightSource
from adtrie.format.tensors import dense_values
from adtrie.train.adapted_linear import AdaptedLinear, LoraShape

GROUPS = (("q", "k", "v"), ("o",), ("gate", "up"), ("down",))  # those of one input run as one
HALVES = ("attention", "mlp")  # of a block, each added to its input
GAIN_UNIT = 0.1  # relative change of a norm per unit of its parameter; a unit is a large step for a norm


class Linear(Protocol):
    """Linears of one input, run as one [N, K]; `weight` is what the last `merge` made of the parameters."""

    weight: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Outputs [..., N] of all of them."""

    def merge(self) -> None:
        """To be called after the parameters changed."""

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """What is trained."""

    def separated(self, values: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Values named as by `named_parameters`, one array per linear and kind of parameter."""


Build = Callable[[Sequence[str]], Linear]
Rotation = tuple[Tensor, Tensor]


class Decoder:
    """The forward on batches int64[B, T]. Adapters start as A random (Kaiming), B zero: the model itself."""

    def __init__(
        self,
        source: WeightSource,
        lora: LoraShape | None,
        seed: int = 0,
        device: str = "cpu",
        build: Build | None = None,
    ) -> None:
        """build: makes the linears of some names, in place of those with adapters."""
        self.spec: ModelSpec = source.spec
        self.device = torch.device(device)
        self._source = source
        self._build = build or (
            lambda names: AdaptedLinear([self._matrix(name) for name in names], names, lora)
        )
        self.embed = self._matrix("embed")
        self.head = self.embed if self.spec.tied_head else self._matrix("head")
        self.final_norm = self._vector("final_norm")
        self.layers = [self._layer(f"layers.{index}.") for index in range(self.spec.num_layers)]
        self._frequencies = torch.from_numpy(rope_frequencies(self.spec)).to(self.device)
        self._start(seed)

    def train_whole(self) -> None:
        """All linears of the layers are trained; embedding, head and norms stay."""
        for layer in self.layers:
            for linear in layer.linears:
                if isinstance(linear, AdaptedLinear):
                    linear.train_whole()

    def train_norms(self) -> None:
        """The norms of the layers are trained too; each starts as it is."""
        for layer in self.layers:
            layer.train_norms()

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """What is trained, as its linears name it, and `gain` of each norm."""
        for layer in self.layers:
            yield from layer.named_parameters()

    def separated(self, values: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Values named as by `named_parameters`, one array per linear and kind of parameter."""
        single: dict[str, NDArray[np.float32]] = {}
        for linear in (linear for layer in self.layers for linear in layer.linears):
            single |= linear.separated(values)
        return single

    def merge(self) -> None:
        """Must be called after the parameters changed and before the next forward."""
        for layer in self.layers:
            for linear in layer.linears:
                linear.merge()

    def hidden(self, tokens: Tensor) -> Tensor:
        """States [B, T, H] after the final norm; rows are padded on the right, where nothing reads them."""
        for x in self.block_outputs(tokens):
            last = x
        return self.final(last)

    def block_outputs(self, tokens: Tensor) -> Iterator[Tensor]:
        """States [B, T, H] after each block in turn."""
        x = self.embedded(tokens)
        rotation = self.rotation(tokens.shape[1])
        for layer in self.layers:
            x = layer.forward(x, rotation)
            yield x

    def embedded(self, tokens: Tensor) -> Tensor:
        """States [B, T, H] before the first block."""
        return F.embedding(tokens, self.embed)

    def final(self, x: Tensor) -> Tensor:
        """States [..., H] after the final norm, from those after the last block."""
        return F.rms_norm(x, self.final_norm.shape, self.final_norm, self.spec.rms_epsilon)

    def rotation(self, num_tokens: int) -> Rotation:
        """Cosine and sine [T, 1, D/2] of the rotary embedding."""
        positions = torch.arange(num_tokens, device=self.device, dtype=torch.float32)
        angles = torch.outer(positions, self._frequencies)[:, None]
        return angles.cos(), angles.sin()

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [C, V] of the states [C, H] one asks for."""
        return F.linear(hidden, self.head)

    def _layer(self, prefix: str) -> Layer:
        spec, vectors = self.spec, {}
        names = ["attn_norm", "mlp_norm", *(("q_norm", "k_norm") if spec.qk_norm else ())]
        for name in names:
            vectors[name] = self._vector(prefix + name)
        if spec.qkv_bias:
            vectors["qkv.bias"] = torch.cat([self._vector(f"{prefix}{part}.bias") for part in "qkv"])
        if spec.output_bias:
            vectors["o.bias"] = self._vector(prefix + "o.bias")
        linears = [self._build([prefix + name for name in group]) for group in GROUPS]
        return Layer(spec, linears, vectors, prefix)

    def _start(self, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if name.endswith(".A"):
                bound = 1.0 / float(np.sqrt(parameter.shape[1]))  # peft's: Kaiming uniform with a = sqrt(5)
                values = torch.empty(parameter.shape).uniform_(-bound, bound, generator=random)
                parameter.data.copy_(values)
        self.merge()

    def _matrix(self, name: str) -> Tensor:
        values = dense_values(self._source.matrix(name))
        return torch.from_numpy(np.array(values, dtype=np.float32)).to(self.device)

    def _vector(self, name: str) -> Tensor:
        return torch.from_numpy(np.array(self._source.vector(name), dtype=np.float32)).to(self.device)


class Layer:
    """One block: attention and SwiGLU, each added to its input."""

    def __init__(
        self, spec: ModelSpec, linears: Sequence[Linear], vectors: dict[str, Tensor], prefix: str
    ) -> None:
        self.spec = spec
        self.linears = linears
        self._vectors, self._prefix = vectors, prefix
        self._gains: dict[str, Tensor] = {}

    def train_norms(self) -> None:
        """weight = weight of the file * (1 + GAIN_UNIT * gain), gain 0 at first."""
        for name, weight in self._vectors.items():
            if name.endswith("norm"):
                self._gains[name] = torch.zeros_like(weight).requires_grad_(True)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """What is trained in this block."""
        for half in HALVES:
            yield from self.half_parameters(half)

    def half_linears(self, half: str) -> Sequence[Linear]:
        """Linears of one of HALVES."""
        return self.linears[:2] if half == HALVES[0] else self.linears[2:]

    def half_parameters(self, half: str) -> Iterator[tuple[str, Tensor]]:
        """What is trained in one of HALVES."""
        for linear in self.half_linears(half):
            yield from linear.named_parameters()
        for name, gain in self._gains.items():
            if (name == "mlp_norm") == (half != HALVES[0]):
                yield f"{self._prefix}{name}.gain", gain

    def after_half(self, half: str, x: Tensor, rotation: Rotation) -> Tensor:
        """x [B, T, H] with one of HALVES added."""
        return self.after_attention(x, rotation) if half == HALVES[0] else self.after_mlp(x)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """x [B, T, H] after this block."""
        return self.after_mlp(self.after_attention(x, rotation))

    def after_attention(self, x: Tensor, rotation: Rotation) -> Tensor:
        """x [B, T, H] with the attention added."""
        qkv, o = self.half_linears(HALVES[0])
        return x + self._attention(self._norm(x, "attn_norm"), qkv, o, rotation)

    def after_mlp(self, x: Tensor) -> Tensor:
        """x [B, T, H] with the SwiGLU added."""
        gate_up, down = self.half_linears(HALVES[1])
        gate, up = gate_up(self._norm(x, "mlp_norm")).chunk(2, dim=-1)
        return x + down(F.silu(gate) * up)

    def _attention(self, x: Tensor, qkv: Linear, o: Linear, rotation: Rotation) -> Tensor:
        spec = self.spec
        heads = qkv(x)
        if spec.qkv_bias:
            heads = heads + self._vectors["qkv.bias"]
        heads = heads.unflatten(-1, (-1, spec.head_size))  # [B, T, heads, D]
        q, k, v = heads.split([spec.num_heads, spec.num_kv_heads, spec.num_kv_heads], dim=2)
        if spec.qk_norm:
            q, k = self._norm(q, "q_norm"), self._norm(k, "k_norm")
        q, k = _rotate(q, *rotation), _rotate(k, *rotation)
        mixed = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True, enable_gqa=True
        )
        out = o(mixed.transpose(1, 2).flatten(2))
        return out + self._vectors["o.bias"] if spec.output_bias else out

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight = self._vectors[name]
        if name in self._gains:
            weight = weight * (1 + GAIN_UNIT * self._gains[name])
        return F.rms_norm(x, weight.shape, weight, self.spec.rms_epsilon)


def _rotate(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = heads.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
