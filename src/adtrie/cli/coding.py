"""From the options of `adtrie index` to the codes of its rows. Knows options and files, no clustering."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adtrie.catalogue.code_sources import (
    ClusterCodes,
    CodeSource,
    ColumnCodes,
    parse_code_source,
    texts_of,
)
from adtrie.cli.terminal import note, progress
from adtrie.errors import InputError

if TYPE_CHECKING:
    from adtrie.catalogue import CodeTable, Coding
    from adtrie.models import Checkpoint


@dataclass(frozen=True)
class CodeOptions:
    """What the user asked for; `tokens` is digits, unused or FIRST:END."""

    source: CodeSource
    embeddings: Path | None
    tokens: str
    tail: bool

    @classmethod
    def parse(
        cls,
        codes: str | None,
        separator: str | None,
        embeddings: Path | None,
        tokens: str,
        tail: bool,
        seed: int,
    ) -> CodeOptions | None:
        """None without --codes; InputError for options that need another one."""
        if codes is None:
            if embeddings is not None or separator is not None or tail:
                raise InputError("--embeddings, --code-separator and --text-tail need --codes; add it")
            return None
        source = parse_code_source(codes, separator, seed)
        if embeddings is not None and not isinstance(source, ClusterCodes):
            raise InputError(
                f"--embeddings: only kmeans clusters vectors, --codes is {codes!r:.60}; drop one"
            )
        if separator is not None and not isinstance(source, ColumnCodes):
            raise InputError(f"--code-separator: only a column is split, --codes is {codes!r:.60}; drop one")
        return cls(source, embeddings, tokens, tail)

    def coding(self, rows: Path, model: str, checkpoint: Checkpoint) -> Coding:
        """The codes of all rows of the file, and how they are written."""
        from adtrie.catalogue import CodeTokens, Coding, token_range, unused_tokens

        table, vocab_size = self._table(rows, model), checkpoint.spec.vocab_size
        note(f"codes of up to {len(table.sizes)} levels with {', '.join(map(str, table.sizes))} values")
        if self.tokens == "digits" or not table.sizes:
            return Coding(table, None, self.tail, vocab_size)
        unused = self.tokens == "unused"
        ids = (
            unused_tokens(checkpoint.tokenizer, vocab_size)
            if unused
            else token_range(self.tokens, vocab_size)
        )
        return Coding(table, CodeTokens.allot(ids, table.sizes), self.tail, vocab_size)

    def _table(self, rows: Path, model: str) -> CodeTable:
        from adtrie.catalogue.npy_files import read_matrix
        from adtrie.catalogue.row_files import RowFile

        if isinstance(self.source, ColumnCodes):
            return self.source.table(RowFile(rows))
        if not isinstance(self.source, ClusterCodes):
            return self.source.table()
        if self.embeddings is not None:
            vectors = read_matrix("--embeddings", self.embeddings, "f", "floating-point numbers")
        else:
            from adtrie.api import load_model

            with load_model(model) as loaded, progress("embedding") as advance:
                vectors = loaded.embed(list(texts_of(RowFile(rows))), advance)
        with progress("clustering") as advance:
            return self.source.table(vectors, advance)
