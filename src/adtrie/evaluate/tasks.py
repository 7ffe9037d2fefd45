"""The quality tasks that ship with adtrie: a keyword list and query rows with their label and split.

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
from importlib.resources import files

from adtrie.errors import FormatError, InputError

TASK_NAMES = ("pricerunner",)
_COLUMNS = ("query", "label", "category", "split")
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

    The labels of `cold_dev` and `cold_test` rows occur in no other split.
    """

    name: str
    keywords: list[str]
    rows: tuple[Pair, ...]

    @property
    def titles(self) -> list[str]:
        """Readable text of each keyword, in their order: here the keywords themselves."""
        return self.keywords

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
    keywords = _packaged_text(name, "keywords.txt.gz").splitlines()
    known = set(keywords)
    return Task(
        name, keywords, tuple(_read_rows(f"{name}/rows.csv.gz", _packaged_text(name, "rows.csv.gz"), known))
    )


def _read_rows(name: str, text: str, known: set[str]) -> Iterator[Pair]:
    """The rows of a CSV file with the columns _COLUMNS, whose labels are in `known`."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for fields in reader:
            if reader.line_num == 1 and tuple(fields) == _COLUMNS:
                continue
            query, label, split = fields[0], fields[1], fields[3]
            if label not in known or split not in SPLITS:
                raise ValueError(f"label {label!r} or split {split!r} is unknown")
            yield Pair(query, label, split)
    except (csv.Error, IndexError, ValueError) as error:
        raise FormatError(f"{name} line {reader.line_num}: {error}; reinstall adtrie") from error
