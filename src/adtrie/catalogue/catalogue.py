"""The catalogue: what a search may answer with. Texts, ids, bids and attributes of every entry of a trie.

Knows the fingerprint of the tokenizer it was built with, but no model and no search.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.bids import Bids
from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.build import NO_BID, Builder, BuildOptions, BuildReport, Parts, Progress
from adtrie.catalogue.columns import row_attributes
from adtrie.catalogue.groups import EntryGroups, Groups
from adtrie.catalogue.layout import CatalogueInfo, from_arrays, read_info, to_arrays
from adtrie.catalogue.prior import Bonus
from adtrie.catalogue.range_max import MaxVersion
from adtrie.catalogue.row_files import RowFile
from adtrie.catalogue.rows import rows_from_memory
from adtrie.catalogue.selection import Selection, Selector
from adtrie.catalogue.snapshot import Snapshot, read_snapshot, write_snapshot
from adtrie.catalogue.spelling import BatchTokenizer, Coding
from adtrie.errors import CatalogueError, FormatError, InputError


@dataclass(frozen=True)
class Payload:
    """One accepted row of an entry: its id (its text if it had none), bid (1.0 if none), attributes."""

    id: str
    bid: float
    attributes: dict[str, Any]


class Catalogue:
    """Entries 0..num_entries-1 in order of their token sequences; immutable.

    Rows whose normalised texts have equal token sequences are one entry. Its text is the first such row's,
    its ids are those of all of them, its bid is the highest, its attributes are of the row with that bid.
    """

    def __init__(
        self, parts: Parts, info: CatalogueInfo, report: BuildReport, snapshot: Snapshot | None = None
    ) -> None:
        self.trie = parts.trie
        self.info = info
        self.report = report
        self._parts = parts
        self._snapshot = snapshot

    @classmethod
    def build(
        cls,
        rows: Iterable[Any],
        tokenizer: BatchTokenizer,
        *,
        prefix: str = " ",
        end: str = "\n",
        max_tokens: int = 64,
        max_chars: int = 1000,
        coding: Coding | None = None,
        progress: Progress | None = None,
    ) -> Catalogue:
        """The catalogue of rows: str | (id, text) | mapping with text, id, bid and any attributes.

        An entry's tokens are encode(prefix + text) and the one token of `end`, or with `coding` the code of
        its rows; these then keep their texts as an attribute `text`. `.report` lists refused and merged rows.
        CatalogueError if no row is left or over half were refused, InputError for options.
        """
        if isinstance(rows, str | bytes | Mapping):
            raise InputError("rows is one string or mapping, expected a list of rows; put it into a list")
        builder = Builder(tokenizer, BuildOptions(prefix, end, max_tokens, max_chars), coding)
        total = len(rows) if isinstance(rows, Sized) else 0
        builder.add_all(rows_from_memory(rows), progress, lambda done: total)
        return cls._built(builder)

    @classmethod
    def build_from_file(
        cls,
        path: str | Path,
        tokenizer: BatchTokenizer,
        *,
        prefix: str = " ",
        end: str = "\n",
        max_tokens: int = 64,
        max_chars: int = 1000,
        coding: Coding | None = None,
        progress: Progress | None = None,
    ) -> Catalogue:
        """As `build`, from a .txt, .csv, .jsonl (or .gz of these) or .parquet file, read as a stream."""
        file = RowFile(path)
        builder = Builder(tokenizer, BuildOptions(prefix, end, max_tokens, max_chars), coding)
        builder.add_all(file, progress, file.estimated_rows)
        try:
            return cls._built(builder)
        except CatalogueError as error:
            raise CatalogueError(f"{path}: {error}") from None

    @classmethod
    def _built(cls, builder: Builder) -> Catalogue:
        parts, report = builder.finish()
        info = CatalogueInfo(
            tokenizer_fingerprint=builder.tokenizer.fingerprint,
            vocab_size=builder.speller.vocab_size,
            prefix=builder.options.prefix,
            end="" if builder.end_token is None else builder.options.end,
            end_token=builder.end_token or 0,
            max_depth=parts.trie.max_depth,
            num_rows=report.num_rows,
            num_entries=report.num_entries,
            num_merged=report.num_merged,
            num_refused=report.num_refused,
            codes="" if builder.coding is None else builder.coding.describe(),
        )
        return cls(parts, info, report)

    @property
    def num_entries(self) -> int:
        """Number of distinct entries."""
        return self.trie.num_entries

    @property
    def tokenizer_fingerprint(self) -> str:
        """Fingerprint of the tokenizer the catalogue was built with."""
        return self.info.tokenizer_fingerprint

    def __len__(self) -> int:
        return self.num_entries

    def check_tokenizer(self, fingerprint: str) -> None:
        """Raise CatalogueError unless the catalogue was built with the tokenizer of that fingerprint."""
        if fingerprint != self.tokenizer_fingerprint:
            raise CatalogueError(
                f"the catalogue was built for tokenizer {self.tokenizer_fingerprint[:12]}, the model has "
                f"{fingerprint[:12]}; rebuild it for this model with `adtrie index`"
            )

    def _rows(self, entry: int) -> range:
        if not 0 <= entry < self.num_entries:
            raise InputError(f"entry {entry} is not in the catalogue, expected 0 to {self.num_entries - 1}")
        return self.selector.rows_of_entry(entry)

    @property
    def parts(self) -> Parts:
        """The arrays of the catalogue."""
        return self._parts

    def text(self, entry: int) -> str:
        """The normalised text of an entry. Raises InputError for an entry outside the catalogue."""
        self._rows(entry)
        return self._parts.texts.text(entry)

    def ids(self, entry: int, selection: Selection | None = None) -> list[str]:
        """Distinct ids of the entry's rows, in row order; rows without an id have their text as id.

        With a selection: of the rows in it.
        """
        ids, rows = self._parts.ids, np.array(self._rows(entry))
        if ids is None:
            return [self.text(entry)]
        if selection is not None:
            rows = rows[selection.rows.contains(rows)]
        return list(dict.fromkeys(ids.text(row) for row in rows.tolist()))

    def bid(self, entry: int) -> float:
        """The highest bid of the entry's rows; 1.0 for rows without one."""
        bids = self._parts.bids
        return NO_BID if bids is None else max(float(bids[row]) for row in self._rows(entry))

    def entry_bids(self) -> NDArray[np.float64]:
        """float64[num_entries]: the highest bid of the rows of each entry, as it was built with."""
        bids = self._parts.bids
        if bids is None:
            return np.full(self.num_entries, NO_BID)
        return np.maximum.reduceat(bids, self.selector.bounds()[0])

    @cached_property
    def bids(self) -> Bids:
        """The bids of the rows, 1.0 for rows without one, for requests that weigh them; `set` changes them.

        `bid`, `rows` and a snapshot keep those the catalogue was built with.
        """
        parts = self._parts
        if parts.bids is None:
            return Bids(MaxVersion.full(self.selector.num_rows, NO_BID), parts.row_ptr)
        try:
            return Bids(parts.bids, parts.row_ptr)
        except InputError as error:
            raise FormatError(f"damaged bids ({error}); rebuild the catalogue") from None

    def bid_bonus(self, weight: float, selection: Selection | None = None) -> Bonus:
        """weight x log(highest bid of an entry's rows, of those of the selection), as the bids are now.

        InputError unless the weight is a number from 0 to 1,000.
        """
        return self.bids.bonus(weight, None if selection is None else selection.rows)

    def groups(self, attribute: str, selection: Selection | None = None) -> Groups:
        """By which value of an attribute each entry is counted: int32 by entry, -1 for one without any.

        It is that of the entry's row (of the selection) with the highest bid, the first of several. Raises
        InputError for an unknown attribute, or one with several values in one row.
        """
        groups = self.selector.row_groups(attribute).rows
        if self._parts.row_ptr is None:
            return groups
        highest = self.bids.highest(None if selection is None else selection.rows)
        return EntryGroups(self.num_entries, lambda entries: groups[highest.best_rows(entries)[0]])

    def attributes(self, entry: int) -> dict[str, Any]:
        """Attributes of the entry's row with the highest bid (the first such); empty when it has none."""
        return max(self.rows(entry), key=lambda row: row.bid).attributes

    def rows(self, entry: int) -> list[Payload]:
        """All accepted rows of the entry, in row order."""
        parts, found = self._parts, []
        for row in self._rows(entry):
            name = self.text(entry) if parts.ids is None else parts.ids.text(row)
            bid = NO_BID if parts.bids is None else float(parts.bids[row])
            found.append(Payload(name, bid, self.row_attributes(row)))
        return found

    def row_attributes(self, row: int) -> dict[str, Any]:
        """Attributes of one row, empty when it has none."""
        table = self._parts.attributes
        return {} if table is None else row_attributes(table, row)

    def select(
        self,
        where: str | EntrySet | None = None,
        *,
        allow_ids: Iterable[str | int] | None = None,
        deny_ids: Iterable[str | int] | None = None,
    ) -> Selection:
        """The rows that requests may be answered with; an entry is eligible if any of its rows is.

        `where` is a filter over attributes such as `country = DE and not adult`, or a set of entries. A row
        is in if it passes, has an id of `allow_ids` (unless None) and none of `deny_ids`; ids in no row are
        counted. Raises InputError naming what is wrong.
        """
        return self.selector.select(where, allow_ids, deny_ids)

    @property
    def everything(self) -> Selection | None:
        """What a request without a filter may be answered with; None: every entry."""
        return None

    @cached_property
    def selector(self) -> Selector:
        """Finds rows by attributes and ids."""
        return Selector(self._parts)

    @property
    def trie_bytes(self) -> int:
        """Bytes kept for the trie: everything beside texts, ids, bids and attributes."""
        return self.trie.num_bytes

    @property
    def text_bytes(self) -> int:
        """Bytes kept for texts and ids, their offsets and the entry -> row pointers."""
        ids, ptr = self._parts.ids, self._parts.row_ptr
        return (
            self._parts.texts.num_bytes
            + (ids.num_bytes if ids else 0)
            + (ptr.nbytes if ptr is not None else 0)
        )

    def save(self, path: str | Path) -> None:
        """Write a snapshot; the file appears complete or not at all. Raises CatalogueError when it cannot."""
        write_snapshot(path, asdict(self.info), to_arrays(self._parts))

    @classmethod
    def open(cls, path: str | Path) -> Catalogue:
        """Open a snapshot; above 32 MiB it is memory-mapped and only `verify()` reads all of it.

        Raises CatalogueError when it cannot be opened, FormatError when it is damaged.
        """
        snapshot = read_snapshot(path)
        info = read_info(snapshot)
        parts = from_arrays(snapshot, info)
        report = BuildReport(info.num_rows, info.num_entries, info.num_merged, info.num_refused)
        return cls(parts, info, report, snapshot)

    def verify(self) -> None:
        """Check all checksums of the snapshot behind the catalogue. Raises FormatError naming the section."""
        if self._snapshot is not None:
            self._snapshot.verify()
