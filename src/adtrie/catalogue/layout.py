"""Which arrays a catalogue keeps in a snapshot, and the checks when opening one. Knows no search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue import lookup
from adtrie.catalogue.branches import BranchTable
from adtrie.catalogue.build import Parts
from adtrie.catalogue.snapshot import Snapshot
from adtrie.catalogue.strings import StringTable
from adtrie.catalogue.trie import MAX_DEPTH, Trie
from adtrie.errors import FormatError


@dataclass(frozen=True)
class CatalogueInfo:
    """How a catalogue was built; stored in its snapshot. `end` is empty where all entries have one length.

    `codes`: what entries are if not texts, as JSON of origin, sizes, tail and tokens; empty for texts.
    """

    tokenizer_fingerprint: str
    vocab_size: int
    prefix: str
    end: str
    end_token: int
    max_depth: int
    num_rows: int
    num_entries: int
    num_merged: int
    num_refused: int
    codes: str = ""


_TABLES = ("texts", "ids", "attributes")


def to_arrays(parts: Parts) -> dict[str, NDArray[Any]]:
    trie, branches = parts.trie, parts.trie.branches
    arrays: dict[str, NDArray[Any]] = {"edges": trie.edges, "offsets": trie.offsets, "shared": trie.shared}
    arrays |= {f"branches.{name}": getattr(branches, name) for name in BranchTable.__dataclass_fields__}
    for name in _TABLES:
        table = cast("StringTable | None", getattr(parts, name))
        if table is not None:
            arrays |= {f"{name}.block": table.block, f"{name}.offsets": table.offsets}
    if parts.row_ptr is not None:
        arrays["row_ptr"] = parts.row_ptr
    if parts.bids is not None:
        arrays["bids"] = parts.bids
    return arrays | lookup.to_arrays(parts.lookup)


def read_info(snapshot: Snapshot) -> CatalogueInfo:
    fields = CatalogueInfo.__dataclass_fields__
    meta = {"codes": "", **snapshot.meta}  # snapshots of texts may lack it
    texts = ("tokenizer_fingerprint", "prefix", "end", "codes")
    good = set(meta) == set(fields) and all(
        type(meta[name]) is str if name in texts else type(meta[name]) is int and 0 <= meta[name] < 1 << 40
        for name in fields
    )
    if good:
        info = CatalogueInfo(**meta)
        good = 1 <= info.max_depth <= MAX_DEPTH and info.end_token < info.vocab_size <= 1 << 31
        if good and info.num_entries >= 1:
            return info
    raise FormatError(f"{snapshot.path}: damaged or foreign description; rebuild it with `adtrie index`")


class _Reader:
    """Takes arrays out of a snapshot, checking kind and length of each."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.left = dict(snapshot.arrays)

    def take(self, name: str, dtypes: str, length: int | None = None) -> NDArray[Any]:
        array = self.left.pop(name, None)
        kind = None if array is None else f"{array.dtype.kind}{array.dtype.itemsize}"
        if array is None or kind not in dtypes.split() or (length is not None and len(array) != length):
            got = "missing" if array is None else f"{kind}[{len(array)}]"
            want = f"{dtypes.replace(' ', '|')}[{'n' if length is None else length}]"
            raise FormatError(f"{self.snapshot.path}: section '{name}' is {got}, expected {want}; rebuild it")
        return array

    def table(self, name: str, length: int) -> StringTable | None:
        if f"{name}.block" not in self.left and f"{name}.offsets" not in self.left:
            return None
        table = StringTable(
            self.take(f"{name}.block", "u1"), self.take(f"{name}.offsets", "u4 u8", length + 1)
        )
        if int(table.offsets[0]) != 0 or int(table.offsets[-1]) != len(table.block):
            raise FormatError(f"{self.snapshot.path}: offsets of '{name}' do not span its block; rebuild it")
        return table


def from_arrays(snapshot: Snapshot, info: CatalogueInfo) -> Parts:
    """The parts in a snapshot, each array of the one length that fits. Raises FormatError otherwise."""
    read, num_entries = _Reader(snapshot), info.num_entries
    edges = read.take("edges", "u2" if info.vocab_size <= 1 << 16 else "u4")
    offsets = read.take("offsets", "u4", num_entries + 1)
    shared = read.take("shared", "u1", num_entries)
    kinds = {"key": "i8", "hi": "u4", "ptr": "u4", "first": "u4", "longest": "u1", "mean": "f4"}
    branches = BranchTable(**{name: read.take(f"branches.{name}", kind) for name, kind in kinds.items()})
    branches.check(num_entries, snapshot.path)
    if int(offsets[0]) != 0 or int(offsets[-1]) != len(edges) or not len(edges):
        raise FormatError(f"{snapshot.path}: 'offsets' does not span 'edges'; rebuild it with `adtrie index`")
    trie = Trie(edges, offsets, shared, branches, info.max_depth, info.vocab_size)
    texts = read.table("texts", num_entries)
    row_ptr = read.take("row_ptr", "u4", num_entries + 1) if "row_ptr" in read.left else None
    num_rows = num_entries if row_ptr is None else int(row_ptr[-1])
    ids = read.table("ids", num_rows)
    bids = read.take("bids", "f8", num_rows) if "bids" in read.left else None
    attributes = read.table("attributes", num_rows)
    num_names = num_entries if ids is None else num_rows
    stored = lookup.from_arrays(read.take, read.left.__contains__, num_names, snapshot.path)
    if texts is None or read.left or num_rows < num_entries:
        raise FormatError(
            f"{snapshot.path}: missing texts or foreign sections {sorted(read.left)}; rebuild it"
        )
    return Parts(trie, texts, ids, row_ptr, cast("NDArray[np.float64] | None", bids), attributes, stored)
