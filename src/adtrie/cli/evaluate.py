"""`adtrie evaluate`: how good and how fast a model is on a task or on pairs of one's own, beside floors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from adtrie.cli.doctor import examine
from adtrie.cli.download import announce
from adtrie.cli.options import (
    AdapterOption,
    JsonOption,
    ModeChoice,
    ThreadsOption,
    WeightsChoice,
    WeightsOption,
)
from adtrie.cli.terminal import emit, emit_json, fail, guarded, note, printable, progress
from adtrie.errors import InputError

if TYPE_CHECKING:
    from adtrie.api import Model, TargetOptions
    from adtrie.catalogue import Catalogue
    from adtrie.evaluate.creating import CreativeReport
    from adtrie.evaluate.questions import Questions
    from adtrie.evaluate.tables import Report
    from adtrie.evaluate.targeting import TargetingReport
    from adtrie.prompt import PromptTemplate

NAME = "evaluate"
EXAMPLE = "Example: adtrie evaluate pricerunner --adapter pricerunner --html report.html"
COLUMNS = 100
DEFECT = "This is a defect of adtrie: please report it with the output of 'adtrie doctor'"


class SplitChoice(StrEnum):
    """Rows that are asked; test is for final numbers only."""

    test = "test"
    dev = "dev"


@dataclass(frozen=True)
class Plan:
    """What both kinds of evaluation are told."""

    model: str
    adapter: str | None
    template: PromptTemplate | None
    weights: WeightsChoice
    threads: int | None
    split: str
    num_rows: int | None
    with_floors: bool

    def load(self) -> Model:
        """The model, with its adapter."""
        from adtrie.api import load_model

        announce(self.model)
        return load_model(self.model, adapter=self.adapter, weights=self.weights.value, threads=self.threads)

    def setting(self, model: Model, template: PromptTemplate) -> dict[str, object]:
        """What was measured, for every report."""
        from adtrie.prompt import CREATE_TEMPLATE, DEFAULT_TEMPLATE

        return {
            "model": self.model,
            "adapter": self.adapter,
            "weights": model.engine.weights,
            "prompt": "default" if template in (DEFAULT_TEMPLATE, CREATE_TEMPLATE) else template.text,
            "split": self.split,
            "isa": model.engine.isa,
            "threads": model.engine.num_threads,
        }


@guarded
def command(
    task: Annotated[
        str | None, typer.Argument(help="pricerunner, e2e, ...; none: --pairs and --catalogue.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Alias, Hugging Face folder or .gguf file.")
    ] = "smollm2-135m",
    adapter: AdapterOption = None,
    pairs: Annotated[
        Path | None, typer.Option(help="CSV of your own: query, label, and split (train, test) if you like.")
    ] = None,
    catalogue: Annotated[
        Path | None,
        typer.Option("--catalogue", "-c", help="For --pairs: a snapshot, or what 'adtrie index' takes."),
    ] = None,
    split: Annotated[SplitChoice, typer.Option(help="Rows that are asked.")] = SplitChoice.test,
    rows: Annotated[
        int | None,
        typer.Option(min=1, help="So many rows, warm and cold each, in a fixed mix; default: all."),
    ] = None,
    mode: Annotated[ModeChoice | None, typer.Option(help="Search; default: verify.")] = None,
    k: Annotated[int | None, typer.Option("--k", "-k", min=1, help="Entries per query; default: 10.")] = None,
    width: Annotated[
        int | None, typer.Option(min=1, help="Beam width of verify and stepwise; default: 10.")
    ] = None,
    check_draft: Annotated[
        bool, typer.Option("--check-draft", help="For ad text: write all of it without guesses too; compare.")
    ] = False,
    prompt_template: Annotated[
        str | None, typer.Option(help="Text with one {query}, or @FILE; default: the adapter's, or our own.")
    ] = None,
    floors: Annotated[bool, typer.Option(help="Measure the floors; they need scikit-learn.")] = True,
    html: Annotated[
        Path | None, typer.Option(help="Also write the report as one self-contained page.")
    ] = None,
    weights: WeightsOption = WeightsChoice.auto,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Measure a model on a task, or on pairs of your own, beside what needs no model.

    Targeting: recall, MRR, validity, milliseconds and forwards, warm and cold, with intervals. Ad text (e2e;
    slogans and csl beside a checkout): BLEU, METEOR, ROUGE-L, facts stated, tokens per forward. A label that
    is no entry counts as a miss.
    """
    from adtrie.api import TargetOptions
    from adtrie.evaluate.creative_tasks import CREATIVE_TASK_NAMES
    from adtrie.prompt import PromptTemplate

    _check_page(html)
    template = PromptTemplate.parse(prompt_template) if prompt_template is not None else None
    plan = Plan(model, adapter, template, weights, threads, split.value, rows, floors)
    report: Report
    if task in CREATIVE_TASK_NAMES:
        searching = {"--mode": mode, "--k": k, "--width": width, "--pairs": pairs, "--catalogue": catalogue}
        _refuse(searching, f"task {task} writes ad text and searches no catalogue")
        report = write_task(plan, task, check_draft)
    else:
        _refuse({"--check-draft": check_draft or None}, "it is for tasks that write ad text")
        options = TargetOptions(k or 10, (mode or ModeChoice.verify).value, width=width or 10)
        report = _target(plan, task, pairs, catalogue, options)
    _publish(report, html, json)


def _target(
    plan: Plan, task: str | None, pairs: Path | None, catalogue: Path | None, options: TargetOptions
) -> TargetingReport:
    if task is not None:
        _refuse({"--pairs": pairs, "--catalogue": catalogue}, f"task {task} brings its own")
        return target_task(plan, task, options)
    if pairs is None or catalogue is None:
        raise typer.BadParameter("name a task, or give both --pairs FILE and --catalogue FILE")
    return target_pairs(plan, pairs, catalogue, options)


def target_task(plan: Plan, name: str, options: TargetOptions) -> TargetingReport:
    """Measures a task that comes with adtrie."""
    from adtrie.catalogue import Catalogue
    from adtrie.evaluate import load_task
    from adtrie.evaluate.questions import Labels, task_questions

    task = load_task(name)
    with plan.load() as model:
        note(f"indexing {len(task.keywords):,} entries ...")
        catalogue = Catalogue.build(task.keywords, model)
        questions = task_questions(task, Labels(catalogue), plan.split, plan.num_rows)
        return _measured(plan, model, catalogue, questions, options, name)


def target_pairs(plan: Plan, pairs: Path, catalogue: Path, options: TargetOptions) -> TargetingReport:
    """Measures pairs of a user's own; their file is read before the model, because that is quick."""
    from adtrie.catalogue import Catalogue
    from adtrie.catalogue.snapshot import is_snapshot
    from adtrie.evaluate.pair_files import read_pairs
    from adtrie.evaluate.questions import Labels, file_questions

    rows = read_pairs(pairs, plan.split)
    with plan.load() as model:
        if is_snapshot(catalogue):
            opened = Catalogue.open(catalogue)
            opened.check_tokenizer(model.fingerprint)
        else:
            with progress(f"indexing {catalogue.name}") as advance:
                opened = Catalogue.build_from_file(catalogue, model, progress=advance)
        questions = file_questions(rows, Labels(opened), plan.split, plan.num_rows)
        return _measured(plan, model, opened, questions, options, pairs.name)


def _measured(
    plan: Plan,
    model: Model,
    catalogue: Catalogue,
    questions: Questions,
    options: TargetOptions,
    name: str,
) -> TargetingReport:
    from adtrie.evaluate.targeting import measure_targeting

    setting = {
        **plan.setting(model, plan.template or model.template),
        "entries": catalogue.num_entries,
        "rows_refused_by_index": catalogue.report.num_refused,
        "mode": options.mode,
        "k": options.k,
        "width": options.beam_width if options.mode != "exact" else None,
    }
    note("measuring what rows cost on this machine, and the floors ...")
    model.warm(options, plan.template)
    with progress("asking") as advance:
        return measure_targeting(
            name,
            questions,
            lambda query: model.answer(query, catalogue, options, plan.template),
            options.k,
            with_floors=plan.with_floors,
            setting=setting,
            advance=advance,
        )


def write_task(plan: Plan, name: str, check_draft: bool) -> CreativeReport:
    """Measures ad text; the references of the training facts are guesses, which change no text."""
    from adtrie.creative import Drafts
    from adtrie.evaluate import load_creative_task
    from adtrie.evaluate.creating import measure_creative
    from adtrie.evaluate.creative_tasks import templates_of

    task = load_creative_task(name)
    briefs = task.sample(plan.split, plan.num_rows)
    with plan.load() as model:
        template = plan.template or model.create_template
        past = [text for brief in task.briefs_of("train") for text in templates_of(brief)]
        drafts = Drafts(past, model, template)
        note("measuring what rows cost on this machine, and the floors ...")
        model.engine.latency()
        with progress("writing") as advance:
            return measure_creative(
                task,
                briefs,
                lambda facts, draft: model.create(facts, template=template, drafts=drafts, draft=draft),
                check_draft=check_draft,
                with_floors=plan.with_floors,
                setting=plan.setting(model, template),
                advance=advance,
            )


def _publish(report: Report, html: Path | None, json: bool) -> None:
    """Writes the page, prints the report, and fails where the report shows a broken promise."""
    from adtrie.evaluate.page import page
    from adtrie.evaluate.tables import setting_lines, tables_and_notes
    from adtrie.train.save import replace_file

    if html is not None:
        replace_file(html, page(report).encode("utf-8"))
        note(f"{html}: written")
    if json:
        emit_json({"machine": examine(), **asdict(report)})
    else:
        tables, notes = tables_and_notes(report)
        lines = [fill(f"{report.task}; {'; '.join(setting_lines(report.setting))}", COLUMNS)]
        for table in tables:
            lines += ["", *table.lines()]
        lines += ["", *(fill(line, COLUMNS) for line in notes), f"{report.seconds:.0f} s"]
        emit(printable("\n".join(lines)))
    if report.defect:
        fail(f"{report.defect} {DEFECT}")


def _check_page(html: Path | None) -> None:
    """Known before the long part: whether the page can be written."""
    if html is None:
        return
    if html.is_dir() or not html.parent.is_dir() or not os.access(html.parent, os.W_OK):
        raise InputError(f"--html: cannot write {html}; name a file in a folder that exists and is writable")


def _refuse(given: Mapping[str, object], reason: str) -> None:
    """Options that would be ignored are wrong usage."""
    names = [name for name, value in given.items() if value is not None]
    if names:
        raise typer.BadParameter(f"{', '.join(names)} cannot be given: {reason}")
