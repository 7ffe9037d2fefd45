"""`adtrie create`: ad text from facts, within limits, with guesses that never change it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adtrie.cli import queries
from adtrie.cli.answers import one_by_one, own_error
from adtrie.cli.download import announce
from adtrie.cli.options import (
    AdapterOption,
    BeamsOption,
    FactWeightOption,
    JsonOption,
    LengthPenaltyOption,
    ModelOption,
    ThreadsOption,
    WeightsChoice,
    WeightsOption,
)
from adtrie.cli.queries import QueryLine, text_of
from adtrie.cli.terminal import ExitCode, emit, emit_json, guarded, printable, warn
from adtrie.cli.text_files import read_lines
from adtrie.errors import CapacityError, InputError

if TYPE_CHECKING:
    from adtrie.api import Model
    from adtrie.creative import Creative, Drafts, Writer
    from adtrie.prompt import PromptTemplate
    from adtrie.search.generate import Beams

NAME = "create"
EXAMPLE = (
    'Example: adtrie create -m smollm2-135m --must-mention "Blue Spice" --max-chars 90 '
    '"name: Blue Spice; type: pub; area: city centre; price: low"'
)


@guarded
def command(
    model: ModelOption,
    facts: Annotated[
        list[str] | None, typer.Argument(help="Facts of one text each; none: one per line of standard input.")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            help="Text with one {query} for the facts, \\n for a line end, or @FILE; default: the adapter's."
        ),
    ] = None,
    adapter: AdapterOption = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest text in tokens.")] = 64,
    max_chars: Annotated[int | None, typer.Option(min=1, help="Longest text in characters.")] = None,
    must_mention: Annotated[
        list[str] | None,
        typer.Option(help="Phrase that occurs, as whole words, in any case; may be repeated."),
    ] = None,
    must_not_say: Annotated[
        list[str] | None,
        typer.Option(help="Phrase that does not occur, not even in a word; may be repeated."),
    ] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="Text ends before this; default: a line end; may be repeated.")
    ] = None,
    temperature: Annotated[float, typer.Option(min=0, help="0: the most likely token; above: drawn.")] = 0.0,
    top_k: Annotated[int, typer.Option(min=0, help="Draw from the likeliest so many; 0: all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Draw from the fewest that hold this share.")] = 1.0,
    min_p: Annotated[float, typer.Option(help="Draw from those with this share of the likeliest.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same text.")] = 0,
    beams: BeamsOption = None,
    length_penalty: LengthPenaltyOption = None,
    fact_weight: FactWeightOption = None,
    drafts: Annotated[
        Path | None,
        typer.Option(
            help="Past texts or templates ({name} is a {type}), one a line: guesses that save forwards."
        ),
    ] = None,
    draft: Annotated[bool, typer.Option(help="Guess ahead: same text, fewer forwards.")] = True,
    concurrency: Annotated[
        int, typer.Option(min=1, max=1024, help="Texts written at the same time; of many lines of facts.")
    ] = 1,
    weights: WeightsOption = WeightsChoice.auto,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Write one ad text from facts such as "name: Blue Spice; type: pub".

    Limits and phrases are kept while the text is written. A phrase of --must-mention that is missing when the
    model would end, or when the room is just enough for it, is written there.
    """
    from adtrie.api import load_model
    from adtrie.creative import Drafts, Writer
    from adtrie.prompt import PromptTemplate
    from adtrie.search.sampling import Sampling
    from adtrie.search.text_rules import TextRules

    ends = tuple(string.replace("\\n", "\n") for string in stop) if stop else ("\n",)
    rules = TextRules(max_tokens, max_chars, ends, tuple(must_mention or ()), tuple(must_not_say or ()))
    sampling = Sampling(temperature, top_k, top_p, min_p, seed)
    kept = beams_of(beams, length_penalty, fact_weight)
    chosen = PromptTemplate.parse(template, "--template") if template is not None else None
    past = read_lines("--drafts", drafts) if drafts is not None else None
    announce(model)
    loaded = load_model(model, adapter=adapter, weights=weights.value, threads=threads)
    guesses = Drafts(past, loaded, chosen or loaded.create_template) if past is not None else None
    num_refused = 0
    writer, lines = Writer(rules, sampling, kept), queries.lines(facts, "facts")
    for line, made in texts(lines, loaded, writer, chosen, guesses, draft, concurrency):
        if isinstance(made, InputError | CapacityError):
            num_refused += 1
            warn(f"facts {line.number}: {made}")
            if json:
                emit_json({"facts": line.text, "line": line.number, "error": str(made)})
        else:
            emit_json(as_json(line.text, made)) if json else emit(as_text(made))
    if num_refused:
        raise typer.Exit(ExitCode.ERROR)


def texts(
    lines: Iterable[QueryLine],
    model: Model,
    writer: Writer,
    template: PromptTemplate | None,
    drafts: Drafts | None,
    draft: bool,
    concurrency: int,
) -> Iterator[tuple[QueryLine, Creative | InputError | CapacityError]]:
    """Each line of facts with its text, or with the error that is its own; in order. Others are raised."""
    if concurrency == 1:
        alone: dict[str, Any] = {
            "beams": writer.beams,
            "template": template,
            "drafts": drafts,
            "draft": draft,
        }
        create = lambda line: model.create(text_of(line), writer.rules, writer.sampling, **alone)  # noqa: E731
        yield from one_by_one(lines, create)
        return
    from adtrie.concurrency import in_order

    with model.concurrent_writer(writer, template, drafts, draft, concurrency) as company:
        submitted = in_order(lines, lambda line: company.submit(text_of(line)), 2 * concurrency)
        for line, made in submitted:
            yield line, own_error(made)


def beams_of(width: int | None, length_penalty: float | None, fact_weight: float | None) -> Beams:
    """The beam of three options; BadParameter for what only a beam has, without one."""
    from adtrie.search.generate import Beams

    given = {"length_penalty": length_penalty, "fact_weight": fact_weight}
    kept = Beams(width or 1, **{name: value for name, value in given.items() if value is not None})
    if kept.width == 1 and (length_penalty is not None or fact_weight is not None):
        raise typer.BadParameter("--length-penalty and --fact-weight rank the texts of --beams 2 or more")
    return kept


def as_json(facts: str, made: Creative) -> dict[str, object]:
    """One text as the documented object."""
    return {
        "facts": facts,
        "text": made.text,
        "finish_reason": made.finish_reason,
        "tokens": made.tokens,
        "forwards": made.forwards,
        "ms": round(made.ms, 3),
    }


def as_text(made: Creative) -> str:
    """One text for people, and a line of what it cost."""
    cost = (
        f"{made.ms:.1f} ms, {made.tokens} tokens in {made.forwards} forwards, ended by {made.finish_reason}"
    )
    return printable(f"{made.text}\n      {cost}")
