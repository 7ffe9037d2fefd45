"""`adtrie tune` as a function: model and pairs in, an adapter folder out, resumable after any interruption.

Puts data, run and files together; knows no command line.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from adtrie.engine.threads import default_threads
from adtrie.errors import InputError
from adtrie.models import Checkpoint, open_checkpoint
from adtrie.models.adapter_files import CONFIG_FILE
from adtrie.train.adapted_linear import LoraShape
from adtrie.train.curve import curve_svg
from adtrie.train.decoder import Decoder
from adtrie.train.full_model import check_writable, write_model
from adtrie.train.pairs import WRITING_TASKS, PairReport, TuneData, file_data, task_data
from adtrie.train.recipe import Recipe
from adtrie.train.run import Position, Run, Watch, device
from adtrie.train.save import CURVE_FILE, STATE_FILE, replace_file, write_adapter, write_card
from adtrie.train.stopping import stoppable

CARD_VERSION = 1


@dataclass(frozen=True)
class Job:
    """What to tune: a model, a built-in task or the path of a CSV file of pairs, the folder to write.

    `command` is recorded in the card as the way to do it again.
    """

    model: str
    source: str | Path
    out: Path
    command: str = ""
    threads: int | None = None


@dataclass(frozen=True)
class TuneResult:
    """Where the run ended, what it was made of, and why it ended: steps, time or patience."""

    out: Path
    position: Position
    report: PairReport
    ended_by: str
    full: bool = False
    command: str = "target"  # of adtrie: what the result is for

    @property
    def option(self) -> str:
        """The option of other commands that takes `out`."""
        return "--model" if self.full else "--adapter"


def tune(
    job: Job, recipe: Recipe, resume: bool, watch: Watch, loaded: Callable[[PairReport], None] | None = None
) -> TuneResult:
    """Trains an adapter into `job.out`; the best by dev loss is there from the first improvement on.

    Raises InputError (folder, data, settings), CapacityError (memory), AdtrieError (loss is no number) and
    KeyboardInterrupt; after the last three `resume=True` continues where the run was.
    """
    _check_folder(job.out, resume)
    torch.set_num_threads(default_threads() if job.threads is None else job.threads)
    with open_checkpoint(job.model) as checkpoint:
        if recipe.full:
            check_writable(checkpoint.spec)
        data = _data(job, checkpoint, recipe)
        if loaded is not None:
            loaded(data.report)
        run = _run(checkpoint, data, recipe, job.out)
        if resume:
            run.resume()
        with stoppable(run):
            run.train(watch, lambda: _write(run, job, checkpoint, finished=False))
        _write(run, job, checkpoint, finished=True)
    (job.out / STATE_FILE).unlink(missing_ok=True)
    command = "create" if job.source in WRITING_TASKS else "target"
    return TuneResult(job.out, run.position, data.report, _reason(run), recipe.full, command)


def _run(checkpoint: Checkpoint, data: TuneData, recipe: Recipe, folder: Path) -> Run:
    lora = None if recipe.full else LoraShape(recipe.rank, recipe.alpha, recipe.targets)
    decoder = Decoder(checkpoint, lora, recipe.seed, device())
    if recipe.full:
        decoder.train_whole()
    return Run(decoder, data, recipe, folder, {"base": checkpoint.fingerprint})


def _data(job: Job, checkpoint: Checkpoint, recipe: Recipe) -> TuneData:
    if isinstance(job.source, Path):
        return file_data(job.source, checkpoint.tokenizer, recipe)
    return task_data(job.source, checkpoint.tokenizer, recipe)


def _check_folder(out: Path, resume: bool) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"OUT: {out} is a file; name a folder for the adapter")
    if not resume and (out / STATE_FILE).exists():
        raise InputError(
            f"OUT: {out} holds an unfinished run; continue it with --resume or delete the folder"
        )
    if not resume and any((out / name).exists() for name in (CONFIG_FILE, "config.json")):
        raise InputError(f"OUT: {out} holds an adapter or a model already; name another folder or delete it")
    out.mkdir(parents=True, exist_ok=True)


def _write(run: Run, job: Job, checkpoint: Checkpoint, finished: bool) -> None:
    card = _card(run, job, checkpoint, finished)
    if run.recipe.full:
        write_model(job.out, checkpoint, run.result())
        write_card(job.out, card)
    else:
        write_adapter(job.out, run.result(), run.recipe, checkpoint.name, card)
    place = run.position
    title = f"{run.data.name} on {checkpoint.name}: nats per completion token"
    replace_file(job.out / CURVE_FILE, curve_svg(place.train_curve, place.dev_curve, title).encode())


def _card(run: Run, job: Job, checkpoint: Checkpoint, finished: bool) -> dict[str, Any]:
    """Content of adtrie.json: how to use the adapter, and how it was made."""
    place = run.position
    return {
        "version": CARD_VERSION,
        "finished": finished,
        "template": run.recipe.template,
        "task": run.data.name,
        "base": checkpoint.name,
        "base_fingerprint": checkpoint.fingerprint,
        "tokenizer_fingerprint": checkpoint.tokenizer.fingerprint,
        "data_fingerprint": run.data.fingerprint,
        "command": job.command,
        "recipe": asdict(run.recipe),
        "steps": place.step,
        "planned_steps": place.total,
        "tokens": place.num_tokens,
        "seconds": round(place.elapsed_s, 1),
        "best_step": place.best_step,
        "best_dev_loss": round(place.best_loss, 5),
        "dev_curve": place.dev_curve,
        "data": {key: value for key, value in asdict(run.data.report).items() if key != "notes"},
        "machine": _machine(run),
    }


def _machine(run: Run) -> dict[str, object]:
    return {
        "device": str(run.decoder.device),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }


def _reason(run: Run) -> str:
    place = run.position
    if place.total and place.step >= place.total:
        return "steps"
    over = run.recipe.minutes is not None and place.elapsed_s > 60 * run.recipe.minutes
    return "time" if over and run.recipe.steps is None else "patience"
