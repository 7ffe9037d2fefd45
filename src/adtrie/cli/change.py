"""`adtrie change`: what a live catalogue holds is changed while others search it."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adtrie.cli.download import announce
from adtrie.cli.options import JsonOption
from adtrie.cli.terminal import emit, emit_json, guarded, note, printable, warn
from adtrie.cli.text_files import read_lines
from adtrie.errors import InputError

if TYPE_CHECKING:
    from adtrie.live import Applied, Batch, LiveCatalogue
    from adtrie.live.changes import LogEntry

NAME = "change"
EXAMPLE = (
    "Example: adtrie change shop.live --create products.cat; adtrie change shop.live --pause 'shop = a17'"
)
ROWS_AT_ONCE = 10_000  # rows of a version; a longer file makes several
MAX_SHOWN = 20


@guarded
def command(
    catalogue: Annotated[Path, typer.Argument(help="Folder of the live catalogue.")],
    create: Annotated[
        Path | None, typer.Option(help="Make the folder first, from a snapshot made by 'adtrie index'.")
    ] = None,
    rollback: Annotated[int | None, typer.Option(help="Go back to the content of this version.")] = None,
    add: Annotated[
        Path | None, typer.Option(help="Add rows of a .txt, .csv, .jsonl or .parquet file; needs --model.")
    ] = None,
    remove: Annotated[Path | None, typer.Option(help="Remove the rows with these ids, one a line.")] = None,
    set_bid: Annotated[Path | None, typer.Option(help="New bids: a .csv with columns id and bid.")] = None,
    pause: Annotated[
        list[str] | None, typer.Option(help="Return no rows that pass this filter, later ones included.")
    ] = None,
    resume: Annotated[list[str] | None, typer.Option(help="End the pause of this very filter.")] = None,
    compact: Annotated[bool, typer.Option("--compact", help="Write a new base from all changes.")] = False,
    log: Annotated[bool, typer.Option("--log", help="Print every change that the logs hold.")] = False,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model of the catalogue, whose tokenizer --add needs.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Change a live catalogue, in the order of the options above, and print its version.

    Everything but a long --add is one version. Searches with 'adtrie target --catalogue FOLDER' see it with
    their next query. An id that no row has is counted, not an error; a row that cannot be an entry is
    reported with its line. One process may change a catalogue at a time.
    """
    from adtrie.catalogue import Catalogue
    from adtrie.live import LiveCatalogue

    rest = _Rest.read(remove, set_bid, pause, resume)
    if create is not None:
        LiveCatalogue.create(catalogue, Catalogue.open(create))
    changing = any((add, remove, set_bid, pause, resume, compact)) or rollback is not None
    with LiveCatalogue.open(catalogue, _tokenizer(model, add), write=changing) as live:
        rest.check(live.batch())
        done = [live.rollback(rollback)] if rollback is not None else []
        last: list[Any] = []
        for some in _chunks(add):
            if last:
                done.append(live.add(last))
            last = some
        if last and rest.pause:  # on an attribute that only they have, perhaps
            done.append(live.add(last))
            last = []
        batch = live.batch()
        if last:
            batch.add(last)
        rest.fill(batch)
        if batch.changes or batch.refused:
            done.append(live.apply(batch))
        if compact:
            live.compact()
        entries = [_described(version, entry) for version, entry in live.changes()] if log else None
        _print(live, done, entries, json)


def _tokenizer(model: str | None, add: Path | None) -> Any:
    """The tokenizer for --add, None where none is needed."""
    from adtrie.models import open_checkpoint

    if add is None:
        return None
    if model is None:
        raise InputError("--add: rows are tokenized, name the model of the catalogue with --model")
    announce(model)
    with open_checkpoint(model) as checkpoint:
        return checkpoint.tokenizer


def _chunks(path: Path | None) -> Iterator[list[Any]]:
    """The rows of a file, up to ROWS_AT_ONCE at a time."""
    from adtrie.catalogue.row_files import RowFile

    rows = iter(()) if path is None else iter(RowFile(path))
    while some := list(islice(rows, ROWS_AT_ONCE)):
        yield some


@dataclass(frozen=True)
class _Rest:
    """The changes besides rows to add, read before any is made."""

    remove: list[str] | None
    bids: tuple[list[str], list[float]] | None
    pause: list[str]
    resume: list[str]

    @classmethod
    def read(
        cls, remove: Path | None, set_bid: Path | None, pause: list[str] | None, resume: list[str] | None
    ) -> _Rest:
        """From the files and filters given. Raises InputError for those that cannot be read."""
        removed = None if remove is None else read_lines("--remove", remove)
        return cls(removed, None if set_bid is None else read_bids(set_bid), pause or [], resume or [])

    def check(self, batch: Batch) -> None:
        """Raises InputError for what `fill` would, but for attributes, which rows to be added may bring."""
        from adtrie.catalogue.filter_syntax import parse

        replace(self, pause=[]).fill(batch)
        for where in self.pause:
            parse(where)

    def fill(self, batch: Batch) -> None:
        """Adds the changes to a batch."""
        if self.remove is not None:
            batch.remove(self.remove)
        if self.bids is not None:
            batch.set_bid(*self.bids)
        for where in self.pause:
            batch.pause(where)
        for where in self.resume:
            batch.resume(where)


def read_bids(path: Path) -> tuple[list[str], list[float]]:
    """Ids and bids of a .csv with these two columns. Raises InputError naming the line that is wrong."""
    ids, bids = list[str](), list[float]()
    lines = read_lines("--set-bid", path)
    records = csv.DictReader(lines)
    names = [name.strip().lower() for name in records.fieldnames or []]
    if sorted(names) != ["bid", "id"]:
        raise InputError(f"--set-bid: {path} has columns {names}, expected id and bid in its first line")
    records.fieldnames = names
    for record in records:
        try:
            ids.append(record["id"])
            bids.append(float(record["bid"]))
        except (TypeError, ValueError):
            raise InputError(
                f"--set-bid: {path}, line {records.line_num}: expected an id and a number"
            ) from None
    return ids, bids


def _described(version: int, entry: LogEntry) -> dict[str, object]:
    """A version for the log: when it was made and of what, rows and ids counted."""
    from adtrie.live.changes import Add, Remove, SetBid

    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry.at))
    made: list[str] = [] if entry.rollback is None else [f"rollback to {entry.rollback}"]
    for change in entry.changes:
        match change:
            case Add(rows):
                made.append(f"add {len(rows)} rows")
            case Remove(ids):
                made.append(f"remove {len(ids)} ids")
            case SetBid(ids):
                made.append(f"set {len(ids)} bids")
            case _:
                made.append(f"{type(change).__name__.lower()} {change.where}")
    return {"version": version, "at": at, "changes": made}


def _print(
    live: LiveCatalogue, done: list[Applied], entries: list[dict[str, object]] | None, json: bool
) -> None:
    version = live.snapshot()
    facts: dict[str, object] = {
        "catalogue": str(live.path),
        "version": version.number,
        "oldest_version": live.oldest,
        "entries": version.num_live,
        "pauses": list(version.pauses),
    }
    counts = {
        name: sum(getattr(one, name) for one in done)
        for name in ("added", "replaced", "removed", "bids", "paused", "resumed", "unknown")
    }
    refused = [row for one in done for row in one.refused]
    if json:
        log = {} if entries is None else {"log": entries}
        emit_json(facts | counts | {"refused": [_refused(row) for row in refused]} | log)
        return
    for row in refused[:MAX_SHOWN]:
        warn(f"line {row.line}: {row.reason}")
    if len(refused) > MAX_SHOWN:
        warn(f"... and {len(refused) - MAX_SHOWN:,} more refused rows (use --json to list them)")
    for entry in entries or []:
        changes = entry["changes"]
        emit(printable(f"{entry['version']:8}  {entry['at']}  {', '.join(changes)}"))  # type: ignore[arg-type]
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    if said:
        note(said)
    pauses = "".join(f"; paused: {where}" for where in version.pauses)
    emit(printable(f"{live.path}: version {version.number}, {version.num_live:,} entries{pauses}"))


def _refused(row: Any) -> dict[str, object]:
    """A refused row as the documented object."""
    return {"line": row.line, "reason": row.reason}
