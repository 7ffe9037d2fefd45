"""Streaming readers of row files: .txt, .csv, .jsonl (each also .gz) and .parquet. Knows no tokenizer.

A damaged row becomes a Refusal with its line number; only a file that cannot be read at all raises.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from adtrie.catalogue.rows import Refusal, Row, row_from_fields
from adtrie.errors import CatalogueError

MAX_LINE_BYTES = 1 << 20
_FORMATS = ".txt, .csv, .jsonl, .txt.gz, .csv.gz, .jsonl.gz, .parquet"


class RowFile:
    """Iterates Row | Refusal of one file; `estimated_rows(done)` extrapolates from the bytes read so far."""

    def __init__(self, path: str | Path) -> None:
        """Raises CatalogueError when the file is missing, empty or of no known format."""
        self.path = Path(path)
        self._suffix = self.path.suffix.lower()
        self._compressed = self._suffix == ".gz"
        if self._compressed:
            self._suffix = Path(self.path.stem).suffix.lower()
        if self._suffix not in (".txt", ".csv", ".jsonl", ".parquet") or (
            self._compressed and self._suffix == ".parquet"
        ):
            raise CatalogueError(f"{self.path}: unknown kind of file, expected one of {_FORMATS}")
        try:
            status = os.stat(self.path)
            if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
                raise CatalogueError(f"{self.path}: cannot read: not a regular file; give the path of a file")
            self._size = status.st_size
            with open(self.path, "rb"):
                pass
        except OSError as error:
            raise CatalogueError(f"{self.path}: cannot read: {error.strerror}; check the path") from None
        if not self._size:
            raise CatalogueError(f"{self.path}: the file is empty, expected at least one row")
        self._raw: IO[bytes] | None = None
        self._num_rows: int | None = None

    def estimated_rows(self, done: int) -> int:
        """Rows the file will have in total, estimated after `done` rows; 0 when nothing is known yet."""
        if self._num_rows is not None:
            return self._num_rows
        position = self._raw.tell() if self._raw is not None and not self._raw.closed else self._size
        return max(done, round(done * self._size / position)) if position else 0

    def __iter__(self) -> Iterator[Row | Refusal]:
        if self._suffix == ".parquet":
            yield from self._parquet()
            return
        parse: dict[str, Callable[[_Lines], Iterator[Row | Refusal]]] = {
            ".txt": _text_rows,
            ".csv": _csv_rows,
            ".jsonl": _json_rows,
        }
        with open(self.path, "rb") as raw:
            self._raw = raw
            stream: IO[bytes] = gzip.GzipFile(fileobj=raw) if self._compressed else raw  # type: ignore[assignment]
            lines = _Lines(stream, str(self.path))
            try:
                yield from parse[self._suffix](lines)
            except (OSError, EOFError, zlib.error) as error:
                raise CatalogueError(
                    f"{self.path}: cannot read past line {lines.number}: {error}; copy the file again"
                ) from None

    def _parquet(self) -> Iterator[Row | Refusal]:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise CatalogueError(
                f"{self.path}: .parquet needs pyarrow; run `pip install adtrie[parquet]`"
            ) from None
        try:
            with pq.ParquetFile(self.path) as file:
                names = _check_header(file.schema_arrow.names, str(self.path))
                self._num_rows = file.metadata.num_rows
                line = 0
                for batch in file.iter_batches(batch_size=16384):
                    columns = [_column(pa, batch.column(i)) for i in range(batch.num_columns)]
                    for values in zip(*columns, strict=True):
                        line += 1
                        yield _row_from_parquet(line, names, values)
        except (pa.ArrowException, OSError, OverflowError, ValueError) as error:
            raise CatalogueError(f"{self.path}: damaged parquet file: {str(error)[:200]}") from None


class _Lines:
    """Physical lines of a binary stream with their numbers, without line ends, decoded or refused."""

    def __init__(self, stream: IO[bytes], where: str) -> None:
        self.stream = stream
        self.where = where
        self.number = 0

    def __iter__(self) -> Iterator[tuple[int, str | Refusal]]:
        while raw := self.stream.readline(MAX_LINE_BYTES + 1):
            self.number += 1
            if self.number == 1:
                raw = self._without_mark(raw)
            if len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n"):
                while (more := self.stream.readline(MAX_LINE_BYTES)) and not more.endswith(b"\n"):
                    pass
                yield self.number, Refusal(self.number, f"line of more than {MAX_LINE_BYTES} bytes")
                continue
            try:
                yield self.number, raw.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                yield self.number, Refusal(self.number, f"not UTF-8 at byte {error.start + 1} of the line")

    def _without_mark(self, raw: bytes) -> bytes:
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise CatalogueError(
                f"{self.where}: the file is UTF-16, expected UTF-8; convert it, e.g. with iconv"
            )
        return raw.removeprefix(b"\xef\xbb\xbf")


def _text_rows(lines: _Lines) -> Iterator[Row | Refusal]:
    for number, line in lines:
        yield Row(number, line) if isinstance(line, str) else line


def _json_rows(lines: _Lines) -> Iterator[Row | Refusal]:
    for number, line in lines:
        if not isinstance(line, str):
            yield line
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = "empty line" if not line.strip() else f"not JSON: {str(error)[:80]}"
            yield Refusal(number, reason)
            continue
        if isinstance(record, dict):
            yield row_from_fields(number, record)
        else:
            yield Refusal(number, f"{type(record).__name__} instead of a JSON object with 'text'")


def _csv_rows(lines: _Lines) -> Iterator[Row | Refusal]:
    """Comma-separated, double quotes, a header; a quoted field may span lines (the first one counts)."""
    unreadable: list[Refusal] = []
    first = 0  # line the record in progress began at; 0 between records

    def feed() -> Iterator[str]:
        nonlocal first
        for number, line in lines:
            if isinstance(line, str):
                first = first or number
                yield line + "\n"
            else:
                unreadable.append(line)

    reader = csv.reader(feed(), strict=True)
    names: list[str] | None = None
    while True:
        first = 0
        try:
            record = next(reader, None)
            result = None
        except csv.Error as error:
            record, result = [], Refusal(first, f"not CSV (to line {lines.number}): {error}")
        if names is None and (result is not None or unreadable):
            reason = unreadable[0].reason if unreadable else result.reason if result else ""
            raise CatalogueError(f"{lines.where}: unreadable header: {reason}")
        yield from unreadable
        unreadable.clear()
        if record is None:
            if names is None:
                raise CatalogueError(f"{lines.where}: no header line, expected columns text[,id,bid,...]")
            return
        if names is None:
            names = _check_header(record, lines.where)
        else:
            yield result or _row_from_record(first, names, record)


def _row_from_record(line: int, names: list[str], record: list[str]) -> Row | Refusal:
    if not record:
        return Refusal(line, "empty line")
    if len(record) != len(names):
        return Refusal(line, f"{len(record)} fields, the header has {len(names)}")
    return row_from_fields(line, {k: v for k, v in zip(names, record, strict=True) if v or k == "text"})


def _check_header(columns: list[str], where: str) -> list[str]:
    names = [column.strip() for column in columns]
    names = [name.lower() if name.lower() in ("id", "text", "bid") else name for name in names]
    if "text" not in names:
        shown = ", ".join(repr(name[:40]) for name in names[:10])
        raise CatalogueError(
            f"{where}: no column 'text' among {shown}; name the column with the keywords 'text'"
        )
    if len(set(names)) != len(names):
        raise CatalogueError(f"{where}: a column name appears twice; rename one of {names[:10]}")
    return names


def _column(pa: Any, column: Any) -> list[Any]:
    """Values of a column, strings as bytes so that text that is not UTF-8 is refused row by row."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = column.cast(pa.large_binary())
    return list(column.to_pylist())


def _row_from_parquet(line: int, names: list[str], values: tuple[Any, ...]) -> Row | Refusal:
    try:
        fields = {
            name: value.decode("utf-8") if isinstance(value, bytes) else value
            for name, value in zip(names, values, strict=True)
            if value is not None
        }
    except UnicodeDecodeError:
        return Refusal(line, "not UTF-8")
    return row_from_fields(line, fields)
