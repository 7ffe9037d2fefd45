"""`adtrie recover`: a packed checkpoint trained towards the model it was made from, in the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adtrie.cli.download import announce
from adtrie.cli.options import AdapterOption, JsonOption, ThreadsOption
from adtrie.cli.terminal import emit, emit_json, guarded, note
from adtrie.cli.training_progress import training_progress

if TYPE_CHECKING:
    from adtrie.train.reconstruct import Fit, Place
    from adtrie.train.recover import RecoverResult

NAME = "recover"
EXAMPLE = (
    "Example: adtrie recover packed better --teacher smollm2-135m --adapter pricerunner --task pricerunner "
    "--minutes 30"
)


@guarded
def command(
    packed: Annotated[str, typer.Argument(help="Packed checkpoint, as 'adtrie compress' writes it.")],
    out: Annotated[Path, typer.Argument(help="Folder for the recovered packed checkpoint.")],
    teacher: Annotated[
        str, typer.Option("--teacher", help="The model PACKED was made from: alias, folder or .gguf file.")
    ],
    task: Annotated[
        str, typer.Option("--task", help="Task to train on (pricerunner, e2e, ...), or FILE.csv of pairs.")
    ],
    adapter: AdapterOption = None,
    minutes: Annotated[float, typer.Option(help="Time budget of both parts.")] = 30.0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Updates of the distillation instead of minutes.")
    ] = None,
    block_steps: Annotated[
        int | None,
        typer.Option(min=0, help="Updates of each half of a block; 0: distil only. Default: by the time."),
    ] = None,
    lr: Annotated[
        float,
        typer.Option(
            help="Highest learning rate of distillation; 0.01: scales change by a thousandth per update."
        ),
    ] = 5e-3,
    batch_tokens: Annotated[int, typer.Option(min=8, help="Tokens of one update, padding included.")] = 1024,
    seed: Annotated[int, typer.Option(min=0, help="Of the data order.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in OUT.work.")] = False,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Win back what compression lost: same masks, same bytes, better codes, scales and norms.

    Needs the extra [train]. First attention and MLP of each block are fitted to the outputs of the teacher,
    then scales and norms are distilled from it on the completions of the task's train rows. OUT never
    diverges more from the teacher on the dev rows than PACKED did. Ctrl-C leaves a run that --resume
    continues to the same result.
    """
    from adtrie.train.torch_extra import prepare_torch

    prepare_torch()
    from adtrie.train.recipe import PAIRS_TEMPLATE, TASK_MAX_TOKENS, TASK_TEMPLATES, Recipe
    from adtrie.train.recover import DEV_ROWS, EVALUATE_EVERY, Job, recover

    is_file = task not in TASK_TEMPLATES and ("." in task or "/" in task)
    recipe = Recipe(
        template=TASK_TEMPLATES.get(task, PAIRS_TEMPLATE),
        learning_rate=lr,
        weight_decay=0.0,
        epochs=1000.0,
        minutes=None if steps is not None else minutes,
        steps=steps,
        batch_tokens=batch_tokens,
        max_tokens=Recipe.max_tokens if is_file else TASK_MAX_TOKENS.get(task, Recipe.max_tokens),
        evaluate_every=EVALUATE_EVERY,
        dev_rows=DEV_ROWS,
        seed=seed,
    )
    source = Path(task) if is_file else task
    job = Job(packed, out, teacher, adapter, source, block_steps, threads)
    announce(teacher)
    try:
        with training_progress() as watch:
            result = recover(job, recipe, resume, watch, show_fit)
    except KeyboardInterrupt:
        note(f"The run is saved; the same command with --resume continues it in {job.work}.")
        raise
    emit_json(as_json(result)) if json else emit(as_text(result))


def show_fit(place: Place, num_blocks: int, fit: Fit) -> None:
    """One line per half of a block."""
    note(f"block {place[0] + 1}/{num_blocks} {place[1]}: error {fit.before:.4f} -> {fit.after:.4f}")


def as_json(result: RecoverResult) -> dict[str, object]:
    """The result as the documented object; divergences are nats per completion token of the dev rows."""
    place = result.position
    return {
        "out": str(result.out),
        "steps": place.step,
        "tokens": place.num_tokens,
        "seconds": round(place.elapsed_s, 1),
        "best_step": place.best_step,
        "dev_kl_before": result.before,
        "dev_kl_after_blocks": result.after_blocks,
        "dev_kl_after": result.after,
        "dev_curve": place.dev_curve,
        "blocks": [[fit.before, fit.after] for fit in result.fits],
    }


def as_text(result: RecoverResult) -> str:
    """The result for people."""
    place = result.position
    share = 100 * (1 - result.after / result.before) if result.before else 0.0
    return (
        f"{result.out}: divergence on dev rows {result.before:.4f} -> {result.after:.4f} nats per token "
        f"({share:.0f} % less; {result.after_blocks:.4f} after the blocks), {place.step:,} updates, "
        f"{place.elapsed_s / 60:.1f} min of distillation; same bytes"
    )
