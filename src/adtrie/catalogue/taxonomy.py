"""Categories and the ones above them, for blocking a category with everything below it.

Codes of the IAB's content taxonomy 1.0 and OpenRTB's bcat (IAB25-3) name their parents themselves: a filter
with `under` needs no file. Later taxonomies number their categories; this reads the IAB's tables of those.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from adtrie.errors import CatalogueError, InputError

MAX_BYTES = 16 << 20
_IDS = ("unique id", "id", "code")
_PARENTS = ("parent", "parent id")


class Taxonomy:
    """`parents`: the code above each code, itself or empty for a top one."""

    def __init__(self, parents: dict[str, str]) -> None:
        self._children: dict[str, list[str]] = {}
        self._codes = set(parents)
        for code, parent in parents.items():
            if parent and parent != code:
                self._children.setdefault(parent, []).append(code)

    @classmethod
    def read(cls, path: str | Path) -> Taxonomy:
        """The taxonomy of a tab-separated table with columns "Unique ID" and "Parent" or "Parent ID".

        Lines before the header are skipped, as the IAB's files have some. Raises CatalogueError.
        """
        try:
            with open(path, "rb") as file:
                data = file.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                raise CatalogueError(f"{path}: above {MAX_BYTES} bytes, expected a taxonomy; check the path")
            lines = data.decode("utf-8-sig").splitlines()
        except OSError as error:
            raise CatalogueError(f"{path}: cannot read: {error.strerror}; check the path") from None
        except UnicodeDecodeError as error:
            raise CatalogueError(f"{path}: not UTF-8 at byte {error.start}; re-save it as UTF-8") from None
        parents: dict[str, str] = {}
        columns: tuple[int, int] | None = None
        for record in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            fields = [field.strip() for field in record]
            if columns is None:
                columns = _columns(fields)
            elif len(fields) > max(columns) and fields[columns[0]]:
                parents[fields[columns[0]]] = fields[columns[1]]
        if not parents:
            raise CatalogueError(
                f"{path}: no columns 'Unique ID' and 'Parent' with codes; give a .tsv of the IAB"
            )
        return cls(parents)

    def __len__(self) -> int:
        """Number of codes."""
        return len(self._codes)

    def __contains__(self, code: str) -> bool:
        return code in self._codes

    def below(self, codes: Iterable[str]) -> list[str]:
        """The codes and all those below them, sorted. A code not in the taxonomy stands for itself."""
        found: set[str] = set()
        left = [str(code) for code in codes]
        while left:
            code = left.pop()
            if code not in found:  # damaged tables may go in circles
                found.add(code)
                left += self._children.get(code, [])
        return sorted(found)


def blocking(attribute: str, codes: Iterable[str], taxonomy: Taxonomy | None = None) -> str:
    """A filter of the rows that have no code of `codes` or below one as their `attribute`.

    Without a taxonomy, codes name their parents (IAB25-3). Raises InputError for no codes.
    """
    if isinstance(codes, str):
        raise InputError("block: expected a list of categories, got one text; put it into a list")
    wanted = [str(code) for code in codes] if taxonomy is None else taxonomy.below(codes)
    if not wanted:
        raise InputError("block: expected at least one category, got none")
    words = ", ".join(_quoted(code) for code in wanted)
    name = '"' + attribute.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{name} not {'under' if taxonomy is None else 'in'} [{words}]"


def _quoted(text: str) -> str:
    """A value of a filter; a whole number is one however rows write it."""
    if text.isascii() and text.isdigit() and (text == "0" or text[0] != "0"):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _columns(fields: list[str]) -> tuple[int, int] | None:
    """Where a header has codes and parents, None for a line that is no header."""
    names = [field.lower() for field in fields]
    ids = [names.index(name) for name in _IDS if name in names]
    parents = [names.index(name) for name in _PARENTS if name in names]
    return (ids[0], parents[0]) if ids and parents else None
