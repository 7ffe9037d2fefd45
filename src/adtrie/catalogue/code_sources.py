"""Where the codes of rows come from: a column of the rows, a matrix in a file, clusters of vectors.

Knows how that is written in an option; knows no tokens and no model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adtrie.catalogue.clusters import Progress, balanced_codes, check_branching
from adtrie.catalogue.codes import CodeTable
from adtrie.catalogue.normalise import normalise
from adtrie.catalogue.npy_files import read_matrix
from adtrie.catalogue.rows import Refusal, Row
from adtrie.errors import CatalogueError, InputError

MAX_EMBEDDED_CHARS = 4000


@dataclass(frozen=True)
class ColumnCodes:
    """Each row's own code: its attribute `name`, its id or its text, split at `separator` if there is one."""

    name: str
    separator: str | None = None

    def table(self, rows: Iterable[Row | Refusal]) -> CodeTable:
        """The codes of all rows, refused ones included."""
        return CodeTable.of_values(
            (_value(row, self.name) for row in rows), f"column {self.name}", self.separator
        )


@dataclass(frozen=True)
class FileCodes:
    """Row i of an integer matrix is the code of row i."""

    path: Path

    def table(self) -> CodeTable:
        """The codes of the file. Raises InputError or FormatError for a file of anything else."""
        return CodeTable.of_matrix(read_matrix("--codes", self.path, "iu", "integers"), self.path.name)


@dataclass(frozen=True)
class ClusterCodes:
    """Balanced clusters of one vector per row, so many parts per level."""

    branching: tuple[int, ...]
    seed: int = 0

    def table(self, vectors: Any, progress: Progress | None = None) -> CodeTable:
        """The codes of vectors float[N, D]. Raises InputError for vectors that are not finite numbers."""
        origin = f"kmeans:{','.join(map(str, self.branching))} seed {self.seed}"
        return CodeTable.of_matrix(balanced_codes(vectors, self.branching, self.seed, progress), origin)


CodeSource = ColumnCodes | FileCodes | ClusterCodes


def parse_code_source(text: str, separator: str | None = None, seed: int = 0) -> CodeSource:
    """The source that "kmeans:256,16,16", "column:NAME" or "FILE.npy" names; InputError for anything else."""
    kind, _, rest = text.partition(":")
    if kind == "kmeans":
        if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", rest, re.ASCII):
            raise InputError(
                f"--codes: expected kmeans:PARTS,PARTS,... as in kmeans:256,16,16, got {text!r:.60}"
            )
        return ClusterCodes(check_branching([int(parts) for parts in rest.split(",")]), seed)
    if kind == "column" and rest:
        return ColumnCodes(rest, separator)
    if text.endswith(".npy"):
        return FileCodes(Path(text))
    raise InputError(f"--codes: expected kmeans:256,16,16, column:NAME or FILE.npy, got {text!r:.60}")


def texts_of(rows: Iterable[Row | Refusal]) -> Iterator[str]:
    """The normalised text of each row, empty for one that will be refused: what vectors are made of."""
    for row in rows:
        try:
            yield normalise(row.text)[:MAX_EMBEDDED_CHARS] if isinstance(row, Row) else ""
        except CatalogueError:
            yield ""


def _value(row: Row | Refusal, name: str) -> Any:
    """What a row has in a column; None for nothing and for a refused row."""
    if isinstance(row, Refusal):
        return None
    if name in ("id", "text"):
        return row.id if name == "id" else row.text
    return json.loads(row.attributes).get(name) if row.attributes else None
