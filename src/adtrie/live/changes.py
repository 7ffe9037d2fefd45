"""What can be changed of a live catalogue, and how a list of changes is written as one line of JSON.

Everything here has been checked and tokenized before: applying a change can be repeated years later, without
a tokenizer, and gives the same catalogue. Knows no file and no trie.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adtrie.errors import FormatError


@dataclass(frozen=True)
class NewRow:
    """A row to add. `attributes` is JSON text, empty without any; `tokens` end with the end token."""

    id: str
    text: str
    attributes: str
    bid: float
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Add:
    """Each row replaces the row of the same id and tokens, if there is one."""

    rows: tuple[NewRow, ...]


@dataclass(frozen=True)
class Remove:
    """All rows with one of the ids go."""

    ids: tuple[str, ...]


@dataclass(frozen=True)
class SetBid:
    """All rows with ids[i] bid bids[i] from now on."""

    ids: tuple[str, ...]
    bids: tuple[float, ...]


@dataclass(frozen=True)
class Pause:
    """Rows that pass the filter, also later ones, are not returned until it is resumed."""

    where: str


@dataclass(frozen=True)
class Resume:
    """Ends the pause of exactly this filter."""

    where: str


Change = Add | Remove | SetBid | Pause | Resume


def encode(changes: Sequence[Change], at: int) -> bytes:
    """UTF-8 JSON of changes made `at` seconds after 1970."""
    return json.dumps(
        {"at": at, "changes": [_fields(one) for one in changes]}, separators=(",", ":")
    ).encode()


def encode_rollback(target: int, at: int) -> bytes:
    """UTF-8 JSON of going back to the content of version `target`."""
    return json.dumps({"at": at, "rollback": target}, separators=(",", ":")).encode()


def _fields(change: Change) -> list[Any]:
    match change:
        case Add(rows):
            return ["add", [[row.id, row.text, row.attributes, row.bid, list(row.tokens)] for row in rows]]
        case Remove(ids):
            return ["remove", list(ids)]
        case SetBid(ids, bids):
            return ["bid", list(ids), list(bids)]
        case Pause(where):
            return ["pause", where]
        case Resume(where):
            return ["resume", where]


@dataclass(frozen=True)
class LogEntry:
    """One entry of the log: when (seconds after 1970), and either changes or the version gone back to."""

    at: int
    changes: tuple[Change, ...]
    rollback: int | None = None


def decode(payload: bytes, where: str) -> LogEntry:
    """The entry written in `payload`. Raises FormatError, naming `where`, when it is none."""
    try:
        found = json.loads(payload)
        at = found["at"]
        if type(at) is int and set(found) == {"at", "rollback"} and type(found["rollback"]) is int:
            return LogEntry(at, (), found["rollback"])
        if type(at) is int and set(found) == {"at", "changes"}:
            return LogEntry(at, tuple(_change(*fields) for fields in found["changes"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise FormatError(f"{where}: an entry that is no list of changes; written by another version of adtrie?")


def _change(kind: Any, *fields: Any) -> Change:
    match kind, *fields:
        case "add", list(rows):
            return Add(tuple(_row(*row) for row in rows))
        case "remove", list(ids):
            return Remove(_texts(ids))
        case "bid", list(ids), list(bids) if len(ids) == len(bids):
            return SetBid(_texts(ids), tuple(_bid(bid) for bid in bids))
        case "pause", str(where):
            return Pause(where)
        case "resume", str(where):
            return Resume(where)
    raise ValueError(kind)


def _row(name: Any, text: Any, attributes: Any, bid: Any, tokens: Any) -> NewRow:
    if not tokens or not all(type(token) is int and 0 <= token < 1 << 31 for token in tokens):
        raise ValueError(tokens)
    if attributes != "" and not isinstance(json.loads(attributes), dict):
        raise ValueError(attributes)
    name, text, attributes = _texts([name, text, attributes])
    return NewRow(name, text, attributes, _bid(bid), tuple(tokens))


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    if not all(type(value) is str for value in values):
        raise ValueError(values)
    return tuple(values)


def _bid(value: Any) -> float:
    bid = float(value)
    if not (math.isfinite(bid) and bid > 0):
        raise ValueError(value)
    return bid
