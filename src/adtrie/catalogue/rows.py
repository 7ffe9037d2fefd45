"""One row of a catalogue, from memory or from a parsed record. Knows no file format and no tokenizer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from adtrie.errors import CatalogueError, shown

MAX_ID_CHARS = 512
MAX_ATTRIBUTES_BYTES = 1 << 16
_OWN_KEYS = frozenset(("id", "text", "bid"))


class Row(NamedTuple):
    """A row as given: `line` counts from 1; `attributes` is JSON text, None without any."""

    line: int
    text: str
    id: str | None = None
    bid: float | None = None
    attributes: str | None = None


class Refusal(NamedTuple):
    """A row that was not taken, and why."""

    line: int
    reason: str


def row_from_fields(line: int, fields: Mapping[str, Any]) -> Row | Refusal:
    """The row of a record {"text", "id"?, "bid"?, other keys: attributes}, or the reason to refuse it."""
    try:
        text = fields.get("text")
        if not isinstance(text, str):
            raise CatalogueError(f"text is {_kind(text)}, expected a string")
        attributes = {str(key): value for key, value in fields.items() if key not in _OWN_KEYS}
        return Row(line, text, _id(fields.get("id")), _bid(fields.get("bid")), _attributes(attributes))
    except CatalogueError as error:
        return Refusal(line, str(error))


def rows_from_memory(items: Iterable[Any]) -> Iterator[Row | Refusal]:
    """Rows of str, (id, text) or mappings with text, id, bid, attributes; `line` is the position from 1."""
    for line, item in enumerate(items, start=1):
        if isinstance(item, str):
            yield Row(line, item)
        elif isinstance(item, Mapping):
            yield row_from_fields(line, item)
        elif isinstance(item, tuple | list) and len(item) == 2:
            yield row_from_fields(line, {"id": item[0], "text": item[1]})
        else:
            yield Refusal(
                line, f"row is {_kind(item)}, expected a string, (id, text) or a mapping with 'text'"
            )


def _kind(value: Any) -> str:
    return "missing" if value is None else type(value).__name__


def _id(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise CatalogueError(f"id is {_kind(value)}, expected a string or an integer")
    if isinstance(value, int) and value.bit_length() > 256:
        raise CatalogueError("id is an integer of more than 256 bits; write it as a string")
    text = str(value)
    if len(text) > MAX_ID_CHARS:
        raise CatalogueError(f"id has {len(text)} characters, expected at most {MAX_ID_CHARS}")
    _check_encodable(text, "id")
    return text


def _bid(value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        bid = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        bid = math.nan
    if not (math.isfinite(bid) and bid > 0):
        raise CatalogueError(f"bid {shown(value)} is not a finite positive number")
    return bid


def _attributes(values: dict[str, Any]) -> str | None:
    if not values:
        return None
    try:
        text = json.dumps(values, ensure_ascii=False, separators=(",", ":"), default=str)
    except (TypeError, ValueError, RecursionError) as error:
        raise CatalogueError(f"attributes cannot be written as JSON: {type(error).__name__}") from None
    _check_encodable(text, "attributes")
    if len(text) > MAX_ATTRIBUTES_BYTES:
        raise CatalogueError(
            f"attributes have {len(text)} characters, expected at most {MAX_ATTRIBUTES_BYTES}"
        )
    return text


def _check_encodable(text: str, what: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise CatalogueError(f"{what} contains a lone surrogate or bytes that are not UTF-8") from None
