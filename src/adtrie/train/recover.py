"""`adtrie recover` as a function: a packed checkpoint and the model it was made from in, a better one out.

Masks, patterns, groups and bytes stay: first codes, scales and norms are fitted half a block at a time, then
scales and norms distilled. Both continue after any interruption. Puts the parts together; knows no command
line.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adtrie.engine.threads import default_threads
from adtrie.errors import AdtrieError, InputError
from adtrie.format.manifest import Manifest
from adtrie.format.panels import pack
from adtrie.format.tensors import dense_values
from adtrie.format.writer import PackedWriter
from adtrie.models import AdaptedCheckpoint, Checkpoint, open_checkpoint
from adtrie.models.adapter import open_tuned
from adtrie.train.batches import BatchOrder
from adtrie.train.coded_linear import CodedLinears, CodedMatrix
from adtrie.train.decoder import GAIN_UNIT, Decoder
from adtrie.train.distill import Distillation
from adtrie.train.fitted_pieces import FittedPieces
from adtrie.train.packed_pair import check_teacher, coded, packed_linear, packed_manifest, writer_like
from adtrie.train.pairs import TuneData, file_data, task_data
from adtrie.train.recipe import Recipe
from adtrie.train.reconstruct import FEWEST_STEPS, MOST_STEPS, Fit, Place, Reconstruction
from adtrie.train.run import Position, Run, Watch, device, memory_named
from adtrie.train.save import read_state, write_state
from adtrie.train.stopping import stoppable

RECONSTRUCT_SHARE = 0.35  # of the minutes
BLOCK_STEPS = 60  # updates of one half, where the steps are fixed
BLOCK_RATE = 1e-2  # codes per update
DEV_ROWS, EVALUATE_EVERY = 160, 25
# Batches that the blocks are fitted to: of few they learn the noise. Where the time decides, one per minute.
NUM_BATCHES, FEWEST_BATCHES = 64, 8
# Codes are for the blocks: a batch says too little of a single code, and codes that flip by its noise cost
# more than it wins (docs/decisions/0028).
FROZEN = ".masters"
_BEGUN_FILE = "begun.safetensors"

Values = Mapping[str, NDArray[np.float32]]
FitWatch = Callable[[Place, int, Fit], None]  # which half of how many blocks, and how it went


@dataclass(frozen=True)
class Job:
    """What to recover, from which teacher (model and adapter), on which task or CSV file, and where to.

    Unfinished work lies beside `out` in `out`.work. block_steps: updates of each half of a block, 0 for
    leaving them as they are; None: as the time allows, or BLOCK_STEPS.
    """

    packed: str
    out: Path
    teacher: str
    adapter: str | None
    source: str | Path
    block_steps: int | None = None
    threads: int | None = None

    @property
    def work(self) -> Path:
        """Folder of unfinished work."""
        return self.out.with_name(f"{self.out.name}.work")


@dataclass(frozen=True)
class RecoverResult:
    """The divergence, in nats per completion token of the dev rows, at first, after the blocks, and at last.

    fits: of every half of a block, in order; empty where the blocks were left out.
    """

    out: Path
    position: Position
    before: float
    after_blocks: float
    fits: tuple[Fit, ...]

    @property
    def after(self) -> float:
        """That of the file that was written; never above `before`."""
        return self.position.best_loss


def recover(
    job: Job, recipe: Recipe, resume: bool, watch: Watch, fitted: FitWatch | None = None
) -> RecoverResult:
    """Writes the recovered checkpoint to `job.out`; its dev divergence is at most that of `job.packed`.

    Raises InputError (files that do not belong together, folder, settings), CapacityError, AdtrieError (loss
    is no number) and KeyboardInterrupt; after the last three `resume=True` continues from `job.work`, on a
    CPU with as many threads to the same bytes as without interruption, unless the time decided the steps.
    """
    torch.set_num_threads(default_threads() if job.threads is None else job.threads)
    with open_checkpoint(job.packed) as packed:
        manifest = packed_manifest(packed)
        teacher, template = open_tuned(job.teacher, job.adapter)
        with teacher:
            check_teacher(manifest, teacher)
            with writer_like(packed, manifest, job.out) as writer:
                _check_work(job.work, resume)
                recipe = replace(recipe, template=manifest.template or template or recipe.template)
                recovery = _Recovery(job, recipe, packed, teacher, resume)
                result = recovery.run(watch, fitted or (lambda place, blocks, fit: None))
                recovery.write(writer, manifest, result)
    shutil.rmtree(job.work)
    return result


class _Recovery:
    """Student, teacher and data of one call."""

    def __init__(
        self,
        job: Job,
        recipe: Recipe,
        packed: Checkpoint,
        teacher: Checkpoint | AdaptedCheckpoint,
        resume: bool,
    ) -> None:
        self._job, self._recipe, self._packed, self._resume = job, recipe, packed, resume
        self._data = _data(job, packed, recipe)
        self._minutes = recipe.minutes
        identity = {
            "packed": packed.fingerprint,
            "teacher": teacher.fingerprint,
            "block_steps": job.block_steps,
        }
        if recipe.minutes is not None and job.block_steps != 0:
            self._recipe = replace(recipe, minutes=(1 - RECONSTRUCT_SHARE) * recipe.minutes)
        where = device()
        self._teacher = Decoder(teacher, None, device=where)
        self._matrices: dict[str, CodedMatrix] = {}

        def build(names: Sequence[str]) -> CodedLinears:
            return CodedLinears([self._coded(name, teacher, where) for name in names])

        self._student = Decoder(packed, None, device=where, build=build)
        self._student.train_norms()
        self._run = Run(
            self._student,
            self._data,
            self._recipe,
            job.work,
            identity,
            Distillation(self._teacher),
            frozen=FROZEN,
        )

    def _coded(self, name: str, teacher: Checkpoint | AdaptedCheckpoint, where: str) -> CodedMatrix:
        linear = coded(self._packed, name)
        matrix = CodedMatrix(name, linear, dense_values(teacher.matrix(name)), torch.device(where))
        self._matrices[name] = matrix
        return matrix

    def run(self, watch: Watch, fitted: FitWatch) -> RecoverResult:
        """Both parts, or what is left of them."""
        self._job.work.mkdir(parents=True, exist_ok=True)
        begun = self._job.work / _BEGUN_FILE
        if self._resume and begun.exists():
            values = read_state(begun)[1]
            self._run.resume()
        else:
            with memory_named(self._recipe):
                values = self._begin(fitted)
            self._run.save()
            write_state(begun, {"none": np.zeros(1, np.float32)}, values)
        with stoppable(self._run):
            self._run.train(watch, lambda: None)
        fits = tuple(Fit(*pair) for pair in values["fits"])
        return RecoverResult(
            self._job.out, self._run.position, values["before"], values["after_blocks"], fits
        )

    def _begin(self, fitted: FitWatch) -> dict[str, Any]:
        """Fits the blocks; what is no better afterwards is taken back."""
        before = after = self._run.dev_loss()
        if not math.isfinite(before):
            raise AdtrieError(
                f"the divergence of {self._job.packed} from its teacher is {before:g}; compress it again"
            )
        fits: list[Fit] = []
        if self._job.block_steps != 0:
            start = self._run.values()
            fits = self._fit_blocks(fitted)
            after = self._run.dev_loss()
            if not after < before:
                self._run.take(start)
        return {"before": before, "after_blocks": after, "fits": [[fit.before, fit.after] for fit in fits]}

    def _fit_blocks(self, fitted: FitWatch) -> list[Fit]:
        order = BatchOrder(self._data.train, self._recipe.batch_tokens, self._recipe.seed)
        wanted = NUM_BATCHES
        if self._job.block_steps is None and self._minutes is not None:
            wanted = min(max(int(self._minutes), FEWEST_BATCHES), NUM_BATCHES)
        batches = [order.batch(number) for number in range(min(wanted, order.batches_per_epoch))]
        parts = Reconstruction(self._student, self._teacher, batches, BLOCK_RATE)
        pieces = FittedPieces(self._job.work, self._run.identity)
        steps, fits = None, []
        for place in parts.places():
            parameters = parts.parameters(place)
            found = pieces.load(place, parameters) if self._resume else None
            if found is not None:
                fit, steps = found
                parts.merge(place)
            else:
                steps = self._planned_steps(parts, place) if steps is None else steps
                if steps == 0:
                    break
                fit = parts.fit(place, steps)
                pieces.save(place, parameters, fit, steps)
            fits.append(fit)
            fitted(place, self._student.spec.num_layers, fit)
        return fits

    def _planned_steps(self, parts: Reconstruction, place: Place) -> int:
        """Updates of each half: as given, or what the time allows, 0 where that is too few to be of use."""
        if self._job.block_steps is not None:
            return self._job.block_steps
        if self._minutes is None:
            return BLOCK_STEPS
        halves = 2 * self._student.spec.num_layers
        half_s = 60 * RECONSTRUCT_SHARE * self._minutes / halves
        fitting = int(half_s / parts.seconds_per_step(place) - parts.steps_beside)
        return 0 if fitting < FEWEST_STEPS else min(fitting, MOST_STEPS)

    def write(self, writer: PackedWriter, manifest: Manifest, result: RecoverResult) -> None:
        """The best parameters as a packed checkpoint: patterns, groups and sizes those of the one given."""
        best = self._run.best
        for name, shape in writer.shapes.items():
            if len(shape) == 1:
                writer.add_vector(name, self._vector(name, best))
            elif name in self._matrices:
                writer.add_linear(name, pack(self._matrices[name].compressed(best)))
            else:
                writer.add_linear(name, packed_linear(self._packed, name))
        place = result.position
        recovered = {
            "task": self._data.name,
            "steps": place.step,
            "best_step": place.best_step,
            "dev_kl_before": result.before,
            "dev_kl_after_blocks": result.after_blocks,
            "dev_kl_after": result.after,
            "data_fingerprint": self._data.fingerprint,
            "from": self._packed.fingerprint,
        }
        writer.finish({**manifest.summary, "recovered": recovered})

    def _vector(self, name: str, best: Values) -> NDArray[np.float32]:
        weight = self._packed.vector(name)
        gain = best.get(f"{name}.gain")
        return weight if gain is None else np.asarray(weight * (1 + np.float32(GAIN_UNIT) * gain))


def _check_work(work: Path, resume: bool) -> None:
    if not resume and work.is_dir() and any(work.iterdir()):
        raise InputError(f"OUT: {work} holds an unfinished run; continue it with --resume or delete it")
    if resume and not work.is_dir():
        raise InputError(f"--resume: no unfinished run in {work}; start one without --resume")


def _data(job: Job, packed: Checkpoint, recipe: Recipe) -> TuneData:
    if isinstance(job.source, Path):
        return file_data(job.source, packed.tokenizer, recipe)
    return task_data(job.source, packed.tokenizer, recipe)
