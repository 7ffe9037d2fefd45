"""Strict JSON from bytes of unknown origin: no duplicate keys, no NaN literals, no endless nesting.

Knows nothing of what the document means.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import Any, NoReturn

from adtrie.errors import FormatError

MAX_DEPTH = 64
_NESTING = frozenset((dict, list))


def parse_json_object(data: bytes, where: str) -> dict[str, Any]:
    """The top-level object of UTF-8 `data`; FormatError starting with `where` for anything else."""

    def refuse(message: str) -> NoReturn:
        raise FormatError(f"{where}: {message}; the file is damaged, fetch it again")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            seen: set[str] = set()
            refuse(f"key {next(k for k, _ in pairs if k in seen or seen.add(k))!r} occurs twice")  # type: ignore[func-returns-value]
        return entries

    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except UnicodeDecodeError:
        refuse("expected UTF-8 text")
    except RecursionError:
        refuse("JSON is nested too deeply")
    except ValueError as error:  # JSONDecodeError, and integers of thousands of digits
        refuse(f"not valid JSON ({error})")
    if not isinstance(document, dict):
        refuse(f"expected a JSON object, got {type(document).__name__}")
    if not _within_depth(document, MAX_DEPTH):
        refuse(f"JSON is nested deeper than {MAX_DEPTH}")
    return document


def _within_depth(node: Any, depth: int) -> bool:
    level = [node]  # all nodes at one depth: a level at a time is faster than a call for each
    while level and depth > 0:
        children = chain.from_iterable([node.values() if type(node) is dict else node for node in level])
        level = [child for child in children if type(child) in _NESTING]
        depth -= 1
    return not level
