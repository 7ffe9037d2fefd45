"""The loss of distillation: the divergence of the completions, and how far each block's output is away.

Knows two decoders and a batch; no optimizer and no file.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from adtrie.train.batches import Batch
from adtrie.train.decoder import Decoder

FEATURE_WEIGHT = 1.0
_TINY = 1e-12  # energy of a state that is nothing


class Distillation:
    """A `Loss` of run.py against `teacher`.

    "mean" is what is trained: KL per completion token in nats + FEATURE_WEIGHT * the mean over blocks of
    `relative_error`. "sum" is the KL alone, over all completion tokens; the teacher's side of it is kept.
    """

    def __init__(self, teacher: Decoder) -> None:
        self.teacher = teacher
        self._known: dict[bytes, Tensor] = {}

    def __call__(self, student: Decoder, batch: Batch, reduction: str) -> Tensor:
        if reduction == "sum":
            return self._divergence(student.hidden(self._tokens(batch)), self._final(batch), student, batch)
        real = torch.from_numpy(batch.real).to(student.device)
        tokens, error = self._tokens(batch), torch.zeros((), device=student.device)
        with torch.no_grad():
            wanted = list(self.teacher.block_outputs(tokens))
        for x, target in zip(student.block_outputs(tokens), wanted, strict=True):
            error = error + relative_error(x[real], target[real])
            last = x
        with torch.no_grad():
            target = self.teacher.final(wanted[-1])
        divergence = self._divergence(student.final(last), self._completions(target, batch), student, batch)
        return divergence / len(batch.labels) + FEATURE_WEIGHT * error / len(wanted)

    def _divergence(self, hidden: Tensor, target: Tensor, student: Decoder, batch: Batch) -> Tensor:
        """Sum over completion tokens of KL(teacher, student)."""
        with torch.no_grad():
            p = F.log_softmax(self.teacher.logits(target), dim=1)
        q = F.log_softmax(student.logits(self._completions(hidden, batch)), dim=1)
        return F.kl_div(q, p, reduction="sum", log_target=True)

    def _final(self, batch: Batch) -> Tensor:
        key = batch.tokens.tobytes()
        if key not in self._known:
            self._known[key] = self._completions(self.teacher.hidden(self._tokens(batch)), batch)
        return self._known[key]

    def _tokens(self, batch: Batch) -> Tensor:
        return torch.from_numpy(batch.tokens).to(self.teacher.device)

    def _completions(self, states: Tensor, batch: Batch) -> Tensor:
        return states.flatten(0, 1)[torch.from_numpy(batch.rows).to(states.device)]


def relative_error(x: Tensor, target: Tensor) -> Tensor:
    """Mean over tokens of |x - target|^2 / |target|^2, states [tokens, H] (SquareHead, arXiv 2310.06927)."""
    energy = target.square().sum(dim=1).clamp_min(_TINY)
    return ((x - target).square().sum(dim=1) / energy).mean()
