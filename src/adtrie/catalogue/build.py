"""From rows to the arrays of a catalogue: normalise, tokenize, sort, merge. Knows no snapshot and no model.

The tokenizer is any object with `encode`, `encode_batch`, `fingerprint` and `vocab_size`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.columns import Column
from adtrie.catalogue.lookup import IdIndex, Lookup
from adtrie.catalogue.normalise import normalise
from adtrie.catalogue.rows import Refusal, Row
from adtrie.catalogue.sequences import Int64, common_prefixes, narrow_tokens, range_indices, sort_sequences
from adtrie.catalogue.spelling import BatchTokenizer, CodeSpeller, Coding, Speller, TextSpeller, with_text
from adtrie.catalogue.strings import StringTable, pack_strings
from adtrie.catalogue.trie import MAX_DEPTH, Trie
from adtrie.errors import CatalogueError, InputError

Progress = Callable[[int, int], None]
REPORTED = 1000  # refusals and merges listed one by one; all are counted
NO_BID = 1.0  # a row without a bid: log(bid) = 0 leaves its score as it is
_BATCH_ROWS = 16384
_NONE = np.zeros(0)


@dataclass(frozen=True)
class BuildOptions:
    """`prefix` and `end` frame each text; limits are per entry, `max_tokens` counts the end token."""

    prefix: str = " "
    end: str = "\n"
    max_tokens: int = 64
    max_chars: int = 1000

    def __post_init__(self) -> None:
        if not 2 <= self.max_tokens <= MAX_DEPTH:
            raise InputError(f"max_tokens is {self.max_tokens}, expected 2 to {MAX_DEPTH}")
        if not 1 <= self.max_chars <= 30000:
            raise InputError(f"max_chars is {self.max_chars}, expected 1 to 30000")


@dataclass(frozen=True)
class Merge:
    """Row `line` became one entry with row `into_line`; not `same_text`: other text, equal tokens."""

    line: int
    into_line: int
    same_text: bool


@dataclass(frozen=True)
class BuildReport:
    """What building did: counts of all rows, the first 1000 refusals and merges, seconds per stage."""

    num_rows: int
    num_entries: int
    num_merged: int
    num_refused: int
    refused: tuple[Refusal, ...] = ()
    merged: tuple[Merge, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)  # read, tokenise, sort


@dataclass(frozen=True, eq=False)
class AcceptedRow:
    """A row as a catalogue takes it: text normalised, id never missing, `attributes` JSON or empty."""

    line: int
    id: str
    text: str
    attributes: str
    bid: float
    tokens: NDArray[np.int32]


@dataclass(frozen=True)
class Parts:
    """The arrays of a catalogue; rows of entry e are row_ptr[e]:row_ptr[e+1], one each without row_ptr."""

    trie: Trie
    texts: StringTable
    ids: StringTable | None  # None: the id of every row is its text
    row_ptr: NDArray[np.uint32] | None
    bids: NDArray[np.float64] | None
    attributes: StringTable | None
    stored: tuple[IdIndex, dict[str, Column] | None] | None = None  # of `lookup`, where a snapshot had it

    @cached_property
    def lookup(self) -> Lookup:
        """How rows are found."""
        return Lookup(self.texts if self.ids is None else self.ids, self.attributes, self.stored)


class _Accepted:
    """Columns of the accepted rows, chunk by chunk."""

    def __init__(self) -> None:
        self.lines: list[Int64] = []
        self.tokens: list[NDArray[Any]] = []
        self.lengths: list[Int64] = []
        self.texts: list[tuple[bytes, Int64]] = []
        self.ids: list[tuple[bytes, Int64] | None] = []
        self.bids: list[NDArray[np.float64]] = []
        self.attributes: list[tuple[bytes, Int64]] = []
        self.any_bid = False
        self.any_attributes = False

    def add(self, rows: list[Row], tokens: NDArray[Any], lengths: Int64) -> None:
        """Append rows with their token sequences."""
        self.lines.append(np.fromiter((row.line for row in rows), dtype=np.int64, count=len(rows)))
        self.tokens.append(tokens)
        self.lengths.append(lengths)
        self.texts.append(pack_strings([row.text for row in rows]))
        has_id = any(row.id is not None for row in rows)
        self.ids.append(
            pack_strings([row.text if row.id is None else row.id for row in rows]) if has_id else None
        )
        bids = [NO_BID if row.bid is None else row.bid for row in rows]
        self.bids.append(np.array(bids, dtype=np.float64))
        self.any_bid = self.any_bid or any(row.bid is not None for row in rows)
        self.attributes.append(pack_strings([row.attributes or "" for row in rows]))
        self.any_attributes = self.any_attributes or bool(self.attributes[-1][0])


class Builder:
    """Takes rows one after the other and makes a catalogue's parts of them."""

    def __init__(
        self, tokenizer: BatchTokenizer, options: BuildOptions, coding: Coding | None = None
    ) -> None:
        """Raises CatalogueError when the end text is not a single token."""
        self.tokenizer = tokenizer
        self.options = options
        self.coding = coding
        self.speller: Speller = (
            TextSpeller(tokenizer, options.prefix, options.end)
            if coding is None
            else CodeSpeller(tokenizer, options.prefix, options.end, coding)
        )
        self.end_token = self.speller.end_token
        self._keep_text = coding is not None and not coding.tail
        self._pending: list[Row] = []
        self._places: list[int] = []  # of the pending rows among all rows
        self._accepted = _Accepted()
        self._refused: list[Refusal] = []
        self._num_refused = 0
        self._num_rows = 0
        self._seconds = {"read": 0.0, "tokenise": 0.0, "sort": 0.0}

    def add_all(
        self,
        rows: Iterable[Row | Refusal],
        progress: Progress | None = None,
        total: Callable[[int], int] = lambda done: 0,
    ) -> None:
        """Normalise and tokenize all rows; `progress(done, total)` after each batch, total 0 when unknown."""
        started = time.perf_counter()
        for row in rows:
            self._num_rows += 1
            if isinstance(row, Row):
                self._take(row)
            else:
                self._refuse(row)
            if self._num_rows % _BATCH_ROWS == 0:
                self._seconds["read"] += time.perf_counter() - started
                self._tokenise()
                if progress is not None:
                    progress(self._num_rows, total(self._num_rows))
                started = time.perf_counter()
        self._seconds["read"] += time.perf_counter() - started
        self._tokenise()
        if progress is not None:
            progress(self._num_rows, self._num_rows)

    def _refuse(self, refusal: Refusal) -> None:
        self._num_refused += 1
        if len(self._refused) < REPORTED:
            self._refused.append(refusal)

    def _take(self, row: Row) -> None:
        try:
            text = normalise(row.text)
        except CatalogueError as error:
            self._refuse(Refusal(row.line, str(error)))
            return
        if len(text) > self.options.max_chars:
            reason = f"text of {len(text)} characters, expected at most {self.options.max_chars}"
            self._refuse(Refusal(row.line, reason))
            return
        row = row if text == row.text else row._replace(text=text)
        self._pending.append(with_text(row) if self._keep_text else row)
        self._places.append(self._num_rows - 1)

    def _tokenise(self) -> None:
        rows, self._pending = self._pending, []
        places, self._places = np.array(self._places, np.int64), []
        if not rows:
            return
        started = time.perf_counter()
        flat, offsets = self.speller.spell(rows, places)
        tokens = narrow_tokens(flat, self.speller.vocab_size)
        lengths = np.diff(offsets)
        num_ends = np.add.reduceat(np.append(tokens == self.end_token, False), offsets[:-1], dtype=np.int64)
        good = (lengths > 0) & (lengths < self.options.max_tokens) & ((num_ends == 0) | (lengths == 0))
        for i in np.flatnonzero(~good):
            self._refuse(Refusal(rows[i].line, self._token_reason(int(lengths[i]), int(places[i]))))
        kept = np.flatnonzero(good)
        lengths = lengths[kept]
        own = tokens[range_indices(offsets[kept], lengths)]
        self._accepted.add(
            [rows[i] for i in kept] if len(kept) < len(rows) else rows, *self._framed(own, lengths)
        )
        self._seconds["tokenise"] += time.perf_counter() - started

    def _framed(self, tokens: NDArray[Any], lengths: Int64) -> tuple[NDArray[Any], Int64]:
        """Sequences (flat) and their lengths with the end token behind each, if there is one."""
        if self.end_token is None:
            return tokens, lengths
        ends = np.cumsum(lengths + 1)
        framed = np.full(int(ends[-1]) if len(ends) else 0, self.end_token, dtype=tokens.dtype)
        framed[range_indices(ends - lengths - 1, lengths)] = tokens
        return framed, lengths + 1

    def _token_reason(self, length: int, place: int) -> str:
        if length == 0:
            return self.speller.why_empty(place)
        if length >= self.options.max_tokens:
            return f"{length + 1} tokens with the end token, expected at most {self.options.max_tokens}"
        return f"the text contains the end token {self.options.end!r}"

    def finish(self) -> tuple[Parts, BuildReport]:
        """The parts and the report. Raises CatalogueError if no row is left or over half were refused."""
        coding = self.coding
        if coding is not None and len(coding.table) != self._num_rows:
            raise CatalogueError(
                f"{coding.table.origin}: codes for {len(coding.table)} rows, there are {self._num_rows}"
            )
        self._check_quota()
        started = time.perf_counter()
        accepted = self._accepted
        tokens = np.concatenate(accepted.tokens)
        lengths = np.concatenate(accepted.lengths)
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        order = sort_sequences(tokens, offsets)
        lengths, starts = lengths[order], offsets[:-1][order]
        shared = common_prefixes(tokens, starts, lengths)
        # The end token closes every sequence and occurs nowhere else, or all have one length: wholly shared
        # means equal.
        first = np.flatnonzero(shared < lengths)
        trie = Trie.from_sorted(tokens, starts[first], lengths[first], shared[first], self.speller.vocab_size)
        texts, ids, merged = self._strings(order, first)
        row_ptr = np.append(first, len(order)).astype(np.uint32) if len(first) < len(order) else None
        bids = np.concatenate(accepted.bids)[order] if accepted.any_bid else None
        attributes = _table(accepted.attributes).take(order) if accepted.any_attributes else None
        self._seconds["sort"] = time.perf_counter() - started
        report = BuildReport(
            self._num_rows,
            trie.num_entries,
            len(order) - len(first),
            self._num_refused,
            tuple(sorted(self._refused)),
            merged,
            dict(self._seconds),
        )
        return Parts(trie, texts, ids, row_ptr, bids, attributes), report

    def accepted(self) -> list[AcceptedRow]:
        """The rows taken so far, in order, with their tokens."""
        accepted, found = self._accepted, []
        lines, bids = np.concatenate([_NONE, *accepted.lines]), np.concatenate([_NONE, *accepted.bids])
        ids = [t if i is None else i for i, t in zip(accepted.ids, accepted.texts, strict=True)]
        texts, ids_table, attributes = _table(accepted.texts), _table(ids), _table(accepted.attributes)
        lengths = np.concatenate([_NONE, *accepted.lengths]).astype(np.int64)
        sequences = np.split(
            np.concatenate([_NONE, *accepted.tokens]).astype(np.int32), np.cumsum(lengths)[:-1]
        )
        for i, tokens in enumerate(sequences if len(lengths) else []):
            strings = ids_table.text(i), texts.text(i), attributes.text(i)
            found.append(AcceptedRow(int(lines[i]), *strings, float(bids[i]), tokens))
        return found

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """The first 1000 refusals, by line."""
        return tuple(sorted(self._refused))

    def _strings(
        self, order: Int64, first: Int64
    ) -> tuple[StringTable, StringTable | None, tuple[Merge, ...]]:
        """Texts per entry, ids per row in entry order, and the merges listed one by one."""
        accepted = self._accepted
        rows = _table(accepted.texts)
        texts = rows.take(order[first])
        merged, texts_differ = _merges(rows, np.concatenate(accepted.lines), order, first)
        if all(chunk is None for chunk in accepted.ids) and not texts_differ:
            return texts, None, merged
        chunks = [t if i is None else i for i, t in zip(accepted.ids, accepted.texts, strict=True)]
        return texts, _table(chunks).take(order), merged

    def _check_quota(self) -> None:
        accepted = self._num_rows - self._num_refused
        if accepted and self._num_refused <= accepted:
            return
        reasons = "; ".join(f"line {r.line}: {r.reason}" for r in sorted(self._refused)[:5])
        raise CatalogueError(
            f"{self._num_refused} of {self._num_rows} rows refused, expected at most half of them "
            f"and one row left; {reasons or 'the catalogue is empty: give it at least one row'}"
        )


def _table(chunks: Sequence[tuple[bytes, Int64]]) -> StringTable:
    return StringTable.of([chunk[0] for chunk in chunks], [chunk[1] for chunk in chunks])


def _merges(rows: StringTable, lines: Int64, order: Int64, first: Int64) -> tuple[tuple[Merge, ...], bool]:
    """Merges in order of line, the first 1000, and whether any merged text differs from its entry's."""
    is_first = np.zeros(len(order), dtype=bool)
    is_first[first] = True
    later = np.flatnonzero(~is_first)
    entry = np.cumsum(is_first)[later] - 1
    row, into = order[later], order[first][entry]
    same = np.fromiter(
        (rows.raw(a) == rows.raw(b) for a, b in zip(row, into, strict=True)), dtype=bool, count=len(row)
    )
    listed = np.argsort(row)[:REPORTED]
    merges = tuple(Merge(int(lines[row[i]]), int(lines[into[i]]), bool(same[i])) for i in listed)
    return merges, not bool(same.all())
