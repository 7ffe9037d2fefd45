"""One training run: updates, dev loss, early stopping, a time budget, and a state to continue from.

Knows the decoder's parameters and the files; what they are, what the loss is, what pairs mean and how
progress is shown is the caller's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from adtrie.errors import AdtrieError, CapacityError, InputError
from adtrie.train.batches import Batch, BatchOrder, in_order
from adtrie.train.decoder import Decoder
from adtrie.train.pairs import TuneData
from adtrie.train.recipe import Recipe
from adtrie.train.save import STATE_FILE, read_state, write_state

SAVE_EVERY_S = 120.0
CALIBRATION_STEPS = 8  # measured before the number of updates is planned
GRADIENT_NORM = 1.0
_SMOOTHING = 0.95
_ADAM = ("exp_avg", "exp_avg_sq")


@dataclass
class Position:
    """Where a run is: all that is not a tensor. Losses are nats per completion token, on dev at least."""

    step: int = 0
    total: int = 0  # planned updates; 0 until the plan is made
    num_tokens: int = 0
    elapsed_s: float = 0.0
    began_s: float = 0.0  # before the first update: one evaluation of the dev loss
    loss: float = math.nan  # smoothed
    best_step: int = -1
    best_loss: float = math.inf
    train_curve: list[tuple[int, float]] = field(default_factory=list)
    dev_curve: list[tuple[int, float]] = field(default_factory=list)

    @property
    def tokens_per_s(self) -> float:
        """Real tokens (no padding) per second of wall time since the beginning."""
        return self.num_tokens / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimate by the mean time of an update; None before the plan is made."""
        if not (self.total and self.step):
            return None
        return (self.elapsed_s - self.began_s) / self.step * (self.total - self.step)


Watch = Callable[[Position], None]
Loss = Callable[[Decoder, Batch, str], torch.Tensor]  # "mean": to be trained; "sum": nats of all completions


def next_token_loss(decoder: Decoder, batch: Batch, reduction: str) -> torch.Tensor:
    """Cross-entropy of the completions' own tokens."""
    hidden = decoder.hidden(torch.from_numpy(batch.tokens).to(decoder.device)).flatten(0, 1)
    logits = decoder.logits(hidden[torch.from_numpy(batch.rows).to(decoder.device)])
    return F.cross_entropy(logits, torch.from_numpy(batch.labels).to(decoder.device), reduction=reduction)


class Run:
    """A run in a folder; `start` or `resume`, then `train`."""

    def __init__(
        self,
        decoder: Decoder,
        data: TuneData,
        recipe: Recipe,
        folder: Path,
        identity: Mapping[str, Any],
        loss: Loss = next_token_loss,
        frozen: str | None = None,
    ) -> None:
        """identity: what else must be the same when the run is continued, as JSON values.

        Parameters whose names end in `frozen` are kept and saved with the others, but not trained.
        """
        self.decoder, self.recipe, self.data, self.folder = decoder, recipe, data, folder
        self.position = Position()
        self._loss_of = loss
        self._parameters = dict(self.decoder.named_parameters())
        self._trained = {
            name: each for name, each in self._parameters.items() if not (frozen and name.endswith(frozen))
        }
        self._optimizer = torch.optim.AdamW(
            self._trained.values(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self._order = BatchOrder(data.train, recipe.batch_tokens, recipe.seed)
        self._dev = in_order(data.dev, 2 * recipe.batch_tokens)
        self.identity = {**identity, "data": data.fingerprint, **_settings(recipe)}
        self.best = self.values()
        self._stop = False
        self._saved_at = -math.inf

    def resume(self) -> None:
        """Takes over the state in the folder. Raises InputError when it is of other data or settings."""
        path = self.folder / STATE_FILE
        if not path.exists():
            raise InputError(f"--resume: no unfinished run in {self.folder}; start one without --resume")
        tensors, values = read_state(path)
        for key, value in self.identity.items():
            if values["identity"].get(key) != value:
                raise InputError(
                    f"--resume: the run in {self.folder} was started with {key} "
                    f"{values['identity'].get(key)!r:.80}, now it is {value!r:.80}; repeat its command"
                )
        place = self.position = Position(**values["position"])
        place.train_curve = [(step, loss) for step, loss in place.train_curve]  # JSON knows no tuples
        place.dev_curve = [(step, loss) for step, loss in place.dev_curve]
        step = torch.tensor(float(self.position.step))
        self.take({name: tensors[f"value {name}"] for name in self._parameters})
        self.best = {name: tensors[f"best {name}"] for name in self._parameters}
        for name, parameter in self._trained.items() if place.step else ():
            state = {key: torch.from_numpy(tensors[f"{key} {name}"]).to(parameter.device) for key in _ADAM}
            self._optimizer.state[parameter] = {"step": step.clone(), **state}

    def values(self) -> dict[str, NDArray[np.float32]]:
        """Copies of the parameters by name."""
        return {name: _array(parameter) for name, parameter in self._parameters.items()}

    def take(self, values: Mapping[str, NDArray[np.float32]]) -> None:
        """Sets the parameters to `values`, as `values()` gave them."""
        for name, parameter in self._parameters.items():
            parameter.data.copy_(torch.from_numpy(values[name]))
        self.decoder.merge()

    def dev_loss(self) -> float:
        """Nats per completion token of the dev examples, with the parameters as they are."""
        with torch.no_grad():
            total = sum(float(self._loss(batch, "sum")) for batch in self._dev)
        return total / sum(len(batch.labels) for batch in self._dev)

    def stop(self) -> None:
        """Asks `train` to save and raise KeyboardInterrupt after the update in progress."""
        self._stop = True

    def train(self, watch: Watch, improved: Callable[[], None]) -> None:
        """Runs to the end, what is frozen without gradients; `watch` after every update, `improved` whenever
        `best` is better than before.

        Raises KeyboardInterrupt after `stop`, AdtrieError for a loss that is no number, CapacityError without
        memory; the last good state is on disk each time.
        """
        place = self.position
        base_s, started = place.elapsed_s, time.perf_counter()
        for name, parameter in self._parameters.items():
            parameter.requires_grad_(name in self._trained)

        def clock() -> None:
            place.elapsed_s = base_s + time.perf_counter() - started

        with memory_named(self.recipe):
            if not place.dev_curve:
                self._evaluate(improved)
                clock()
                place.began_s = place.elapsed_s
                self.save()
            while not self._finished():
                self._update()
                clock()
                self._plan()
                due = place.step % self.recipe.evaluate_every == 0 or place.step == place.total
                if due:
                    self._evaluate(improved)
                    clock()
                watch(place)
                if due or self._stop or place.elapsed_s - self._saved_at > SAVE_EVERY_S:
                    self.save()
                if self._stop:
                    raise KeyboardInterrupt
            if place.dev_curve[-1][0] != place.step:
                self._evaluate(improved)

    def save(self) -> None:
        """Writes the state to the folder."""
        tensors: dict[str, NDArray[Any]] = {}
        for name, parameter in self._parameters.items():
            tensors[f"value {name}"] = _array(parameter)
            tensors[f"best {name}"] = self.best[name]
            for key in _ADAM:
                if self.position.step and name in self._trained:
                    tensors[f"{key} {name}"] = _array(self._optimizer.state[parameter][key])
        values = {"identity": self.identity, "position": asdict(self.position)}
        write_state(self.folder / STATE_FILE, tensors, values)
        self._saved_at = self.position.elapsed_s

    def result(self) -> dict[str, NDArray[np.float32]]:
        """The best parameters, an array per linear and kind: A [r, K] and B [N, r], or W [N, K]."""
        return self.decoder.separated(self.best)

    def _update(self) -> None:
        place = self.position
        batch = self._order.batch(place.step)
        for group in self._optimizer.param_groups:
            group["lr"] = self.recipe.rate(place.step, place.total or 1 << 30)
        loss = self._loss(batch, "mean")
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(list(self._trained.values()), GRADIENT_NORM)
        value = float(loss.detach())
        if not math.isfinite(value) or not math.isfinite(float(norm)):
            raise AdtrieError(
                f"the loss is {value:g} (gradient norm {float(norm):g}) at step {place.step}; the last good "
                f"state and the best result so far are in {self.folder}; start again with a lower --lr"
            )
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.decoder.merge()
        place.step += 1
        place.num_tokens += batch.num_tokens
        place.loss = value if place.step == 1 else _SMOOTHING * place.loss + (1 - _SMOOTHING) * value
        if place.step % 5 == 0:
            place.train_curve.append((place.step, round(place.loss, 5)))

    def _loss(self, batch: Batch, reduction: str) -> torch.Tensor:
        return self._loss_of(self.decoder, batch, reduction)

    def _evaluate(self, improved: Callable[[], None]) -> None:
        """Dev loss in nats per completion token; keeps the parameters when it is the best so far."""
        place = self.position
        loss = self.dev_loss()
        place.dev_curve.append((place.step, round(loss, 5)))
        if loss < place.best_loss:
            place.best_loss, place.best_step, self.best = loss, place.step, self.values()
            improved()

    def _plan(self) -> None:
        """Sets the number of updates: once for fixed steps, by measured speed for a time budget."""
        place, recipe = self.position, self.recipe
        whole = max(round(recipe.epochs * self._order.batches_per_epoch), 1)
        if recipe.steps is not None or recipe.minutes is None:
            place.total = recipe.steps or whole
            return
        due = place.step == CALIBRATION_STEPS or place.step % recipe.evaluate_every == 0
        if due and place.step >= CALIBRATION_STEPS:
            update_s = (place.elapsed_s - place.began_s) / place.step
            if place.step < recipe.evaluate_every:  # no dev evaluation is in the mean yet
                update_s += place.began_s / recipe.evaluate_every
            left_s = 60 * recipe.minutes - place.elapsed_s
            fitting = place.step + max(int(left_s / update_s), 1)
            # A small correction is not worth a jump of the learning rate.
            if not place.total or abs(fitting - place.total) > 0.05 * place.total:
                place.total = min(fitting, whole)

    def _finished(self) -> bool:
        place, recipe = self.position, self.recipe
        if place.total and place.step >= place.total:
            return True
        if recipe.steps is None and recipe.minutes is not None and place.elapsed_s > 66 * recipe.minutes:
            return True  # a tenth over the budget: the machine became slower than any plan
        since_best = [step for step, _ in place.dev_curve if step > place.best_step]
        return len(since_best) >= recipe.patience


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    return np.array(tensor.detach().cpu().numpy(), dtype=np.float32)


def device() -> str:
    """Where to train: "cuda" if there is one, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _settings(recipe: Recipe) -> dict[str, Any]:
    """All settings as JSON holds them."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(recipe).items()}


@contextmanager
def memory_named(recipe: Recipe) -> Iterator[None]:
    """Any of the ways to run out of memory becomes a CapacityError that names the option to change."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        words = str(error).lower()
        if not (isinstance(error, MemoryError) or "out of memory" in words or "allocate memory" in words):
            raise
        raise CapacityError(
            f"out of memory with batches of {recipe.batch_tokens} tokens; use a smaller --batch-tokens, for "
            f"example {max(recipe.batch_tokens // 2, recipe.max_tokens)}"
        ) from error
