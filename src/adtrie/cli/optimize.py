"""`adtrie optimize`: the execution plan of a model on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from adtrie.cli.download import announce
from adtrie.cli.options import JsonOption, ThreadsOption, WeightsChoice, WeightsOption
from adtrie.cli.terminal import emit, emit_json, guarded, note

if TYPE_CHECKING:
    from adtrie.engine.execution_plan import ExecutionPlan

NAME = "optimize"
EXAMPLE = "Example: adtrie optimize smollm2-135m --explain"
_BUSY = 0.1


@guarded
def command(
    checkpoint: Annotated[str, typer.Argument(help="Alias, packed or Hugging Face folder, or .gguf file.")],
    weights: WeightsOption = WeightsChoice.auto,
    threads: ThreadsOption = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print each stage: option, bound, predicted and measured time.")
    ] = False,
    cached: Annotated[
        bool, typer.Option("--cached", help="Use a plan of the full search that exists already.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Measure how this machine runs a model fastest, and remember it for every later start.

    Answers do not depend on the plan, bit for bit; without one a short search runs at the first request.
    """
    from adtrie.api import load_model
    from adtrie.engine.execution_plan import path_of

    announce(checkpoint)
    engine = load_model(checkpoint, weights=weights.value, threads=threads).engine
    plan = engine.plan() if cached else None
    if plan is None or plan.quick:
        note("optimize: measuring, about a minute for a small model")
        plan = engine.optimize()
    if plan.others_share > _BUSY:
        note(
            f"optimize: other processes took {plan.others_share:.0%} of the machine meanwhile; "
            "repeat on a quiet one for sharper figures"
        )
    if json:
        emit_json({**plan.to_json(), "file": str(path_of(plan.key))})
        return
    for line in explained(plan) if explain else summary(plan):
        emit(line)
    emit(f"kept in {path_of(plan.key)}")


def summary(plan: ExecutionPlan) -> list[str]:
    """One line per row count: milliseconds and rows per second."""
    rows, ms = plan.latency.table_rows.tolist(), plan.latency.table_ms.tolist()
    lines = [f"{'rows':>5} {'ms':>9} {'rows/s':>9}"]
    return lines + [f"{n:5} {t:9.2f} {1e3 * n / t:9.0f}" for n, t in zip(rows, ms, strict=True)]


def explained(plan: ExecutionPlan) -> list[str]:
    """The schedule: for each row count and stage the option, its times, and its share of the bound."""
    lines = [
        f"weights are read at {plan.bytes_per_s / 1e9:.1f} GB/s, INT8 arithmetic does "
        f"{plan.operations_per_s / 1e9:.0f} GOP/s, threads meet in {plan.meeting_s * 1e6:.1f} us",
        f"{'rows':>5} {'stage':9} {'bound ms':>9} {'predicted':>9} {'measured':>9} {'of bound':>9}  option",
    ]
    for stage in plan.stages:
        share = f"{stage.bound_ms / stage.measured_ms:9.0%}" if stage.measured_ms > 0 else " " * 9
        fused = " (no meeting before it)" if stage.fused else ""
        lines.append(
            f"{stage.rows:5} {stage.stage:9} {stage.bound_ms:9.3f} {stage.predicted_ms:9.3f} "
            f"{stage.measured_ms:9.3f} {share}  {stage.option}{fused}"
        )
    return [*lines, "", *summary(plan)]
