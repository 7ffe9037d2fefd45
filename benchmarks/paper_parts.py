"""Finished results of rows on disk, one JSON file each, so that a table is made over several runs.

A part counts only for the very question it answers: model, texts, sample and recipe are its identity. Knows
nothing of what is measured.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import machine

PARTS = machine.RESULTS / "paper_table"
SECTIONS = ("quality", "timing")


class Parts:
    """The parts of one scenario in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, row: str, section: str, identity: str | None = None) -> dict[str, Any] | None:
        """A section of a row; None where it is not made, not whole, or answers another question."""
        found = self._read(row).get(section)
        if not isinstance(found, dict) or (identity is not None and found.get("identity") != identity):
            return None
        return found

    def save(self, row: str, section: str, identity: str, result: Mapping[str, Any]) -> Path:
        """Stores a section with the machine's description; other sections of the row stay."""
        content = self._read(row)
        content[section] = {"identity": identity, "machine": machine.describe(), **result}
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(row)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        os.replace(part, path)
        return path

    def all(self) -> dict[str, dict[str, Any]]:
        """Sections of every row by the row's file name."""
        return {path.stem: self._read(path.stem) for path in sorted(self.folder.glob("*.json"))}

    def _path(self, row: str) -> Path:
        return self.folder / f"{row}.json"

    def _read(self, row: str) -> dict[str, Any]:
        try:
            content = json.loads(self._path(row).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def identity(*parts: object) -> str:
    """A short name of everything that decides a result."""
    return hashlib.sha256(json.dumps([repr(part) for part in parts]).encode()).hexdigest()[:16]
