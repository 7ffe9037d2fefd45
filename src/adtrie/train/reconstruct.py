"""Block by block: attention and MLP each fitted to the uncompressed model, behind an already fitted prefix.

Each half of a block (arXiv 2510.14444) gets the states that the compressed model really has there, and is to
give those of the uncompressed one, so that it also mends what the halves before it broke. Knows no file.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adtrie.errors import AdtrieError
from adtrie.train.batches import Batch
from adtrie.train.decoder import HALVES, Decoder, Layer
from adtrie.train.distill import relative_error

MOST_STEPS, FEWEST_STEPS = 200, 5  # of one half, where the time decides
_TIMED_STEPS = 2
_JUDGED = 16  # batches whose error tells whether a fit helped
_GRADIENT_NORM = 1.0
_FINAL_RATE = 0.1  # share of the learning rate left at the end

Place = tuple[int, str]


@dataclass(frozen=True)
class Fit:
    """Relative squared error of one half's outputs on its own data, before and after; never raised."""

    before: float
    after: float


class Reconstruction:
    """All halves of `student` in order, on the tokens of `batches`."""

    def __init__(self, student: Decoder, teacher: Decoder, batches: Sequence[Batch], rate: float) -> None:
        self._student, self._teacher, self._rate = student, teacher, rate
        self._real = [torch.from_numpy(batch.real).to(student.device) for batch in batches]
        tokens = [torch.from_numpy(batch.tokens).to(student.device) for batch in batches]
        self._rotations = [student.rotation(each.shape[1]) for each in tokens]
        with torch.no_grad():
            self._inputs = [student.embedded(each) for each in tokens]
            self._targets = [teacher.embedded(each) for each in tokens]

    def places(self) -> Iterator[Place]:
        """Block and half in the order of the forward; `fit` or `skip` each before the next."""
        for index in range(len(self._student.layers)):
            for half in HALVES:
                self._advance_targets(index, half)
                yield index, half
                self._inputs = self._outputs(self._student.layers[index], half)

    def parameters(self, place: Place) -> dict[str, Tensor]:
        """What is fitted there, by name."""
        return dict(self._student.layers[place[0]].half_parameters(place[1]))

    def merge(self, place: Place) -> None:
        """To be called after those parameters changed."""
        for linear in self._student.layers[place[0]].half_linears(place[1]):
            linear.merge()

    def error(self, place: Place) -> float:
        """Relative squared error against the uncompressed model, mean over the first batches."""
        layer, parts = self._student.layers[place[0]], []
        with torch.no_grad():
            for number in range(len(self._inputs[:_JUDGED])):
                x, real = self._output(layer, place[1], number), self._real[number]
                parts.append(float(relative_error(x[real], self._targets[number][real])))
        return sum(parts) / len(parts)

    @property
    def steps_beside(self) -> float:
        """What judging a half and going on to the next take, in updates: a forward is a third of one."""
        return (2 * len(self._inputs) + 2 * len(self._inputs[:_JUDGED])) / 3

    def seconds_per_step(self, place: Place) -> float:
        """Measured on updates that are taken back."""
        saved = {name: each.detach().clone() for name, each in self.parameters(place).items()}
        started = time.perf_counter()
        self._train(place, _TIMED_STEPS)
        seconds = (time.perf_counter() - started) / _TIMED_STEPS
        self._restore(place, saved)
        return seconds

    def fit(self, place: Place, num_steps: int) -> Fit:
        """Trains one half; where that helped nothing, or ended in no number, it is left as it was."""
        saved = {name: each.detach().clone() for name, each in self.parameters(place).items()}
        before = self.error(place)
        if not math.isfinite(before):
            raise AdtrieError(
                f"block {place[0]}, {place[1]}: the compressed model's states are {before:g} away from the "
                "uncompressed one's; one of the two is damaged, compress the model again"
            )
        self._train(place, num_steps)
        after = self.error(place)
        if after < before:
            return Fit(before, after)
        self._restore(place, saved)
        return Fit(before, before)

    def _train(self, place: Place, num_steps: int) -> None:
        index, half = place
        parameters = list(self.parameters(place).values())
        optimizer = torch.optim.Adam(parameters, lr=self._rate)
        for step in range(num_steps):
            number = step % len(self._inputs)
            done = step / num_steps
            optimizer.param_groups[0]["lr"] = self._rate * (1 - (1 - _FINAL_RATE) * done)
            x = self._output(self._student.layers[index], half, number)
            real = self._real[number]
            loss = relative_error(x[real], self._targets[number][real])
            loss.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(parameters, _GRADIENT_NORM)
            if not math.isfinite(float(norm)):
                break
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            self.merge(place)
        optimizer.zero_grad(set_to_none=True)

    def _restore(self, place: Place, saved: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters(place).items():
            parameter.data.copy_(saved[name])
        self.merge(place)

    def _advance_targets(self, index: int, half: str) -> None:
        layer = self._teacher.layers[index]
        with torch.no_grad():
            self._targets = [
                layer.after_half(half, x, rotation)
                for x, rotation in zip(self._targets, self._rotations, strict=True)
            ]

    def _outputs(self, layer: Layer, half: str) -> list[Tensor]:
        with torch.no_grad():
            return [self._output(layer, half, number) for number in range(len(self._inputs))]

    def _output(self, layer: Layer, half: str, number: int) -> Tensor:
        return layer.after_half(half, self._inputs[number], self._rotations[number])
