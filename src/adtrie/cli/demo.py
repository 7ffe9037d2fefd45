"""`adtrie demo`: one command from nothing to ranked answers, their quality and their cost."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from adtrie.cli.doctor import examine
from adtrie.cli.download import announce
from adtrie.cli.options import JsonOption
from adtrie.cli.terminal import emit, emit_json, guarded, note, phase_lines, printable, progress

if TYPE_CHECKING:
    from adtrie.demo.run import Report

NAME = "demo"
EXAMPLE = "Example: adtrie demo --json > demo.json"


@guarded
def command(
    model: Annotated[
        str, typer.Option("--model", "-m", help="Alias, folder or .gguf file.")
    ] = "smollm2-135m",
    adapter: Annotated[
        str | None,
        typer.Option(
            "--adapter", "-a", help="Name or folder; none: untuned. Default: those that came with adtrie."
        ),
    ] = None,
    preset: Annotated[str, typer.Option(help="Compress by this preset; none: do not compress.")] = "demo",
    json: JsonOption = False,
) -> None:
    """Put a real 135M model behind 12,613 real keywords, compress it; print answers, quality and speed."""
    from adtrie.compress.settings import preset as settings_of
    from adtrie.demo.run import plan_for, run

    if preset != "none":
        settings_of(preset)
    announce(model)
    with progress("working") as advance:
        lines = phase_lines()

        def compressing(what: str, share: float) -> None:
            if sys.stderr.isatty():
                advance(round(1000 * share), 1000)
            else:
                lines(what, share)

        plan = plan_for(model, adapter, None if preset == "none" else preset)
        report = run(plan, note, advance, compressing)
    if json:
        emit_json({"machine": examine(), **asdict(report)})
    else:
        parts = (_answers, _quality, _costs, _compressed, _ad_text, _close)
        emit(printable("\n".join(line for part in parts for line in part(report))))


def _answers(report: Report) -> list[str]:
    lines = ["", f"Listings and their best three of {report.num_entries:,} keywords (* = the right one)"]
    for answer in report.answers:
        lines += ["", f"  {answer.listing}"]
        lines += [
            f"  {'*' if text == answer.label else ' '} {score:9.3f}  {text}" for text, score in answer.top
        ]
    return lines


def _quality(report: Report) -> list[str]:
    lines = [
        "",
        f"Quality on {report.quality[0].num_rows} test listings",
        f"  {'':34} {'R@1':>6} {'R@10':>6}",
    ]
    lines += [f"  {row.method:34} {row.recall_at_1:6.3f} {row.recall_at_10:6.3f}" for row in report.quality]
    return lines


def _costs(report: Report) -> list[str]:
    names = ("p50 ms", "p99 ms", "forwards", "rows", "speed-up")
    head = f"  {'search':14}" + "".join(f" {name:>9}" for name in names) + "  proven"
    lines = [
        "",
        "One request (medians; width 10, raw scores; speed-up over stepwise on the same listings)",
        head,
    ]
    lines += [
        f"  {cost.search:14} {cost.p50_ms:9.1f} {cost.p99_ms:9.1f} {cost.forwards:9.0f} {cost.rows:9.0f} "
        f"{cost.speed_up:8.2f}x  {cost.num_proven}/{cost.num_requests}"
        for cost in report.costs
    ]
    return lines


def _compressed(report: Report) -> list[str]:
    made = report.compressed
    if made is None:
        return []
    return [
        "",
        f"Compressed by the preset {made.preset} in {made.seconds:.0f} s",
        f"  {made.bits_per_weight:.2f} bits per weight, {made.num_bytes / 1e6:.0f} MB in place of "
        f"{made.full_bytes / 1e6:.0f} MB; verify {made.p50_ms:.1f} ms in place of {made.full_p50_ms:.1f} ms "
        f"({made.speed_up:.2f}x)",
        f"  most likely next token unchanged in {100 * made.top1_agreement:.1f} %, perplexity "
        f"{made.perplexity:.3f} in place of {made.full_perplexity:.3f}",
    ]


def _ad_text(report: Report) -> list[str]:
    made = report.ad_text
    return [
        "",
        f"Ad text ({f'adapter {made.adapter}' if made.adapter else 'untuned'})",
        f"  {made.facts}",
        f"  {made.text}",
        f"  {made.tokens} tokens in {made.forwards} forwards ({made.tokens_per_forward:.1f} per forward); "
        f"without guesses the same text in {made.plain_forwards}",
    ]


def _close(report: Report) -> list[str]:
    return [
        "",
        f"verify gave the entries and scores of stepwise on all {report.num_agreeing} listings run in both.",
        f"{report.model}, {report.threads} threads, {report.isa}; {report.seconds['total']:.0f} s in total "
        f"(load {report.seconds['load']:.0f} s, requests {report.seconds['requests']:.0f} s).",
    ]
