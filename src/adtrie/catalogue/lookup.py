"""How rows are found by id and by attribute: made from a catalogue's strings once and kept in its snapshot.

Knows no filter; files only as arrays by name.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.columns import Column, read_columns
from adtrie.catalogue.strings import StringTable
from adtrie.errors import FormatError

MAX_STORED_COLUMNS = 256  # the header of a snapshot is bounded; more are made anew from the attributes
Take = Callable[[str, str, int | None], NDArray[Any]]  # an array of a snapshot by name, dtypes and length


@dataclass(frozen=True, eq=False)
class IdIndex:
    """The strings of a table by CRC-32: crc uint32[n] ascending, of the strings order uint32[n]."""

    crc: NDArray[np.uint32]
    order: NDArray[np.uint32]

    @classmethod
    def of(cls, table: StringTable) -> IdIndex:
        """The index of all strings of a table."""
        block = memoryview(table.block.tobytes())
        sums = (zlib.crc32(block[first:end]) for first, end in pairwise(table.offsets.tolist()))
        crc = np.fromiter(sums, np.uint32, len(table))
        order = crc.argsort(kind="stable")
        return cls(crc[order], order.astype(np.uint32))

    def find(self, strings: Iterable[str], table: StringTable) -> list[list[int]]:
        """For each string its positions in the table, ascending."""
        wanted = [string.encode("utf-8", "surrogatepass") for string in strings]
        sums = np.fromiter(map(zlib.crc32, wanted), np.uint32, len(wanted))
        first, last = (self.crc.searchsorted(sums, side).tolist() for side in ("left", "right"))
        size = len(table)
        return [
            [i for i in self.order[begin:end].tolist() if i < size and table.raw(i) == raw]
            for raw, begin, end in zip(wanted, first, last, strict=True)
        ]


class Lookup:
    """Ids and columns of a catalogue, made when they are first asked for unless a snapshot had them."""

    def __init__(
        self,
        names: StringTable,
        attributes: StringTable | None,
        stored: tuple[IdIndex, dict[str, Column] | None] | None = None,
    ) -> None:
        self.names = names
        self._attributes = attributes
        self._stored = stored or (None, None)

    @cached_property
    def ids(self) -> IdIndex:
        """Of the ids, or of the texts where these are the ids."""
        return self._stored[0] or IdIndex.of(self.names)

    @cached_property
    def columns(self) -> dict[str, Column]:
        """The attributes by name. Raises FormatError for damaged ones."""
        stored = self._stored[1]
        return read_columns(self._attributes) if stored is None else stored

    def find(self, ids: Iterable[str]) -> list[list[int]]:
        """For each id the places of it, ascending; none for an unknown one."""
        return self.ids.find(ids, self.names)


def to_arrays(lookup: Lookup) -> dict[str, NDArray[Any]]:
    """The arrays that a snapshot keeps of it."""
    arrays: dict[str, NDArray[Any]] = {"id_index.crc": lookup.ids.crc, "id_index.order": lookup.ids.order}
    columns = lookup.columns
    if not 0 < len(columns) <= MAX_STORED_COLUMNS:
        return arrays
    encoded = [name.encode("utf-8", "surrogatepass") for name in columns]
    names = StringTable.of([b"".join(encoded)], [np.fromiter(map(len, encoded), np.int64, len(encoded))])
    arrays |= {"columns.block": names.block, "columns.offsets": names.offsets}
    for i, column in enumerate(columns.values()):
        arrays |= {
            f"column{i}.texts.block": column.texts.block,
            f"column{i}.texts.offsets": column.texts.offsets,
        }
        arrays |= {f"column{i}.{name}": getattr(column, name) for name in _COLUMN}
    return arrays


_COLUMN = {
    "present": "u4",
    "text_ptr": "u4",
    "text_rows": "u4",
    "text_numbers": "f8",
    "numbers": "f8",
    "number_rows": "u4",
}


def from_arrays(
    take: Take, has: Callable[[str], bool], num_names: int, where: str
) -> tuple[IdIndex, dict[str, Column] | None] | None:
    """What a snapshot has of a lookup, None for nothing. Raises FormatError as `take` does."""
    if not has("id_index.crc"):
        return None
    ids = IdIndex(take("id_index.crc", "u4", num_names), take("id_index.order", "u4", num_names))
    if not has("columns.block"):
        return ids, None
    names = StringTable(take("columns.block", "u1", None), take("columns.offsets", "u4", None))
    columns: dict[str, Column] = {}
    for i in range(len(names)):
        offsets = take(f"column{i}.texts.offsets", "u4 u8", None)
        texts = StringTable(take(f"column{i}.texts.block", "u1", None), offsets)
        num_texts = len(texts)
        lengths = {"text_ptr": num_texts + 1, "text_numbers": num_texts}
        found: dict[str, Any] = {
            name: take(f"column{i}.{name}", kind, lengths.get(name)) for name, kind in _COLUMN.items()
        }
        ptr = found["text_ptr"].astype(np.int64)
        sound = ptr[0] == 0 and ptr[-1] == len(found["text_rows"]) and bool(np.all(np.diff(ptr) >= 0))
        if not sound or len(found["numbers"]) != len(found["number_rows"]):
            raise FormatError(f"{where}: section 'column{i}' is damaged; rebuild it with `adtrie index`")
        columns[names.raw(i).decode("utf-8", "replace")] = Column(texts=texts, **found)
    return ids, columns
