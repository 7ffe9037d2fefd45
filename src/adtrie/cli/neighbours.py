"""The options --neighbours, --past and --fusion: what a query resembles joins what the search finds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adtrie.cli.terminal import note
from adtrie.errors import InputError

if TYPE_CHECKING:
    from adtrie.catalogue import Catalogue, Fusion, Neighbours

DEFAULT_COUNT = 10
NeighboursOption = Annotated[
    int | None,
    typer.Option(
        "--neighbours", min=1, max=256, help="Also score so many entries of nearest text (and past query)."
    ),
]
PastOption = Annotated[
    Path | None,
    typer.Option("--past", help="CSV with query and label: answered queries, for --neighbours (10)."),
]
FusionOption = Annotated[
    str | None,
    typer.Option(
        "--fusion", help="What resemblance adds to a score: a file of 'evaluate --learn-fusion', or unspsc."
    ),
]
FUSION_FILE = "fusion.json"


def read_fusion(name: str | None) -> Fusion | None:
    """The fusion in a file or folder, or beside a shipped adapter; None for None. Raises as Fusion.read."""
    from adtrie.catalogue import Fusion
    from adtrie.models import shipped_adapters
    from adtrie.models.adapter import adapter_folder

    if name is None:
        return None
    path = adapter_folder(name) if name in shipped_adapters() else Path(name)
    return Fusion.read(path / FUSION_FILE if path.is_dir() else path)


def neighbours_of(
    catalogue: Catalogue, count: int | None, past: Path | None, fusion: Fusion | None = None
) -> Neighbours | None:
    """What the options ask for; None without them. Raises InputError if no label of `past` is known."""
    from adtrie.evaluate.pair_files import read_pairs
    from adtrie.evaluate.questions import Labels

    if count is None and past is None and fusion is None:
        return None
    if past is None:
        return made(catalogue, count or DEFAULT_COUNT, (), fusion=fusion)
    labels = Labels(catalogue)
    rows = [(pair.query, labels.texts_of(pair.label)) for _, pair in read_pairs(past, "train")]
    known = [(query, text) for query, texts in rows if query.strip() for text in texts]
    if not known:
        raise InputError(
            f"--past: none of the {len(rows):,} labels of {past} is a text or id of the catalogue"
        )
    left_out = sum(not (query.strip() and texts) for query, texts in rows)
    note(f"{len(rows) - left_out:,} past queries" + (f", {left_out:,} rows left out" if left_out else ""))
    return made(catalogue, count or DEFAULT_COUNT, known, fusion=fusion)


def made(
    catalogue: Catalogue,
    count: int,
    past: Iterable[tuple[str, str]],
    titles: dict[str, str] | None = None,
    fusion: Fusion | None = None,
) -> Neighbours:
    """Neighbours by past (query, entry text); `titles` are compared in place of the entries' texts."""
    from adtrie.catalogue import Neighbours

    texts = [catalogue.text(entry) for entry in range(catalogue.num_entries)]
    entry_of = {text: entry for entry, text in enumerate(texts)}
    readable = [titles.get(text, text) for text in texts] if titles else None
    pairs = [(query, entry_of[text]) for query, text in past]
    return Neighbours(catalogue, pairs, count, readable, fusion)
