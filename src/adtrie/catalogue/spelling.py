"""What tokens a row becomes, before its end token: its text, or its code with or without the text behind it.

Knows tokenizer and codes; knows no trie, and not what happens to the sequences.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.code_tokens import CodeTokens, digits
from adtrie.catalogue.codes import CodeTable
from adtrie.catalogue.rows import Row
from adtrie.catalogue.sequences import Int64, range_indices, row_pointers
from adtrie.errors import CatalogueError


class BatchTokenizer(Protocol):
    """What building needs of a tokenizer; no call may yield control tokens."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    def encode(self, text: str) -> NDArray[np.int32]: ...
    def encode_batch(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]: ...


@dataclass(frozen=True, eq=False)
class Coding:
    """The codes of all rows and how they are written: as tokens of their own, or as digits (tokens None).

    `tail`: the tokens of the row's text follow its code, so that rows of one code are told apart.
    `vocab_size`: the ids of the model, where code tokens lie above those of its tokenizer.
    """

    table: CodeTable
    tokens: CodeTokens | None = None
    tail: bool = False
    vocab_size: int = 0

    def __post_init__(self) -> None:
        if not self.table.sizes:
            raise CatalogueError(f"{self.table.origin}: no row has a code; name another column or file")

    def describe(self) -> str:
        """What a snapshot says of its codes, as JSON."""
        tokens = self.tokens
        own = None if tokens is None else {"first": tokens.first, "ids": _runs(tokens.ids)}
        said = {"origin": self.table.origin, "sizes": self.table.sizes, "tail": self.tail, "tokens": own}
        return json.dumps(said, separators=(",", ":"))


class Speller(Protocol):
    """Makes the token sequences of rows."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def end_token(self) -> int | None:
        """The token that closes every sequence and occurs in none; None where all have one length."""

    def spell(self, rows: list[Row], places: Int64) -> tuple[NDArray[np.int32], Int64]:
        """Flat ids and offsets int64[n+1] of rows; places: 0, 1, ... in order of all rows, refused too."""

    def why_empty(self, place: int) -> str:
        """Why the row has no tokens."""


class TextSpeller:
    """A row is the text itself."""

    def __init__(self, tokenizer: BatchTokenizer, prefix: str, end: str) -> None:
        """Raises CatalogueError when the end text is not a single token."""
        self._tokenizer, self._prefix = tokenizer, prefix
        self.vocab_size = tokenizer.vocab_size
        self.end_token: int | None = single_token(tokenizer, end)

    def spell(self, rows: list[Row], places: Int64) -> tuple[NDArray[np.int32], Int64]:
        return self._tokenizer.encode_batch([self._prefix + row.text for row in rows])

    def why_empty(self, place: int) -> str:
        return "the text makes no tokens"


class CodeSpeller:
    """A row is its code."""

    def __init__(self, tokenizer: BatchTokenizer, prefix: str, end: str, coding: Coding) -> None:
        """Raises CatalogueError when the end text is not a single token, or is a token of codes."""
        self._tokenizer, self._prefix, self._coding = tokenizer, prefix, coding
        tokens = coding.tokens
        self.vocab_size = max(tokenizer.vocab_size, coding.vocab_size)
        ends_by_itself = tokens is not None and not coding.tail and coding.table.fixed_len is not None
        self.end_token = None if ends_by_itself else single_token(tokenizer, end)
        if tokens is not None and self.end_token is not None and bool((tokens.ids == self.end_token).any()):
            raise CatalogueError(f"end text {end!r} is a token of codes; set other tokens aside")

    @cached_property
    def _spelled(self) -> NDArray[np.int32]:
        assert self._coding.tokens is not None
        return self._coding.tokens.spell(self._coding.table)

    def spell(self, rows: list[Row], places: Int64) -> tuple[NDArray[np.int32], Int64]:
        table, tail = self._coding.table, self._coding.tail
        if int(places[-1]) >= len(table):
            raise CatalogueError(f"{table.origin}: codes for {len(table)} rows, there are more rows")
        if self._coding.tokens is None:
            codes = digits(table, places.tolist())
            texts = [f"{code} {row.text}" if tail else code for code, row in zip(codes, rows, strict=True)]
            kept = [self._prefix + text if code else "" for code, text in zip(codes, texts, strict=True)]
            return self._tokenizer.encode_batch(kept)
        starts = table.offsets[places]
        lengths = table.offsets[places + 1] - starts
        code = self._spelled[range_indices(starts, lengths)]
        return self._with_tails(code, lengths, rows) if tail else (code, row_pointers(lengths))

    def _with_tails(
        self, code: NDArray[np.int32], lengths: Int64, rows: list[Row]
    ) -> tuple[NDArray[np.int32], Int64]:
        """The codes (flat) with the tokens of the texts behind them; rows without a code stay empty."""
        texts = [self._prefix + row.text if length else "" for row, length in zip(rows, lengths, strict=True)]
        flat, offsets = self._tokenizer.encode_batch(texts)
        ptr = row_pointers(lengths + np.diff(offsets))
        out = np.empty(int(ptr[-1]), np.int32)
        out[range_indices(ptr[:-1], lengths)] = code
        out[range_indices(ptr[:-1] + lengths, np.diff(offsets))] = flat
        return out, ptr

    def why_empty(self, place: int) -> str:
        return self._coding.table.reasons.get(place, "the row has no code")


def with_text(row: Row) -> Row:
    """The row with its text among its attributes: an entry keeps only the text of its first row."""
    text = json.dumps(row.text, ensure_ascii=False)
    rest = f",{row.attributes[1:]}" if row.attributes else "}"
    return row._replace(attributes=f'{{"text":{text}{rest}')


def single_token(tokenizer: BatchTokenizer, end: str) -> int:
    """The one token of `end`. Raises CatalogueError when it makes another number of tokens."""
    tokens = tokenizer.encode(end)
    if len(tokens) != 1:
        raise CatalogueError(f"end text {end!r} makes {len(tokens)} tokens, expected one; choose another")
    return int(tokens[0])


def _runs(ids: NDArray[Any]) -> list[list[int]]:
    """Ascending ids as [first, last] of each run of neighbours."""
    cuts = np.flatnonzero(np.diff(ids) != 1)
    firsts, lasts = np.append(ids[:1], ids[cuts + 1]), np.append(ids[cuts], ids[-1:])
    return np.stack((firsts, lasts), axis=1).tolist() if len(ids) else []
