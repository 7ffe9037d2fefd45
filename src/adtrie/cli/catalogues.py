"""The catalogue of a command: a snapshot, or the newest version of a live one. Knows no model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from adtrie.cli.neighbours import neighbours_of, read_fusion
from adtrie.cli.terminal import note
from adtrie.cli.text_files import read_lines

if TYPE_CHECKING:
    from adtrie.catalogue import Catalogue, Selection


class Answering:
    """What queries are answered from, and what its options allow; a live catalogue is followed."""

    def __init__(
        self,
        path: Path,
        where: str | None,
        allow_ids: Path | None,
        deny_ids: Path | None,
        neighbours: int | None = None,
        past: Path | None = None,
        fusion: str | None = None,
    ) -> None:
        from adtrie.catalogue import Catalogue
        from adtrie.live import LiveCatalogue

        self._live = LiveCatalogue.open(path, write=False) if path.is_dir() else None
        self._where = where
        self._allowed = None if allow_ids is None else read_lines("--allow-ids", allow_ids)
        self._denied = None if deny_ids is None else read_lines("--deny-ids", deny_ids)
        self.catalogue: Catalogue = self._live.snapshot() if self._live else Catalogue.open(path)
        self._neighbours, self._past, self._fusion = neighbours, past, read_fusion(fusion)
        self._take()

    def refresh(self) -> None:
        """Takes in the changes made to a live catalogue since the last call."""
        if self._live is not None and self._live.refresh() != getattr(self.catalogue, "number", None):
            self.catalogue = self._live.snapshot()
            self._take()

    def _take(self) -> None:
        self.selection = self._select()
        self.seeds = neighbours_of(self.catalogue, self._neighbours, self._past, self._fusion)

    def _select(self) -> Selection | None:
        """What the options allow, told on stderr; None without any of them."""
        if self._where is None and self._allowed is None and self._denied is None:
            return None
        selection = self.catalogue.select(self._where, allow_ids=self._allowed, deny_ids=self._denied)
        unknown = f", {selection.num_unknown_ids:,} ids in no row" if selection.num_unknown_ids else ""
        note(f"{len(selection):,} of {self.catalogue.num_entries:,} entries eligible{unknown}")
        return selection
