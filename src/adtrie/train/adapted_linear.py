"""Linears with low-rank adapters, or trained whole: one product for all that read the same input.

Knows no model and no loss.
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

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """A, B of adapters, or W of whole linears, those of one input together."""
        if not self.names and self.weight.requires_grad:
            yield f"{'+'.join(self.spans)}.W", self.weight
        if self.names:
            yield f"{'+'.join(self.names)}.A", self.a
            yield from ((f"{name}.B", b) for name, b in zip(self.names, self.b, strict=True))

    def separated(self, values: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """One array per linear and side: layers.0.q.A, .B or .W."""
        single = {}
        for index, name in enumerate(self.names):
            rank = self.shape.rank
            joined = values[f"{'+'.join(self.names)}.A"]
            single[f"{name}.A"] = joined[index * rank : (index + 1) * rank]
            single[f"{name}.B"] = values[f"{name}.B"]
        whole = values.get(f"{'+'.join(self.spans)}.W")
        if whole is not None:
            single |= {f"{name}.W": whole[rows] for name, rows in self.spans.items()}
        return single

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
