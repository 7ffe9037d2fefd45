"""Pairs of query and label in a user's CSV file, with line numbers. Knows no model and no catalogue."""

from __future__ import annotations

import csv
from pathlib import Path

from adtrie.errors import InputError
from adtrie.evaluate.tasks import Pair

MAX_CSV_BYTES = 1 << 30


def read_pairs(path: Path, default_split: str) -> list[tuple[int, Pair]]:
    """(line, row) of a CSV file with the columns query and label, and split (train, dev, test) if it has one.

    A row with too few or too many fields is an empty pair of `default_split`, which is also that of all rows
    of a file without splits. Raises InputError for an unusable file.
    """
    rows: list[tuple[int, Pair]] = []
    line = 1
    try:
        if path.stat().st_size > MAX_CSV_BYTES or not path.is_file():
            raise InputError(f"--pairs: {path} is no regular file of at most {MAX_CSV_BYTES:,} bytes")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = next(reader, [])
            if not {"query", "label"} <= set(columns):
                raise InputError(
                    f"--pairs: {path} has the columns {', '.join(columns) or 'none'!r:.80}, expected query "
                    "and label (and split: train, dev or test, if you want your own)"
                )
            for fields in reader:
                line = reader.line_num
                if fields:
                    named = dict(zip(columns, fields, strict=False))
                    rows.append((line, _pair(named, len(fields) == len(columns), default_split)))
    except UnicodeDecodeError:
        raise InputError(f"--pairs: {path} is not UTF-8 after line {line}; re-save it as UTF-8") from None
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"--pairs: {path}, after line {line}: {error}") from None
    return rows


def query_key(query: str) -> str:
    """What makes two queries the same one: their text without case and with single spaces."""
    return " ".join(query.lower().split())


def _pair(fields: dict[str, str], whole: bool, default_split: str) -> Pair:
    if not whole:
        return Pair("", "", default_split)
    split = fields.get("split", default_split)
    if split not in ("train", "dev", "test"):
        raise ValueError(f"split is {split!r:.40}, expected train, dev or test")
    return Pair(fields["query"], fields["label"], split)
