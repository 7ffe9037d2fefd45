"""`adtrie tune`: pairs become an adapter for `adtrie target`, facts and texts one for `adtrie create`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adtrie.cli.download import announce
from adtrie.cli.options import JsonOption, ThreadsOption
from adtrie.cli.terminal import emit, emit_json, guarded, note, warn
from adtrie.cli.training_progress import training_progress

if TYPE_CHECKING:
    from adtrie.train.pairs import PairReport
    from adtrie.train.tune import TuneResult

NAME = "tune"
EXAMPLE = "Example: adtrie tune pricerunner my-adapter --minutes 55"


@guarded
def command(
    source: Annotated[
        str, typer.Argument(metavar="TASK_OR_CSV", help="pricerunner, unspsc, naics, e2e, ...; or FILE.csv.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder for the adapter (peft's format) and the curve.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="Alias, Hugging Face folder or .gguf file.")
    ] = "smollm2-135m",
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Read TASK_OR_CSV as a file even if a task has its name.")
    ] = False,
    rank: Annotated[int, typer.Option(min=1, max=1024, help="Rank of the adapter.")] = 16,
    full: Annotated[
        bool, typer.Option("--full", help="Train whole linears and write a model folder, no adapter.")
    ] = False,
    lr: Annotated[
        float | None, typer.Option(help="Highest learning rate; default 1e-3, with --full 1e-4.")
    ] = None,
    epochs: Annotated[float, typer.Option(help="Passes over the data, if the time allows.")] = 2.0,
    minutes: Annotated[
        float, typer.Option(help="Time budget; the number of steps is planned to fit.")
    ] = 55.0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Number of updates instead of epochs and minutes.")
    ] = None,
    batch_tokens: Annotated[int, typer.Option(min=8, help="Tokens of one update, padding included.")] = 1024,
    template: Annotated[
        str | None,
        typer.Option(help="Prompt with one {query}; stored with the adapter. Default: a short one."),
    ] = None,
    titles: Annotated[
        bool,
        typer.Option("--titles", help="Train on every entry as a query for itself too: helps cold ones."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the data order and the start of the adapter.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the unfinished run in OUT.")] = False,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Fine-tune a low-rank adapter on pairs of query and entry; about an hour on two cores.

    Needs the extra [train]. Built-in tasks: pricerunner (listing, keyword), unspsc (product, commodity),
    naics (activity, industry), unspsc-codes and naics-codes (the same rows, 8 and 6 digits), e2e (facts,
    text: for `adtrie create`). A CSV file needs the columns query and label. Ctrl-C leaves a run that
    --resume continues to the same result. The adapter with the best dev loss is in OUT at any time.
    """
    from adtrie.train.torch_extra import prepare_torch

    prepare_torch()
    from adtrie.prompt import PromptTemplate
    from adtrie.train.recipe import PAIRS_TEMPLATE, TASK_MAX_TOKENS, TASK_TEMPLATES, Recipe
    from adtrie.train.tune import Job, tune

    is_file = pairs or (source not in TASK_TEMPLATES and ("." in source or "/" in source))
    text = (
        TASK_TEMPLATES.get(source, PAIRS_TEMPLATE)
        if template is None
        else PromptTemplate.parse(template).text
    )
    recipe = Recipe(
        template=text,
        rank=rank,
        alpha=2.0 * rank,
        learning_rate=(1e-4 if full else 1e-3) if lr is None else lr,
        full=full,
        epochs=epochs,
        minutes=None if steps is not None else minutes,
        steps=steps,
        batch_tokens=batch_tokens,
        max_tokens=Recipe.max_tokens if is_file else TASK_MAX_TOKENS.get(source, Recipe.max_tokens),
        seed=seed,
        titles=titles,
    )
    words = [word for word in sys.argv[1:] if word not in ("--resume", "--json")]
    job = Job(model, Path(source) if is_file else source, out, shlex.join(["adtrie", *words]), threads)
    announce(model)
    try:
        with training_progress() as watch:
            result = tune(job, recipe, resume, watch, _show_report)
    except KeyboardInterrupt:
        note(f"The run is saved; the same command with --resume continues it in {out}.")
        raise
    emit_json(as_json(result)) if json else emit(as_text(result))


def as_json(result: TuneResult) -> dict[str, object]:
    """The result as the documented object; losses are nats per completion token."""
    place = result.position
    return {
        "out": str(result.out),
        "ended_by": result.ended_by,
        "steps": place.step,
        "tokens": place.num_tokens,
        "seconds": round(place.elapsed_s, 1),
        "tokens_per_s": round(place.tokens_per_s, 1),
        "best_step": place.best_step,
        "best_dev_loss": place.best_loss,
        "dev_curve": place.dev_curve,
        "data": asdict(result.report),
    }


def as_text(result: TuneResult) -> str:
    """The result for people."""
    place = result.position
    return (
        f"{result.out}: {place.step:,} steps, {place.num_tokens:,} tokens, {place.elapsed_s / 60:.1f} min "
        f"({place.tokens_per_s:.0f} tokens/s); dev loss {place.dev_curve[0][1]:.3f} -> {place.best_loss:.3f} "
        f"(step {place.best_step}); ended by {result.ended_by}\n"
        f"Use it with: adtrie {result.command} {result.option} {shlex.quote(str(result.out))} ..."
    )


def _show_report(report: PairReport) -> None:
    note(report.summary())
    for line in report.notes:
        warn(line)
