"""A plain PyTorch decoder over any checkpoint (all families), differentiable in its adapters.

Knows no data, no optimizer and no file. `engine/reference.py` is the definition it is tested against.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from adtrie.config import ModelSpec
from adtrie.engine.rope import rope_frequencies
from adtrie.engine.source import WeightSource
from adtrie.format.tensors import dense_values

GROUPS = (("q", "k", "v"), ("o",), ("gate", "up"), ("down",))  # linears that read the same input run as one


@dataclass(frozen=True)
class LoraShape:
    """Rank, scale = alpha / rank, and which linears (q, k, v, o, gate, up, down) are adapted."""

    rank: int
    alpha: float
    targets: tuple[str, ...]

    @property
    def scale(self) -> float:
        """What B A is multiplied with."""
        return self.alpha / self.rank


class _Adapted(torch.autograd.Function):
    """y = x W^T with W already merged; gradients for x, A and B without a second path in the forward.

    One wide product each way instead of a wide and two narrow ones: a merge costs r/T of a forward.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, part: AdaptedLinear, a: Tensor, *bs: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.weight, ctx.part = weight, part  # not an input to differentiate, and changed between steps only
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        (x,) = ctx.saved_tensors
        part: AdaptedLinear = ctx.part
        grad_x = grad @ ctx.weight if ctx.needs_input_grad[0] else None
        flat = x.flatten(0, -2)
        grad = grad.flatten(0, -2)
        down = flat @ part.a.T  # [T, P r]
        sides, grad_bs = [], []
        for index, (rows, b) in enumerate(zip(part.rows, part.b, strict=True)):
            piece = grad[:, rows]
            rank = slice(index * part.shape.rank, (index + 1) * part.shape.rank)
            grad_bs.append(part.shape.scale * (piece.T @ down[:, rank]))
            sides.append(piece @ b)
        grad_a = part.shape.scale * (torch.cat(sides, dim=1).T @ flat)
        return (grad_x, None, None, grad_a, *grad_bs)


class AdaptedLinear:
    """Linears [N, K] of the same input, stacked; those in `targets` carry A [r, K] and B [N, r]."""

    def __init__(self, weights: Sequence[Tensor], names: Sequence[str], shape: LoraShape | None) -> None:
        self.base = torch.cat(list(weights)) if len(weights) > 1 else weights[0]
        self.weight = self.base
        self.spans: dict[str, slice] = {}  # rows of each linear
        self.b: list[Tensor] = []
        self.a = torch.empty(0)
        start = 0
        for name, weight in zip(names, weights, strict=True):
            self.spans[name] = slice(start, start + len(weight))
            start += len(weight)
        targets = () if shape is None else shape.targets
        self.names = [name for name in names if name.rsplit(".", 1)[-1] in targets]
        self.rows = [self.spans[name] for name in self.names]
        if shape is not None and self.names:
            self.shape = shape
            self._add_adapters(shape.rank)

    def train_whole(self) -> None:
        """The weight itself is trained, without adapters."""
        self.weight.requires_grad_(True)

    def _add_adapters(self, rank: int) -> None:
        self.weight = self.base.clone()
        device = self.base.device
        self.a = torch.zeros(len(self.names) * rank, self.base.shape[1], device=device)
        self.b = [torch.zeros(rows.stop - rows.start, rank, device=device) for rows in self.rows]
        for tensor in (self.a, *self.b):
            tensor.requires_grad_(True)

    def merge(self) -> None:
        """weight = base + scale B A, after A or B changed."""
        rank = self.shape.rank if self.names else 0
        with torch.no_grad():
            for index, (rows, b) in enumerate(zip(self.rows, self.b, strict=True)):
                a = self.a[index * rank : (index + 1) * rank]
                torch.addmm(self.base[rows], b, a, alpha=self.shape.scale, out=self.weight[rows])

    def __call__(self, x: Tensor) -> Tensor:
        if not self.names or not torch.is_grad_enabled():
            return F.linear(x, self.weight)
        return _Adapted.apply(x, self.weight, self, self.a, *self.b)  # type: ignore[no-any-return,no-untyped-call]


class Decoder:
    """The forward on batches int64[B, T]. Adapters start as A random (Kaiming), B zero: the model itself."""

    def __init__(
        self, source: WeightSource, lora: LoraShape | None, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.spec: ModelSpec = source.spec
        self.device = torch.device(device)
        self._source = source
        self.embed = self._matrix("embed")
        self.head = self.embed if self.spec.tied_head else self._matrix("head")
        self.final_norm = self._vector("final_norm")
        self.layers = [self._layer(f"layers.{index}.", lora) for index in range(self.spec.num_layers)]
        self._frequencies = torch.from_numpy(rope_frequencies(self.spec)).to(self.device)
        self._start(seed)

    def train_whole(self) -> None:
        """All linears of the layers are trained; embedding, head and norms stay."""
        for layer in self.layers:
            for linear in layer.linears:
                linear.train_whole()

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """What is trained: A, B of adapters, or W of whole linears, those of one input together."""
        for layer in self.layers:
            for linear in layer.linears:
                if not linear.names and linear.weight.requires_grad:
                    yield f"{'+'.join(linear.spans)}.W", linear.weight
                if linear.names:
                    yield f"{'+'.join(linear.names)}.A", linear.a
                    yield from ((f"{name}.B", b) for name, b in zip(linear.names, linear.b, strict=True))

    def separated(self, values: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Values named as by `named_parameters`, one array per linear and side: layers.0.q.A, .B or .W."""
        single = {}
        for linear in (linear for layer in self.layers for linear in layer.linears):
            for index, name in enumerate(linear.names):
                rank = linear.shape.rank
                joined = values[f"{'+'.join(linear.names)}.A"]
                single[f"{name}.A"] = joined[index * rank : (index + 1) * rank]
                single[f"{name}.B"] = values[f"{name}.B"]
            whole = values.get(f"{'+'.join(linear.spans)}.W")
            if whole is not None:
                single |= {f"{name}.W": whole[rows] for name, rows in linear.spans.items()}
        return single

    def merge(self) -> None:
        """Must be called after the parameters changed and before the next forward."""
        for layer in self.layers:
            for linear in layer.linears:
                linear.merge()

    def hidden(self, tokens: Tensor) -> Tensor:
        """States [B, T, H] after the final norm; rows are padded on the right, where nothing reads them."""
        x = F.embedding(tokens, self.embed)
        positions = torch.arange(tokens.shape[1], device=self.device, dtype=torch.float32)
        angles = torch.outer(positions, self._frequencies)[:, None]  # [T, 1, D/2]
        rotation = (angles.cos(), angles.sin())
        for layer in self.layers:
            x = layer.forward(x, rotation)
        return self._norm(x, self.final_norm)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [C, V] of the states [C, H] one asks for."""
        return F.linear(hidden, self.head)

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self.spec.rms_epsilon)

    def _layer(self, prefix: str, lora: LoraShape | None) -> Layer:
        spec, vectors = self.spec, {}
        names = ["attn_norm", "mlp_norm", *(("q_norm", "k_norm") if spec.qk_norm else ())]
        for name in names:
            vectors[name] = self._vector(prefix + name)
        if spec.qkv_bias:
            vectors["qkv.bias"] = torch.cat([self._vector(f"{prefix}{part}.bias") for part in "qkv"])
        if spec.output_bias:
            vectors["o.bias"] = self._vector(prefix + "o.bias")
        linears = []
        for group in GROUPS:
            full = [prefix + name for name in group]
            linears.append(AdaptedLinear([self._matrix(name) for name in full], full, lora))
        return Layer(spec, linears, vectors)

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

    def __init__(self, spec: ModelSpec, linears: Sequence[AdaptedLinear], vectors: dict[str, Tensor]) -> None:
        self.spec = spec
        self.linears = linears
        self._vectors = vectors

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """x [B, T, H] after this block."""
        qkv, o, gate_up, down = self.linears
        x = x + self._attention(self._norm(x, "attn_norm"), qkv, o, rotation)
        gate, up = gate_up(self._norm(x, "mlp_norm")).chunk(2, dim=-1)
        return x + down(F.silu(gate) * up)

    def _attention(
        self, x: Tensor, qkv: AdaptedLinear, o: AdaptedLinear, rotation: tuple[Tensor, Tensor]
    ) -> Tensor:
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
        return F.rms_norm(x, weight.shape, weight, self.spec.rms_epsilon)


def _rotate(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = heads.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
