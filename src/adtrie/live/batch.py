"""Changes on their way in: checked, tokenized and counted before anything is written. Knows no file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from sys import float_info
from typing import Any

from adtrie.catalogue import CatalogueInfo, Refusal
from adtrie.catalogue.build import Builder, BuildOptions
from adtrie.catalogue.columns import NO_VALUES
from adtrie.catalogue.filter_syntax import parse
from adtrie.catalogue.filters import rows_where
from adtrie.catalogue.rows import Row, rows_from_memory
from adtrie.catalogue.selection import check_ids
from adtrie.catalogue.spelling import BatchTokenizer
from adtrie.errors import InputError, shown
from adtrie.live.changes import Add, Change, NewRow, Pause, Remove, Resume, SetBid
from adtrie.live.version import Version

MAX_TOKENS = 64  # of an added entry, unless the catalogue has longer ones


@dataclass(frozen=True)
class Applied:
    """What a call changed, counted in rows, and the version that has it.

    replaced: rows added in place of one with the same id and tokens; paused, resumed: filters. unknown: ids
    that no present row had and filters that were not paused; these change nothing. refused: rows that cannot
    be entries, the first 1000.
    """

    version: int
    added: int = 0
    replaced: int = 0
    removed: int = 0
    bids: int = 0
    paused: int = 0
    resumed: int = 0
    unknown: int = 0
    refused: tuple[Refusal, ...] = ()


class Batch:
    """Changes to be made together, in order, as one version: all of them or none."""

    def __init__(self, version: Version, tokenizer: BatchTokenizer | None) -> None:
        self._version, self._tokenizer = version, tokenizer
        self.changes: list[Change] = []
        self.refused: list[Refusal] = []

    def add(self, rows: Iterable[Any]) -> None:
        """Rows as `Catalogue.build` takes them, or read by a `RowFile`; refused ones are listed.

        A row with the id and tokens of a present one replaces it. Raises InputError without a tokenizer.
        """
        if isinstance(rows, str | bytes | dict):
            raise InputError(
                "add: rows is one string or mapping, expected a list of rows; put it into a list"
            )
        if self._tokenizer is None:
            raise InputError("add: open the catalogue with its model or tokenizer to add rows")
        taken, refused = accept(rows, self._tokenizer, self._version.info)
        self.refused += refused
        if taken:
            self.changes.append(Add(taken))

    def remove(self, ids: Iterable[str | int]) -> None:
        """All rows with these ids."""
        distinct = check_ids("remove", ids)
        if distinct:
            self.changes.append(Remove(tuple(sorted(distinct))))

    def set_bid(self, ids: Sequence[str | int], bids: Sequence[float]) -> None:
        """All rows with ids[i] bid bids[i]. Raises InputError for a bid that is not finite and positive."""
        names = [one for name in ids for one in check_ids("set_bid", [name])]
        if len(names) != len(bids):
            raise InputError(f"set_bid: {len(names)} ids and {len(bids)} bids, expected one bid per id")
        for bid in bids:
            if isinstance(bid, bool) or not isinstance(bid, int | float) or not 0 < bid <= float_info.max:
                raise InputError(f"set_bid: expected finite positive bids, got {shown(bid)}")
        if names:
            self.changes.append(SetBid(tuple(names), tuple(float(bid) for bid in bids)))

    def pause(self, where: str) -> None:
        """Rows that pass the filter, also later ones. Raises InputError as `Catalogue.select` does."""
        found, version = parse(where), self._version
        names = {*version.state.base.selector.columns, *version.added_columns}
        rows_where(found, dict.fromkeys(names, NO_VALUES), 1)
        self.changes.append(Pause(where))

    def resume(self, where: str) -> None:
        """Ends the pause of this very filter."""
        if not isinstance(where, str):
            raise InputError(f"resume: expected a filter as text, got {type(where).__name__}")
        self.changes.append(Resume(where))


def accept(
    rows: Iterable[Any], tokenizer: BatchTokenizer, info: CatalogueInfo
) -> tuple[tuple[NewRow, ...], tuple[Refusal, ...]]:
    """Rows as entries of a catalogue built like `info`, and the first of those that cannot be."""
    options = BuildOptions(info.prefix, info.end, max_tokens=max(MAX_TOKENS, info.max_depth))
    builder = Builder(tokenizer, options)
    items = list(rows)
    read = bool(items) and all(isinstance(item, Row | Refusal) for item in items)
    builder.add_all(items if read else rows_from_memory(items))
    taken = tuple(
        NewRow(row.id, row.text, row.attributes, row.bid, tuple(row.tokens.tolist()))
        for row in builder.accepted()
    )
    return taken, builder.refused
