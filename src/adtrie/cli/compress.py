"""`adtrie compress`: a model and a budget become a packed checkpoint, with a report that tells the truth."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adtrie.cli.download import announce
from adtrie.cli.options import AdapterOption, JsonOption
from adtrie.cli.terminal import emit, emit_json, guarded, note, phases, printable
from adtrie.errors import InputError

if TYPE_CHECKING:
    from adtrie.compress.report import CompressionReport
    from adtrie.compress.settings import Settings

NAME = "compress"
EXAMPLE = (
    "Example: adtrie compress smollm2-135m small --adapter pricerunner --budget 3.6bpw --html small.html"
)
DEFAULT_PRESET = "balanced"


@guarded
def command(
    source: Annotated[str, typer.Argument(help="Alias, Hugging Face folder or .gguf file.")],
    out: Annotated[Path, typer.Argument(help="Folder for the packed checkpoint; unfinished work: OUT.work.")],
    adapter: AdapterOption = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="Calibrate on train rows of this task; default: the one the adapter is named after."
        ),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(
            help="Calibrate on this file: plain text, or .jsonl with text, prompt and completion, "
            "or query and label."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="safe, balanced (default), fast, max, demo; int4, rtn-int4, gptq-int4, 2:4, 1:4, mix."
        ),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Bits per weight of all matrices: 3.6bpw; or 60mb, or 2.5ms.")
    ] = None,
    budget_mb: Annotated[float | None, typer.Option(help="The same in megabytes.")] = None,
    target_ms: Annotated[
        float | None, typer.Option(help="Kernel milliseconds of a forward of one row.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="LINEARS=OPTIONS by shell pattern, e.g. 'layers.*.down=int8'; repeatable."
        ),
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="Use this plan, perhaps edited, instead of making one.")
    ] = None,
    save_plan: Annotated[Path | None, typer.Option(help="Write the plan that was used.")] = None,
    measurements: Annotated[
        Path | None, typer.Option(help="Plan from this file instead of measuring; of the same model.")
    ] = None,
    save_measurements: Annotated[
        Path | None, typer.Option(help="Write the measurements; they serve any budget in seconds.")
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(min=256, max=1 << 20, help="Calibration tokens; default: the preset's, mostly 16,384."),
    ] = None,
    trials: Annotated[
        int, typer.Option(min=0, max=10_000, help="Trials to better the plan by its true divergence.")
    ] = 0,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="No trial begins after so many minutes.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run of the same command.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Also write the report as one self-contained page.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compress a model to a budget: INT4 in groups that fit each matrix, 2:4 and 1:4 where they hurt least.

    Measures what each way of storing each matrix costs in divergence from the uncompressed model, spends the
    budget where it helps most, and writes a packed checkpoint for --model of the other commands. An
    interrupted run keeps what is finished in OUT.work.
    """
    from adtrie.compression import Job, compress

    settings = chosen_settings(preset, budget, budget_mb, target_ms, overrides or [], tokens, trials)
    _check(task, text, plan, measurements, html)
    job = Job(
        source,
        out,
        adapter,
        task,
        text,
        plan,
        measurements,
        save_plan,
        save_measurements,
        resume,
        None if minutes is None else 60 * minutes,
    )
    announce(source)
    with phases() as watch:
        try:
            report = compress(job, settings, watch)
        except KeyboardInterrupt:
            note(f"What is finished is in {job.work}; the same command with --resume continues.")
            raise
    if html is not None:
        from adtrie.evaluate.compression_page import compression_page
        from adtrie.train.save import replace_file

        replace_file(html, compression_page(report).encode("utf-8"))
        note(f"{html}: written")
    emit_json(as_json(report, out)) if json else emit(printable(as_text(report, out)))


def chosen_settings(
    preset: str | None,
    budget: str | None,
    budget_mb: float | None,
    target_ms: float | None,
    overrides: list[str],
    tokens: int | None,
    trials: int,
) -> Settings:
    """The settings of the options; of several budgets none, of a preset and a budget the budget holds."""
    from adtrie.compress.settings import Budget, parse_override
    from adtrie.compress.settings import preset as named

    given = [
        *([Budget.parse(budget)] if budget is not None else []),
        *([Budget("mb", budget_mb)] if budget_mb is not None else []),
        *([Budget("ms", target_ms)] if target_ms is not None else []),
    ]
    if len(given) > 1:
        raise typer.BadParameter("give one of --budget, --budget-mb and --target-ms")
    # With a budget alone everything is allowed; a preset says what is.
    base = named(preset or ("fast" if given else DEFAULT_PRESET))
    return replace(
        base,
        budget=given[0] if given else base.budget,
        overrides=tuple(map(parse_override, overrides)),
        refine_trials=trials if (given or base.budget) else 0,
        max_tokens=base.max_tokens if tokens is None else tokens,
    )


def as_json(report: CompressionReport, out: Path) -> dict[str, object]:
    """The report as the documented object."""
    return {"out": str(out), "bits_per_weight": report.bits_per_weight, **asdict(report)}


def as_text(report: CompressionReport, out: Path) -> str:
    """The report for people."""
    found, panels = report.divergence, report.panels
    total = sum(panels.values())
    shares = ", ".join(f"{name} {100 * count / total:.0f} %" for name, count in sorted(panels.items()))
    time_line = f"; {report.ms:.2f} ms in kernels a row" if report.ms else ""
    lines = [
        f"{out}: {report.num_bytes / 1e6:.1f} MB, {report.bits_per_weight:.2f} bits per weight{time_line}",
        f"panels: {shares}",
        f"divergence from the uncompressed model on {found.num_rows:,} held-out tokens: "
        f"{found.kl_mean:.4f} nats, 99th percentile {found.kl_p99:.3f} (predicted {report.predicted_kl:.4f})",
        f"same most likely token: {100 * found.top1_agreement:.1f} %; perplexity "
        f"{found.reference_perplexity:.3f} -> {found.perplexity:.3f}",
    ]
    if report.refinement is not None:
        tried = report.refinement
        lines.append(
            f"refined: {tried.kept} of {tried.trials} trials kept, "
            f"{tried.kl_before:.4f} -> {tried.kl_after:.4f} nats on the search texts"
        )
    lines.append(", ".join(f"{phase} {seconds:.0f} s" for phase, seconds in report.seconds.items()))
    lines.append(f"Use it with: adtrie target --model {out} ...")
    return "\n".join(lines)


def _check(
    task: str | None, text: Path | None, plan: Path | None, measurements: Path | None, html: Path | None
) -> None:
    if task is not None and text is not None:
        raise typer.BadParameter("give one of --task and --text")
    if plan is not None and measurements is not None:
        raise typer.BadParameter("--plan needs no --measurements; give one of them")
    if html is not None and (html.is_dir() or not html.absolute().parent.is_dir()):
        raise InputError(f"--html: cannot write {html}; name a file in a folder that exists")
