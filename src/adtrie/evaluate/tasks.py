"""The quality tasks that ship with adtrie: a keyword list, and query rows with label and split.

Knows file formats and splits; no model, no metric. Sources and licences are in data/*/NOTICE.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

from adtrie.errors import FormatError, InputError

TASK_NAMES = ("pricerunner", "unspsc", "naics", "unspsc-codes", "naics-codes")
CODES = "-codes"  # the same rows, but what a model decodes is the code, not its title
_COLUMNS = ("query", "label", "category", "split")
_ENTRY_COLUMNS = ("code", "title", "path")
SPLITS = ("train", "dev", "test", "cold_dev", "cold_test")


@dataclass(frozen=True)
class Pair:
    """One query, the keyword it belongs to, and the split the row is in (one of SPLITS)."""

    query: str
    label: str
    split: str


@dataclass(frozen=True)
class Task:
    """A catalogue of distinct keywords and the rows that ask for them; every label is a keyword.

    `keywords` are what a model decodes: texts ("Drills") or codes ("23101502"). `titles[i]` is keyword i for
    people and `ids[i]` for machines; where there are no codes both are the keyword. The labels of `cold_dev`
    and `cold_test` rows occur in no other split.
    """

    name: str
    keywords: list[str]
    titles: list[str]
    ids: list[str]
    rows: tuple[Pair, ...]

    @cached_property
    def title_of(self) -> dict[str, str]:
        """keyword -> title."""
        return dict(zip(self.keywords, self.titles, strict=True))

    def title_rows(self, own: bool = False) -> list[Pair]:
        """(title, code) of every code, as rows of train: the user's catalogue is known before any query.

        With `own` also (text, text) of keywords that are texts. A title may be the very text of a row that
        is held out.
        """
        return [
            Pair(title, keyword, "train")
            for keyword, title in zip(self.keywords, self.titles, strict=True)
            if own or title != keyword
        ]

    def rows_of(self, split: str) -> list[Pair]:
        """All rows of `split` in file order (grouped by category). Raises InputError for an unknown split."""
        if split not in SPLITS:
            raise InputError(
                f"split {split!r} of task {self.name!r} is unknown; use one of {', '.join(SPLITS)}"
            )
        return [row for row in self.rows if row.split == split]

    def sample(self, split: str, num_rows: int) -> list[Pair]:
        """The `num_rows` rows of `split` with the smallest hash of their text: a fixed mix of all categories.

        A larger sample starts with the smaller one; fewer rows come back where the split has fewer.
        """
        if num_rows < 0:
            raise InputError(f"num_rows is {num_rows}; expected 0 or more")
        return sorted(self.rows_of(split), key=sample_order)[:num_rows]


def sample_order(row: Pair) -> bytes:
    """Sorting by this mixes rows in a way that depends on their text only."""
    return hashlib.sha256(f"sample\x1f{row.query}\x1f{row.label}".encode()).digest()


def _packaged_text(task: str, name: str) -> str:
    """Content of a gzipped UTF-8 file of the package data."""
    resource = files("adtrie") / "data" / task / name
    try:
        return gzip.decompress(resource.read_bytes()).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise FormatError(f"{resource}: unreadable ({error}); reinstall adtrie") from error


def load_task(name: str) -> Task:
    """The task called `name`, one of TASK_NAMES.

    Raises InputError for another name, FormatError if the packaged data is damaged.
    """
    if name not in TASK_NAMES:
        raise InputError(f"task {name!r} is unknown; use one of {', '.join(TASK_NAMES)}")
    folder = name.removesuffix(CODES)
    if folder == "pricerunner":
        keywords = _packaged_text(folder, "keywords.txt.gz").splitlines()
        title_of = dict(zip(keywords, keywords, strict=True))
    else:
        title_of = dict(_read_entries(f"{folder}/entries.csv.gz", _packaged_text(folder, "entries.csv.gz")))
        keywords = list(title_of if name.endswith(CODES) else title_of.values())
    rows = tuple(_read_rows(f"{folder}/rows.csv.gz", _packaged_text(folder, "rows.csv.gz"), set(title_of)))
    if not name.endswith(CODES):
        rows = tuple(Pair(row.query, title_of[row.label], row.split) for row in rows)
    return Task(name, keywords, list(title_of.values()), list(title_of), rows)


def _read_rows(name: str, text: str, known: set[str]) -> Iterator[Pair]:
    """The rows of a CSV file with the columns _COLUMNS, whose labels are in `known`."""
    for where, (query, label, _, split) in _read_table(name, text, _COLUMNS):
        if label not in known or split not in SPLITS:
            raise FormatError(f"{where}: label {label!r} or split {split!r} is unknown; reinstall adtrie")
        yield Pair(query, label, split)


def _read_entries(name: str, text: str) -> Iterator[tuple[str, str]]:
    """(code, title) of a CSV file with the columns _ENTRY_COLUMNS; no code twice."""
    known: set[str] = set()
    for where, (code, title, _) in _read_table(name, text, _ENTRY_COLUMNS):
        if code in known or not code or not title:
            raise FormatError(f"{where}: code {code!r} is repeated or has no title; reinstall adtrie")
        known.add(code)
        yield code, title


def _read_table(name: str, text: str, columns: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """(place, fields) of each row of a CSV file whose first line is `columns`."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for fields in reader:
            if len(fields) != len(columns) or (reader.line_num == 1) != (tuple(fields) == columns):
                raise ValueError(f"expected {len(columns)} fields: {', '.join(columns)}")
            if reader.line_num > 1:
                yield f"{name} line {reader.line_num}", fields
    except (csv.Error, ValueError) as error:
        raise FormatError(f"{name} line {reader.line_num}: {error}; reinstall adtrie") from error
