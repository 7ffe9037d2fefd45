"""Linears that are trained as they are stored: a float beside every code, rounded in every forward.

    value = scale * integer,   integer = round(master), 0 where pruned,
    scale = float16(start * (1 + SCALE_UNIT * change)).

The gradient of a master is that of its integer, as if nothing were rounded (straight-through, arXiv
1308.3432); masters stay inside the grid after every update. Survivors, groups and widths never change.
Knows no loss and no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from adtrie.config import QuantizedMatrix
from adtrie.format.codes import CompressedLinear

SCALE_UNIT = 0.1  # relative change of a scale per unit of its parameter; a unit of a master is one code
FLOAT16_MAX = 65504.0
_NEAREST = 0.45  # how far from its code a master may start: it must round to the code of the file


class CodedMatrix:
    """One linear [N, K]: `masters` [N, K] in units of the scale and `changes` [N, K / group] are trained.

    It starts as exactly the codes and scales given. A master starts as far from its code as `original`
    float32[N, K], the uncompressed weights, are: those near a boundary cross it first.
    """

    def __init__(
        self, name: str, linear: CompressedLinear, original: NDArray[np.float32], device: torch.device
    ) -> None:
        values = linear.values
        self.name, self.kept, self.bits, self.group = name, linear.kept, values.bits, values.group
        self.zero = 1 << (values.bits - 1)
        scales = values.scales.astype(np.float32)
        integers = values.codes.astype(np.float32) - self.zero
        each = np.repeat(scales, self.group, axis=1)
        wanted = np.divide(original, each, out=integers.copy(), where=each != 0)
        away = np.clip(wanted - integers, -_NEAREST, _NEAREST) * linear.mask
        self.start = torch.from_numpy(scales).to(device)
        self.mask = torch.from_numpy(linear.mask).to(device)
        self.masters = torch.from_numpy(integers + away).to(device)
        self.changes = torch.zeros_like(self.start)
        for parameter in (self.masters, self.changes):
            parameter.requires_grad_(True)
        self.keep_inside()

    def keep_inside(self) -> None:
        """Masters back to the range of the codes."""
        with torch.no_grad():
            self.masters.clamp_(-self.zero, self.zero - 1)

    def scales(self) -> Tensor:
        """Scales [N, K / group] as stored, in float32."""
        wanted = self.start * (1 + SCALE_UNIT * self.changes)
        return wanted.clamp(-FLOAT16_MAX, FLOAT16_MAX).half().float()

    def values(self) -> Tensor:
        """What the file would give, [N, K]."""
        integers: Tensor = self.masters.round().unflatten(1, (-1, self.group))
        return (integers * self.scales()[:, :, None]).flatten(1)

    def gradients(self, grad: Tensor) -> tuple[Tensor | None, Tensor]:
        """Of masters (None where they are frozen) and changes, from that of the values [N, K]."""
        by_group = grad.unflatten(1, (-1, self.group))
        masters = None
        if self.masters.requires_grad:
            masters = (by_group * self.scales()[:, :, None]).flatten(1) * self.mask
        integers: Tensor = self.masters.round().unflatten(1, (-1, self.group))
        return masters, SCALE_UNIT * self.start * (by_group * integers).sum(dim=2)

    def compressed(self, values: Mapping[str, NDArray[np.float32]]) -> CompressedLinear:
        """The codes of parameters as `Decoder.named_parameters` names them: same survivors, same bytes."""
        masters, changes = values[f"{self.name}.masters"], values[f"{self.name}.changes"]
        start = self.start.cpu().numpy()
        scales = np.clip(start * (1 + np.float32(SCALE_UNIT) * changes), -FLOAT16_MAX, FLOAT16_MAX)
        codes = (np.rint(masters) + self.zero).astype(np.uint8)
        stored = QuantizedMatrix(codes, scales.astype(np.float16), None, self.bits, self.group)
        return CompressedLinear(stored, self.kept, self.mask.cpu().numpy())


class CodedLinears:
    """Matrices of the same input, run as one (see `decoder.Linear`)."""

    def __init__(self, parts: Sequence[CodedMatrix]) -> None:
        self.parts = list(parts)
        self.merge()

    def merge(self) -> None:
        """weight = the values of all parts, stacked."""
        with torch.no_grad():
            for part in self.parts:
                part.keep_inside()
            self.weight = torch.cat([part.values() for part in self.parts])

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """layers.0.q.masters, layers.0.q.changes, ..."""
        for part in self.parts:
            yield f"{part.name}.masters", part.masters
            yield f"{part.name}.changes", part.changes

    def separated(self, values: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Those of `values` that belong here; each is of one linear already."""
        return {name: values[name] for name, _ in self.named_parameters()}

    def __call__(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return F.linear(x, self.weight)
        parameters = [parameter for _, parameter in self.named_parameters()]
        return _Coded.apply(x, self.weight, self.parts, *parameters)  # type: ignore[no-any-return,no-untyped-call]


class _Coded(torch.autograd.Function):
    """y = x W^T with W already rounded; nothing but x is kept for the backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, parts: list[CodedMatrix], *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.weight, ctx.parts = weight, parts  # changed between steps only
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        (x,) = ctx.saved_tensors
        grad_x = grad @ ctx.weight if ctx.needs_input_grad[0] else None
        whole = grad.flatten(0, -2).T @ x.flatten(0, -2)  # [N, K]
        found: list[Tensor | None] = []
        start = 0
        for part in ctx.parts:
            rows = slice(start, start + len(part.masters))
            found += part.gradients(whole[rows])
            start = rows.stop
        return (grad_x, None, None, *found)
