"""`adtrie target`: the best catalogue entries for each query."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adtrie.cli import explanation, queries
from adtrie.cli.answers import answers
from adtrie.cli.catalogues import Answering
from adtrie.cli.download import announce
from adtrie.cli.neighbours import FusionOption, NeighboursOption, PastOption
from adtrie.cli.options import (
    AdapterOption,
    JsonOption,
    ModeChoice,
    ModelOption,
    NormaliserChoice,
    PreferChoice,
    ScoreChoice,
    ThreadsOption,
    WeightsChoice,
    WeightsOption,
)
from adtrie.cli.terminal import ExitCode, emit, emit_json, guarded, printable, progress, warn
from adtrie.cli.text_files import read_lines
from adtrie.errors import AdtrieError, CapacityError, InputError

if TYPE_CHECKING:
    from adtrie.api import Model
    from adtrie.catalogue import Catalogue, Prior, Selection
    from adtrie.prompt import PromptTemplate
    from adtrie.request import Hits, TargetOptions

NAME = "target"
EXAMPLE = 'Example: adtrie target -m smollm2-135m -c products.cat --k 3 "sim free iphone 6s 32gb silver"'


@guarded
def command(
    model: ModelOption,
    catalogue: Annotated[
        Path, typer.Option("--catalogue", "-c", help="Snapshot made by 'adtrie index', or a live one.")
    ],
    query: Annotated[
        list[str] | None, typer.Argument(help="Queries; none: one per line of standard input.")
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Entries per query.")] = 10,
    mode: Annotated[
        ModeChoice, typer.Option(help="exact: true top k; verify: beam, few passes; stepwise: plain beam.")
    ] = ModeChoice.exact,
    score: Annotated[
        ScoreChoice, typer.Option(help="raw: over the vocabulary; renormalised: over the allowed tokens.")
    ] = ScoreChoice.raw,
    width: Annotated[int, typer.Option(min=1, help="Beam width of verify and stepwise (at least k).")] = 10,
    max_rows: Annotated[
        int, typer.Option(min=1, help="Row budget: of exact in total, of verify per forward.")
    ] = 4096,
    prefer: Annotated[
        PreferChoice,
        typer.Option(help="What exact saves: auto (milliseconds), rows, or forwards of up to 1,024 rows."),
    ] = PreferChoice.auto,
    deadline_ms: Annotated[
        float | None,
        typer.Option(min=0, help="Time per query: the best answer so far with its gap, maybe none."),
    ] = None,
    bid_weight: Annotated[
        float,
        typer.Option(min=0, help="Add this x log(bid) to each score; an entry without a bid has 1."),
    ] = 0.0,
    at_most: Annotated[
        str | None,
        typer.Option(help="At most NUMBER entries per value of ATTRIBUTE, as in 1:advertiser (exact only)."),
    ] = None,
    normaliser: Annotated[
        NormaliserChoice,
        typer.Option(help="bounded: exact prunes by upper bounds, which cost less; scores stay as they are."),
    ] = NormaliserChoice.full,
    prompt_template: Annotated[
        str | None,
        typer.Option(
            help="Text with one {query}, \\n for a line end, or @FILE; default: the adapter's, or listings."
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(help="Only entries whose attributes pass, as in 'country = DE and not adult'."),
    ] = None,
    block: Annotated[
        list[str] | None,
        typer.Option(
            help="ATTRIBUTE=CODE,CODE: no row of these categories or of one below, as in iab=IAB25."
        ),
    ] = None,
    taxonomy: Annotated[
        Path | None, typer.Option(help="IAB table (.tsv) of the categories of --block; IAB25-3 needs none.")
    ] = None,
    allow_ids: Annotated[Path | None, typer.Option(help="Only rows with these ids, one a line.")] = None,
    deny_ids: Annotated[Path | None, typer.Option(help="No row with these ids, one a line.")] = None,
    neighbours: NeighboursOption = None,
    past: PastOption = None,
    fusion: FusionOption = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Also what was expanded, cut and left out, and the time it took."),
    ] = False,
    why: Annotated[str | None, typer.Option(help="Also what became of the entry with this id.")] = None,
    concurrency: Annotated[
        int,
        typer.Option(min=1, max=1024, help="Queries answered at the same time; reads ahead twice as many."),
    ] = 1,
    adapter: AdapterOption = None,
    weights: WeightsOption = WeightsChoice.auto,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Print the best entries of a catalogue for each query: always valid, ranked, with their scores.

    Scores are sums of natural log-probabilities, with --bid-weight plus that times log(bid). A gap of 0
    proves that no other entry scores higher (of those that --where, --at-most and the ids leave). A line of
    standard input that is no query (empty, too long, not UTF-8) is reported, the others are answered, and the
    exit code is 1.
    """
    from adtrie.api import load_model
    from adtrie.prompt import PromptTemplate
    from adtrie.request import TargetOptions

    if (explain or why is not None) and fusion is not None:
        raise typer.BadParameter("--explain and --why follow a search without --fusion")
    if (explain or why is not None) and concurrency > 1:
        raise typer.BadParameter("--explain and --why follow one query at a time; leave --concurrency out")
    if normaliser == NormaliserChoice.bounded and (explain or why is not None or concurrency > 1):
        raise typer.BadParameter("--normaliser bounded goes with neither --explain, --why nor --concurrency")
    options = TargetOptions(
        k,
        mode.value,
        score.value,
        width,
        max_rows,
        prefer.value,
        deadline_ms,
        bid_weight,
        at_most,
        normaliser.value,
    )
    template = PromptTemplate.parse(prompt_template) if prompt_template is not None else None
    passing = filter_of(where, block, taxonomy)
    answering = Answering(catalogue, passing, allow_ids, deny_ids, neighbours, past, fusion)
    if options.cap is not None:  # a wrong attribute is wrong for every query
        answering.catalogue.groups(options.cap[1], answering.selection)
    filters = filters_of(answering.catalogue, passing, allow_ids, deny_ids) if why is not None else {}
    announce(model)
    loaded = load_model(model, adapter=adapter, weights=weights.value, threads=threads)
    answering.catalogue.check_tokenizer(loaded.tokenizer.fingerprint)
    if options.bounded:
        loaded.learn_frequent(answering.catalogue, template)
    if options.deadline_ms is not None:
        loaded.warm(options, template)
    prior = _prior(loaded, answering, template)
    lines = queries.lines(query, "queries")
    if explain or why is not None:
        told = _explained(lines, loaded, answering, options, template, explain, why, filters)
    else:
        found = answers(lines, loaded, answering, options, template, prior, concurrency)
        told = ((line, answer, {}) for line, answer in found)
    num_refused = 0
    for line, answer, more in told:
        if isinstance(answer, AdtrieError):
            num_refused += 1
            _refuse(line, str(answer), json)
        else:
            emit_json(as_json(answer) | more) if json else emit("\n".join([as_text(answer), *_shown(more)]))
    if num_refused:
        raise typer.Exit(ExitCode.ERROR)


def _prior(model: Model, answering: Answering, template: PromptTemplate | None) -> Prior | None:
    """What the fusion counts on beside resemblance: entries that are merely familiar, made less so."""
    from adtrie.catalogue import Prior

    fusion = answering.seeds.fusion if answering.seeds else None
    if fusion is None or fusion.alpha == 0:
        return None
    with progress("scoring entries without a query") as advance:
        unconditional = model.unconditional(answering.catalogue, template, advance)
    return Prior.from_unconditional(unconditional, fusion.alpha)


def filter_of(where: str | None, block: list[str] | None, taxonomy: Path | None) -> str | None:
    """One filter of --where and --block. Raises InputError for a block that is not ATTRIBUTE=CODE,CODE."""
    from adtrie.catalogue.filter_syntax import parse
    from adtrie.catalogue.taxonomy import Taxonomy, blocking

    if not block:
        return where
    known = None if taxonomy is None else Taxonomy.read(taxonomy)
    if where is not None:
        parse(where)  # alone: a position in it must not be one in the whole
    parts = [] if where is None else [f"({where})"]
    for one in block:
        attribute, sign, codes = one.partition("=")
        if not sign or not attribute.strip():
            raise InputError(f"--block: expected ATTRIBUTE=CODE,CODE, got {one[:60]!r}")
        wanted = [code.strip() for code in codes.split(",") if code.strip()]
        parts.append(blocking(attribute.strip(), wanted, known))
    return " and ".join(parts) or None


def filters_of(
    catalogue: Catalogue, where: str | None, allow_ids: Path | None, deny_ids: Path | None
) -> dict[str, Selection]:
    """What each of the options leaves on its own."""
    filters = {}
    if where is not None:
        filters[f"--where {where!r}"] = catalogue.select(where)
    if allow_ids is not None:
        filters["--allow-ids"] = catalogue.select(allow_ids=read_lines("--allow-ids", allow_ids))
    if deny_ids is not None:
        filters["--deny-ids"] = catalogue.select(deny_ids=read_lines("--deny-ids", deny_ids))
    return filters


def _explained(
    lines: Iterable[queries.QueryLine],
    model: Model,
    answering: Answering,
    options: TargetOptions,
    template: PromptTemplate | None,
    whole: bool,
    entry_id: str | None,
    filters: Mapping[str, Selection],
) -> Iterator[tuple[queries.QueryLine, Hits | AdtrieError, dict[str, Any]]]:
    """Each line with its answer or error, and what is told of it."""
    from adtrie.explain import explain, why

    for line in lines:
        try:
            text = queries.text_of(line)
            answering.refresh()
            asked = (model, text, answering.catalogue, options, template)
            said = explain(*asked, selection=answering.selection, seeds=answering.seeds)
            more: dict[str, Any] = {"explanation": said.as_json()} if whole else {}
            yield line, said.hits, more if entry_id is None else more | {"why": why(said, entry_id, filters)}
        except (InputError, CapacityError) as error:
            yield line, error, {}


def _shown(more: Mapping[str, Any]) -> list[str]:
    lines = [explanation.as_text(more["explanation"])] if "explanation" in more else []
    return [*lines, explanation.why_as_text(more["why"])] if "why" in more else lines


def as_json(hits: Hits) -> dict[str, object]:
    """One answer as the documented object; `ids` is there only for an entry that has several."""
    results = [
        {"id": hit.id, "text": hit.text, "score": hit.score} | ({"ids": hit.ids} if len(hit.ids) > 1 else {})
        for hit in hits
    ]
    return {
        "query": hits.query,
        "results": results,
        "forwards": hits.forwards,
        "rows": hits.rows,
        "gap": hits.gap,
        "ms": round(hits.ms, 3),
    }


def as_text(hits: Hits) -> str:
    """One answer for people: the query, one line per entry, one line of cost."""
    lines = [hits.query]
    lines += [
        f"{rank:4d}  {hit.score:9.3f}  {hit.text}  [{hit.id}]" for rank, hit in enumerate(hits, start=1)
    ]
    gap = "proven" if hits.gap == 0 else f"gap {hits.gap:.3f}" if math.isfinite(hits.gap) else "not proven"
    lines.append(f"      {hits.ms:.1f} ms, {hits.forwards} forwards, {hits.rows} rows, {gap}")
    return printable("\n".join(lines))


def _refuse(line: queries.QueryLine, reason: str, json: bool) -> None:
    warn(f"query {line.number}: {reason}")
    if json:
        emit_json({"query": line.text, "line": line.number, "error": reason})
