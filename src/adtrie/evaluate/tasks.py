"""The quality tasks that ship with adtrie: a keyword list or coded one, and query rows with label and split.

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

TASK_NAMES = ("pricerunner", "unspsc", "naics")
_CODED = ("unspsc", "naics")  # their keywords are codes with a title each
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

    `keywords` are what a model decodes: texts or codes ("23101502"). `titles[i]` is keyword i for people
    ("Drills"); where keywords are texts they are their own titles. The labels of `cold_dev` and `cold_test`
    rows occur in no other split.
    """

    name: str
    keywords: list[str]
    titles: list[str]
    rows: tuple[Pair, ...]

    @cached_property
    def title_of(self) -> dict[str, str]:
        """keyword -> title."""
        return dict(zip(self.keywords, self.titles, strict=True))

    def title_rows(self) -> list[Pair]:
        """(title, code) of every code, as rows of train: the user's catalogue is known before any query.

        None where keywords are texts. A title may be the very text of a row that is held out.
        """
        return [
            Pair(title, keyword, "train")
            for keyword, title in zip(self.keywords, self.titles, strict=True)
            if title != keyword
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
    if name in _CODED:
        entries = f"{name}/entries.csv.gz"
        pairs = list(_read_entries(entries, _packaged_text(name, "entries.csv.gz")))
        keywords, titles = [code for code, _ in pairs], [title for _, title in pairs]
    else:
        keywords = titles = _packaged_text(name, "keywords.txt.gz").splitlines()
    rows = _read_rows(f"{name}/rows.csv.gz", _packaged_text(name, "rows.csv.gz"), set(keywords))
    return Task(name, keywords, titles, tuple(rows))


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
