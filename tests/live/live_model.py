"""What a live catalogue should hold, as a plain dictionary; and what a version of one does hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from byte_tokenizer import ByteTokenizer

from adtrie.catalogue import Catalogue, Selection
from adtrie.live import Version

TOKENIZER = ByteTokenizer(fold_case=True)  # two texts may have the same tokens
Row = dict[str, Any]
Key = tuple[str, str]  # id and folded text: tokens
Content = dict[str, list[tuple[str, float, dict[str, Any]]]]  # folded text -> id, bid, attributes of each row

FILTERS: dict[str, Callable[[Row], bool]] = {
    "c = x": lambda row: row.get("c") == "x",
    "not has c": lambda row: "c" not in row,
    "n > 2": lambda row: row.get("n", 0) > 2,
    "c = y or n < 2": lambda row: row.get("c") == "y" or row.get("n", 9) < 2,
}


class Model:
    """Rows by id and tokens in the order they came, and what is paused."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows: dict[Key, Row] = {}
        self.pauses: tuple[str, ...] = ()
        self.add(rows)

    def copy(self) -> Model:
        other = Model([])
        other.rows, other.pauses = dict(self.rows), self.pauses
        return other

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            key = (str(row["id"]), row["text"].lower())
            self.rows.pop(key, None)
            self.rows[key] = row

    def remove(self, ids: Iterable[str]) -> None:
        gone = set(ids)
        self.rows = {key: row for key, row in self.rows.items() if key[0] not in gone}

    def set_bid(self, ids: Iterable[str], bids: Iterable[float]) -> None:
        for one, bid in zip(ids, bids, strict=True):
            self.rows = {k: {**row, "bid": bid} if k[0] == one else row for k, row in self.rows.items()}

    def live(self) -> list[Row]:
        """The rows that may be returned."""
        return [row for row in self.rows.values() if not any(FILTERS[one](row) for one in self.pauses)]

    def content(self) -> Content:
        return content_of(self.live())


def content_of(rows: Iterable[Row]) -> Content:
    found: Content = {}
    for row in rows:
        attributes = {key: value for key, value in row.items() if key not in ("id", "text", "bid")}
        found.setdefault(row["text"].lower(), []).append((str(row["id"]), row.get("bid", 1.0), attributes))
    return found


def held(version: Version, selection: Selection | None = None) -> Content:
    """The content of a version, or of a selection of it, asked for entry by entry."""
    selection = version.everything if selection is None else selection
    found: Content = {}
    for entry in selection.entries.members().tolist():
        rows = [(row.id, row.bid, row.attributes) for row in version.rows(entry)]
        ids = version.ids(entry, selection)
        found[version.text(entry).lower()] = [row for row in rows if row[0] in ids]
        assert version.bid(entry) == max(row[1] for row in rows)
    assert len(selection) == len(found)
    return found


def rebuilt(rows: list[Row]) -> Catalogue:
    """The catalogue of rows, made anew."""
    return Catalogue.build(rows, TOKENIZER)
