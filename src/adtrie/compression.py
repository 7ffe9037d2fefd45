"""A model by name to a packed checkpoint: its texts, the run, the file, the report.

What `adtrie compress` does; knows no command line.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from adtrie.calibration_texts import file_texts, general_texts, task_texts
from adtrie.compress.measurements import MAX_FILE_BYTES, Measurements
from adtrie.compress.pipeline import Compression, Progress, Texts
from adtrie.compress.plan import Plan
from adtrie.compress.report import CompressionReport, LinearRow, curve, linear_row, total_predicted
from adtrie.compress.settings import Settings
from adtrie.errors import InputError
from adtrie.format.panels import pack
from adtrie.format.writer import PackedWriter
from adtrie.models.adapter import AdaptedCheckpoint, open_tuned
from adtrie.models.checkpoint import Checkpoint
from adtrie.models.packing import packed_writer
from adtrie.train.pairs import TUNE_TASKS
from adtrie.train.save import replace_file


@dataclass(frozen=True)
class Job:
    """What to compress and where to.

    out: folder of the packed checkpoint; unfinished work lies beside it in `out`.work. task, text: what to
    calibrate on; by default the task the adapter is named after, else general text. plan, measurements: files
    to use instead of planning and measuring; save_plan, save_measurements: files to write. resume: continue
    an interrupted run. seconds: after so many no trial of the refinement begins.
    """

    model: str
    out: Path
    adapter: str | None = None
    task: str | None = None
    text: Path | None = None
    plan: Path | None = None
    measurements: Path | None = None
    save_plan: Path | None = None
    save_measurements: Path | None = None
    resume: bool = False
    seconds: float | None = None

    @property
    def work(self) -> Path:
        """Folder of unfinished work."""
        return self.out.with_name(f"{self.out.name}.work")


@dataclass
class _Clock:
    """Seconds by phase."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - started, 1)


def compress(job: Job, settings: Settings, progress: Progress | None = None) -> CompressionReport:
    """Writes the packed checkpoint `job.out` and returns the report.

    Raises InputError for texts, budgets, plans or measurements that do not fit, ModelError for a model or a
    folder that cannot be read or written. What is finished then stays in `job.work` for `resume`.
    """
    given_plan = None if job.plan is None else Plan.from_json(_read(job.plan, "--plan"), str(job.plan))
    table = None
    if job.measurements is not None:
        table = Measurements.from_json(_read(job.measurements, "--measurements"), str(job.measurements))
    source, template = open_tuned(job.model, job.adapter)
    with source, packed_writer(job.out, source, template) as writer:
        texts = calibration_texts(job, source, template, settings.max_tokens)
        deadline = None if job.seconds is None else time.monotonic() + job.seconds
        run = Compression(source, texts, settings, job.work, job.resume, progress=progress, deadline=deadline)
        report = _run(run, job, writer, given_plan, table)
        run.finish()
    return report


def calibration_texts(
    job: Job, source: Checkpoint | AdaptedCheckpoint, template: str | None, max_tokens: int
) -> Texts:
    """The texts of a job; of a task only train rows. Raises InputError for a file or task of no use."""
    longest = source.spec.max_positions
    if job.text is not None:
        texts = file_texts(job.text, source.tokenizer, template, max_tokens)
    else:
        task = job.task or (job.adapter if job.adapter in TUNE_TASKS else None)
        if task is None:
            texts = general_texts(source.tokenizer, max_tokens)
        else:
            texts = task_texts(task, source.tokenizer, template, max_tokens)
    return texts.shortened(longest)


def _run(
    run: Compression, job: Job, writer: PackedWriter, plan: Plan | None, table: Measurements | None
) -> CompressionReport:
    clock = _Clock()
    if plan is not None:
        run.check_plan(plan)
    else:
        run.check_budget()
    with clock.phase("calibrate"):
        run.calibrate()
    if table is None and plan is None:
        with clock.phase("measure"):
            table = run.measure()
    if table is not None and job.save_measurements is not None:
        replace_file(job.save_measurements, table.to_json())
    refinement = None
    if plan is None and table is not None:
        with clock.phase("plan"):
            frontier, limit = run.frontier(table), run.limit(table)
            plan = frontier.plan(limit)
        with clock.phase("refine"):
            plan, refinement = run.refine(frontier, plan, limit)
    if plan is None:  # pragma: no cover - either was given or made
        raise InputError("no plan")
    if job.save_plan is not None:
        replace_file(job.save_plan, plan.to_json())
    rows: list[LinearRow] = []
    with clock.phase("solve"):
        for name, linear in run.solve(plan):
            packed = pack(linear)
            writer.add_linear(name, packed)
            rows.append(linear_row(name, linear, packed, table))
    with clock.phase("judge"):
        divergence = run.divergence(run.replaced(plan))
    for name in (name for name, shape in writer.shapes.items() if len(shape) == 1):
        writer.add_vector(name, run.source.vector(name))
    predicted = total_predicted(rows)
    report = CompressionReport(
        setting=_setting(run, job),
        num_bytes=sum(row.num_bytes for row in rows),
        num_weights=sum(row.num_outputs * row.num_inputs for row in rows),
        ms=plan.ms,
        predicted_kl=plan.error if predicted is None else predicted,
        divergence=divergence,
        refinement=refinement,
        linears=tuple(rows),
        curve=() if table is None else curve(run.frontier(table)),
        seconds=clock.seconds,
    )
    writer.finish({"setting": dict(report.setting), "predicted_kl": report.predicted_kl})
    return report


def _setting(run: Compression, job: Job) -> dict[str, object]:
    settings, texts = run.settings, run.texts
    return {
        "model": job.model,
        "adapter": job.adapter,
        "texts": texts.name,
        "calibration_tokens": sum(len(sample.tokens) for sample in texts.calibration),
        "budget": None if settings.budget is None else str(settings.budget),
        "method": settings.method,
        "overrides": [f"{each.linear}={each.option}" for each in settings.overrides] or None,
        "plan": None if job.plan is None else job.plan.name,
    }


def _read(path: Path, option: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{option}: cannot read {str(path)!r:.200}: {reason}") from None
