"""Token ids for codes: ids of their own, or digits that any tokenizer can write. Knows codes, no rows.

A pretrained model gives tokens of their own no meaning: it must be tuned on them first.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.codes import CodeTable
from adtrie.errors import CatalogueError, InputError

_UNUSED = re.compile(r"reserved|unused|extra_id|<\|extra|dummy|placeholder", re.IGNORECASE)


class NamedTokens(Protocol):
    """What finding unused tokens needs of a tokenizer."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def control_tokens(self) -> Collection[int]: ...
    def decode(self, tokens: Iterable[int]) -> str: ...


def unused_tokens(tokenizer: NamedTokens, vocab_size: int) -> NDArray[np.int32]:
    """Ids int32[n] that no text makes, ascending: reserved tokens, rows of the model without a token."""
    reserved = [
        token for token in tokenizer.control_tokens if _UNUSED.search(tokenizer.decode([token])) is not None
    ]
    return np.array(sorted([*reserved, *range(tokenizer.vocab_size, vocab_size)]), np.int32)


@dataclass(frozen=True, eq=False)
class CodeTokens:
    """Element v of level l is token ids[first[l] + v]."""

    ids: NDArray[np.int32]
    first: tuple[int, ...]

    @classmethod
    def allot(cls, ids: NDArray[np.int32], sizes: tuple[int, ...]) -> CodeTokens:
        """Tokens of each level's own if `ids` are enough, else the same for all levels.

        Raises CatalogueError when they are not enough for that either.
        """
        if sum(sizes) <= len(ids):
            return cls(ids, tuple(np.cumsum((0, *sizes[:-1])).tolist()) if sizes else ())
        if max(sizes) <= len(ids):
            return cls(ids, (0,) * len(sizes))
        raise CatalogueError(
            f"codes need {max(sizes)} tokens ({sum(sizes)} for levels of their own), {len(ids)} are set "
            "aside; give a range of token ids, or write codes as digits with --code-tokens digits"
        )

    @property
    def are_shared(self) -> bool:
        """Whether levels have the same tokens."""
        return len(self.first) > 1 and self.first[-1] == 0

    def spell(self, table: CodeTable) -> NDArray[np.int32]:
        """int32[E]: the token of each element of the table."""
        lengths = np.diff(table.offsets)
        level = np.arange(table.elements.size) - table.offsets[:-1].repeat(lengths)
        spelled: NDArray[np.int32] = self.ids[np.array(self.first, np.int64)[level] + table.elements]
        return spelled


def digits(table: CodeTable, rows: Iterable[int]) -> list[str]:
    """The code of each row as digits, each level as wide as its highest element: 44121706, 01712."""
    widths = [len(str(size - 1)) for size in table.sizes]
    return ["".join(f"{v:0{w}d}" for v, w in zip(table.of(row), widths, strict=False)) for row in rows]


def token_range(text: str, vocab_size: int) -> NDArray[np.int32]:
    """The ids FIRST to END - 1 of "FIRST:END". Raises InputError unless they are ids of the model."""
    found = re.fullmatch(r"(\d{1,9}):(\d{1,9})", text, re.ASCII)
    first, end = (int(found[1]), int(found[2])) if found else (0, 0)
    if not first < end <= vocab_size:
        raise InputError(
            f"code tokens: expected unused, digits or FIRST:END with FIRST < END <= {vocab_size}, "
            f"got {text!r:.40}"
        )
    return np.arange(first, end, dtype=np.int32)
