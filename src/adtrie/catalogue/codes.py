"""Codes of rows: short sequences of small numbers, given as numbers, digits or paths. Knows no tokens.

docs/decisions/0020-semantic-ids.md says what a code is good for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.sequences import Int64
from adtrie.errors import CatalogueError, InputError

MAX_CODE_LEN = 64
MAX_ELEMENT = (1 << 20) - 1
MAX_VALUE_CHARS = 2000
Element = int | str


@dataclass(frozen=True, eq=False)
class CodeTable:
    """The code of row i is elements[offsets[i]:offsets[i+1]]; a row whose code is empty has none.

    elements int32[E] >= 0, offsets int64[N+1]. `sizes`: one more than the highest element of each level.
    `origin` says where the codes come from; `reasons` why a row has none.
    """

    elements: NDArray[np.int32]
    offsets: Int64
    sizes: tuple[int, ...]
    origin: str
    reasons: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def fixed_len(self) -> int | None:
        """The length of all codes, None when they differ."""
        lengths = np.diff(self.offsets)
        return int(lengths[0]) if lengths.size and bool((lengths == lengths[0]).all()) else None

    def of(self, row: int) -> tuple[int, ...]:
        """The code of a row."""
        return tuple(self.elements[self.offsets[row] : self.offsets[row + 1]].tolist())

    @classmethod
    def of_matrix(cls, codes: Any, origin: str) -> CodeTable:
        """The table of codes int[N, L]. Raises InputError for another shape or a number out of range."""
        found = np.asarray(codes)
        if found.ndim != 2 or found.dtype.kind not in "iu" or not 1 <= found.shape[1] <= MAX_CODE_LEN:
            raise InputError(
                f"codes: expected integers in N rows of 1 to {MAX_CODE_LEN}, got {found.dtype} of shape "
                f"{found.shape}"
            )
        if found.size and (int(found.min()) < 0 or int(found.max()) > MAX_ELEMENT):
            raise InputError(
                f"codes: expected numbers from 0 to {MAX_ELEMENT}, got {found.min()} to {found.max()}"
            )
        num_rows, length = found.shape
        sizes = tuple(int(top) + 1 for top in found.max(axis=0, initial=0))
        elements = np.ascontiguousarray(found, np.int32).ravel()
        return cls(elements, np.arange(num_rows + 1, dtype=np.int64) * length, sizes, origin)

    @classmethod
    def of_values(cls, values: Iterable[Any], origin: str, separator: str | None = None) -> CodeTable:
        """The table of one value per row: a list of numbers or names, or text split at `separator`.

        Without a separator each character of a text is an element. If all elements are numbers they are
        taken as they are, else each is numbered among its siblings, in the order of their names.
        """
        paths: list[tuple[str, ...]] = []
        reasons: dict[int, str] = {}
        for row, value in enumerate(values):
            try:
                paths.append(_path(value, separator))
            except CatalogueError as error:
                paths.append(())
                reasons[row] = str(error)
        numbered = _as_numbers(paths) or _among_siblings(paths)
        lengths = np.fromiter(map(len, numbered), np.int64, len(numbered))
        flat = np.fromiter((one for code in numbered for one in code), np.int32, int(lengths.sum()))
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
        level = np.arange(flat.size) - offsets[:-1].repeat(lengths)
        sizes = np.zeros(int(lengths.max(initial=0)), np.int64)
        np.maximum.at(sizes, level, flat + 1)
        return cls(flat, offsets, tuple(sizes.tolist()), origin, reasons)


def _path(value: Any, separator: str | None) -> tuple[str, ...]:
    """The elements of one value as texts. Raises CatalogueError with the reason to refuse the row."""
    if isinstance(value, bool) or not isinstance(value, str | int | Sequence) or isinstance(value, bytes):
        kind = "missing" if value is None else type(value).__name__
        raise CatalogueError(f"code is {kind}, expected a text, an integer or a list of either")
    if isinstance(value, int):
        value = _decimal(value)
    if isinstance(value, str):
        if len(value) > MAX_VALUE_CHARS:
            raise CatalogueError(f"code of {len(value)} characters, expected at most {MAX_VALUE_CHARS}")
        value = value.strip().split(separator) if separator else list(value.strip())
    if not 1 <= len(value) <= MAX_CODE_LEN:
        raise CatalogueError(f"code of {len(value)} elements, expected 1 to {MAX_CODE_LEN}")
    return tuple(_element(one) for one in value)


def _element(one: Any) -> str:
    if isinstance(one, bool) or not isinstance(one, str | int):
        raise CatalogueError(f"code element is {type(one).__name__}, expected a text or an integer")
    text = one.strip() if isinstance(one, str) else _decimal(one)
    if not text or len(text) > MAX_VALUE_CHARS:
        raise CatalogueError(f"code element of {len(text)} characters, expected 1 to {MAX_VALUE_CHARS}")
    return text


def _decimal(number: int) -> str:
    if not 0 <= number < 1 << 256:
        raise CatalogueError("code is a negative or huge integer; write it as a text")
    return str(number)


def _as_numbers(paths: Sequence[tuple[str, ...]]) -> list[tuple[int, ...]] | None:
    """The elements as the numbers they are, None if one is no number from 0 to MAX_ELEMENT."""
    known: dict[str, int] = {}
    for path in paths:
        for text in path:
            if text not in known:
                if not (text.isascii() and text.isdecimal()) or len(text) > 7 or int(text) > MAX_ELEMENT:
                    return None
                if len(text) > 1 and text[0] == "0":  # "07" and "7" may be two categories
                    return None
                known[text] = int(text)
    return [tuple(known[text] for text in path) for path in paths]


def _among_siblings(paths: Sequence[tuple[str, ...]]) -> list[tuple[int, ...]]:
    """Each element as its place among the children of the path before it, by name."""
    below: dict[tuple[str, ...], set[str]] = {}
    for path in set(paths):
        for depth, text in enumerate(path):
            below.setdefault(path[:depth], set()).add(text)
    place = {
        (*above, text): number for above, names in below.items() for number, text in enumerate(sorted(names))
    }
    return [tuple(place[path[: depth + 1]] for depth in range(len(path))) for path in paths]
