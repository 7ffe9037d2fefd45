"""`adtrie index`: rows of a file become a catalogue snapshot."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adtrie.cli.coding import CodeOptions
from adtrie.cli.download import announce
from adtrie.cli.options import JsonOption, ModelOption
from adtrie.cli.terminal import emit, emit_json, guarded, note, progress, warn
from adtrie.errors import InputError

if TYPE_CHECKING:
    from adtrie.catalogue import BuildReport

NAME = "index"
EXAMPLE = "Example: adtrie index products.csv products.cat -m smollm2-135m"
MAX_SHOWN = 20


@guarded
def command(
    rows: Annotated[
        Path, typer.Argument(help=".txt, .csv, .jsonl or .parquet with id, text, bid, attributes.")
    ],
    out: Annotated[Path, typer.Argument(help="Snapshot to write; replaced in one step when complete.")],
    model: ModelOption,
    prefix: Annotated[str, typer.Option(help="Text in front of every entry when it is tokenized.")] = " ",
    end: Annotated[
        str, typer.Option(help="Text of the one token that ends an entry; \\n is a line end.")
    ] = "\\n",
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest entry in tokens, the end included.")] = 64,
    codes: Annotated[
        str | None,
        typer.Option(
            help="Entries are codes: kmeans:256,16,16 (clusters, parts per level), column:NAME, or FILE.npy."
        ),
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(help=".npy, a vector per row, for kmeans; default: the model's mean hidden states."),
    ] = None,
    code_separator: Annotated[
        str | None, typer.Option(help="Between the elements of a code; default: each character is one.")
    ] = None,
    code_tokens: Annotated[
        str,
        typer.Option(
            help="digits: as text, can be tuned; unused: the model's reserved tokens; FIRST:END: these ids."
        ),
    ] = "digits",
    text_tail: Annotated[
        bool, typer.Option("--text-tail", help="The text's tokens follow the code: one entry per text.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of kmeans.")] = 0,
    json: JsonOption = False,
) -> None:
    """Build a catalogue for the tokenizer of a model and write its snapshot.

    Entries with the same text become one entry with several ids. A row that cannot be an entry is reported
    with its line number and counted; the other rows are indexed and the exit code stays 0.

    With --codes an entry is the code of its rows, and several rows may have one. A model must be tuned on
    codes before it can name them; with --text-tail the text follows, so that the code is only the way to it.
    """
    from adtrie.catalogue import Catalogue
    from adtrie.models import open_checkpoint

    if out.is_dir():
        raise InputError(f"OUT: {out} is a directory; name a file in it")
    asked = CodeOptions.parse(codes, code_separator, embeddings, code_tokens, text_tail, seed)
    announce(model)
    started = time.perf_counter()
    with open_checkpoint(model) as checkpoint:
        coding = asked.coding(rows, model, checkpoint) if asked is not None else None
        with progress(f"indexing {rows.name}") as advance:
            catalogue = Catalogue.build_from_file(
                rows,
                checkpoint.tokenizer,
                prefix=_unescaped(prefix),
                end=_unescaped(end),
                max_tokens=max_tokens,
                coding=coding,
                progress=advance,
            )
    catalogue.save(out)
    seconds = time.perf_counter() - started
    report = catalogue.report
    if json:
        emit_json(as_json(out, catalogue.num_entries, seconds, report))
    else:
        _show(report)
        emit(f"{out}: {catalogue.num_entries:,} entries, {out.stat().st_size:,} bytes, {seconds:.1f} s")


def as_json(out: Path, num_entries: int, seconds: float, report: BuildReport) -> dict[str, object]:
    """What was written, and what was merged or refused: all counted, the first 1,000 of each listed."""
    return {
        "out": str(out),
        "entries": num_entries,
        "bytes": out.stat().st_size,
        "seconds": round(seconds, 3),
        "rows": report.num_rows,
        "num_merged": report.num_merged,
        "num_refused": report.num_refused,
        "merged": [asdict(merge) for merge in report.merged],
        "refused": [{"line": row.line, "reason": row.reason} for row in report.refused],
    }


def _show(report: BuildReport) -> None:
    for row in report.refused[:MAX_SHOWN]:
        warn(f"line {row.line}: {row.reason}")
    if report.num_refused > MAX_SHOWN:
        warn(f"... and {report.num_refused - MAX_SHOWN:,} more refused rows (use --json to list them)")
    if report.num_merged or report.num_refused:
        note(f"{report.num_rows:,} rows: {report.num_merged:,} merged, {report.num_refused:,} refused")


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\t", "\t")
