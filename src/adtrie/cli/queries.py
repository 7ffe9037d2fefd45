"""Queries of the command line: arguments, or standard input one per line with bounded memory.

Knows nothing of models; a line that is no query becomes an error for that line only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from adtrie.cli.terminal import note
from adtrie.errors import InputError
from adtrie.prompt import MAX_QUERY_CHARS

MAX_LINE_BYTES = 4 * MAX_QUERY_CHARS + 8  # the longest UTF-8 of a query, a byte order mark, a line end


@dataclass(frozen=True)
class QueryLine:
    """One query with its place in the input (1-based); `error` says why the line is no query."""

    number: int
    text: str
    error: str | None = None


def text_of(line: QueryLine) -> str:
    """The query of a line; InputError if it is none."""
    if line.error:
        raise InputError(line.error)
    return line.text


def lines(arguments: list[str] | None, what: str) -> Iterator[QueryLine]:
    """The arguments; without any, the lines of standard input, asked for on a terminal."""
    if arguments:
        return from_arguments(arguments)
    if sys.stdin.isatty():
        note(f"Type {what}, one per line; Ctrl-D ends.")
    return from_stream(sys.stdin.buffer)


def from_arguments(queries: Iterable[str]) -> Iterator[QueryLine]:
    """Queries given as arguments, in order; read as UTF-8 whatever the locale."""
    for number, text in enumerate(queries, start=1):
        try:
            yield QueryLine(number, text) if text.isascii() else _decoded(number, os.fsencode(text))
        except UnicodeEncodeError:  # a surrogate that no byte stands for
            yield QueryLine(number, text)


def from_stream(stream: BinaryIO) -> Iterator[QueryLine]:
    """One query per line; holds at most MAX_LINE_BYTES of a line, so an endless line costs no memory."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES):
        number += 1
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            _skip_rest(stream)
            error = f"longer than {MAX_QUERY_CHARS} characters; shorten the query"
            yield QueryLine(number, line[:40].decode("utf-8", "replace"), error)
        else:
            yield _decoded(number, line)


def _decoded(number: int, line: bytes) -> QueryLine:
    try:
        text = line.rstrip(b"\r\n").decode("utf-8")
    except UnicodeDecodeError as error:
        shown = line.rstrip(b"\r\n")[:200].decode("utf-8", "replace")
        return QueryLine(number, shown, f"not UTF-8 at byte {error.start}; re-encode the input as UTF-8")
    return QueryLine(number, text.removeprefix("\ufeff") if number == 1 else text)


def _skip_rest(stream: BinaryIO) -> None:
    while (piece := stream.readline(1 << 16)) and not piece.endswith(b"\n"):
        pass
