"""`adtrie evaluate`: how good and how fast a model is on a task or on pairs of one's own, beside floors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from adtrie.cli.create import beams_of
from adtrie.cli.doctor import examine
from adtrie.cli.measure import AUTO, Plan, target_pairs, target_task, write_task
from adtrie.cli.neighbours import FusionOption, NeighboursOption, read_fusion
from adtrie.cli.options import (
    AdapterOption,
    BeamsOption,
    FactWeightOption,
    JsonOption,
    LengthPenaltyOption,
    ModeChoice,
    ThreadsOption,
    WeightsChoice,
    WeightsOption,
)
from adtrie.cli.terminal import emit, emit_json, fail, guarded, note, printable
from adtrie.errors import InputError

if TYPE_CHECKING:
    from adtrie.evaluate.tables import Report
    from adtrie.evaluate.targeting import TargetingReport
    from adtrie.request import TargetOptions

NAME = "evaluate"
EXAMPLE = "Example: adtrie evaluate pricerunner --adapter pricerunner --html report.html"
COLUMNS = 100
DEFECT = "This is a defect of adtrie: please report it with the output of 'adtrie doctor'"


class SplitChoice(StrEnum):
    """Rows that are asked; test is for final numbers only."""

    test = "test"
    dev = "dev"


@guarded
def command(
    task: Annotated[
        str | None, typer.Argument(help="pricerunner, e2e, ...; none: --pairs and --catalogue.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Alias, packed or Hugging Face folder, or .gguf file.")
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
    alpha: Annotated[
        str | None,
        typer.Option(help="Prior: -alpha times an entry's log-probability without a query; auto: by dev."),
    ] = None,
    neighbours: NeighboursOption = None,
    fusion: FusionOption = None,
    learn_fusion: Annotated[
        Path | None, typer.Option(help="Learn on dev rows what resemblance adds, write it there, and use it.")
    ] = None,
    check_draft: Annotated[
        bool, typer.Option("--check-draft", help="For ad text: write all of it without guesses too; compare.")
    ] = False,
    beams: BeamsOption = None,
    length_penalty: LengthPenaltyOption = None,
    fact_weight: FactWeightOption = None,
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
    from adtrie.evaluate.creative_tasks import CREATIVE_TASK_NAMES
    from adtrie.prompt import PromptTemplate
    from adtrie.request import TargetOptions

    _check_writable({"--html": html, "--learn-fusion": learn_fusion})
    if fusion is not None and learn_fusion is not None:
        raise typer.BadParameter("--fusion and --learn-fusion exclude each other")
    if alpha is not None and (fusion is not None or learn_fusion is not None):
        raise typer.BadParameter("--alpha cannot be given: a fusion brings its own")
    template = PromptTemplate.parse(prompt_template) if prompt_template is not None else None
    plan = Plan(
        model,
        adapter,
        template,
        weights,
        threads,
        split.value,
        rows,
        floors,
        _alpha(alpha),
        neighbours,
        read_fusion(fusion),
        learn_fusion,
    )
    report: Report
    if task in CREATIVE_TASK_NAMES:
        searching: dict[str, object] = {
            "--mode": mode,
            "--k": k,
            "--width": width,
            "--alpha": alpha,
            "--neighbours": neighbours,
            "--fusion": fusion,
            "--learn-fusion": learn_fusion,
        }
        searching |= {"--pairs": pairs, "--catalogue": catalogue}
        _refuse(searching, f"task {task} writes ad text and searches no catalogue")
        kept = beams_of(beams, length_penalty, fact_weight)
        if kept.width > 1:
            _refuse({"--check-draft": check_draft or None}, "a beam is not drafted")
        report = write_task(plan, task, kept, check_draft)
    else:
        writing: dict[str, object] = {"--check-draft": check_draft or None, "--beams": beams}
        writing |= {"--length-penalty": length_penalty, "--fact-weight": fact_weight}
        _refuse(writing, "that is for tasks that write ad text")
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


def _alpha(text: str | None) -> float | None:
    """A number from 0 to 10, AUTO for "auto", None for none."""
    if text is None or text == "auto":
        return AUTO if text else None
    try:
        alpha = float(text)
    except ValueError:
        alpha = -1.0
    if not 0.0 <= alpha <= 10.0:
        raise typer.BadParameter(f"--alpha is {text!r:.40}; expected a number from 0 to 10, or auto")
    return alpha


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


def _check_writable(files: Mapping[str, Path | None]) -> None:
    """Known before the long part: whether what is asked for can be written."""
    for option, path in files.items():
        if path is None:
            continue
        if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise InputError(
                f"{option}: cannot write {path}; name a file in a folder that exists and is writable"
            )


def _refuse(given: Mapping[str, object], reason: str) -> None:
    """Options that would be ignored are wrong usage."""
    names = [name for name, value in given.items() if value is not None]
    if names:
        raise typer.BadParameter(f"{', '.join(names)} cannot be given: {reason}")
