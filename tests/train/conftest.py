"""The tiny golden models and pairs in their byte vocabulary; skipped without torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A copy of a golden folder without links."""
    root = tmp_path_factory.mktemp("models")

    def folder(name: str) -> Path:
        target = root / name
        return target if target.exists() else Path(shutil.copytree(GOLDEN / name, target))

    return folder


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 rows whose label is a simple function of the query."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    names = ["red", "blue", "green", "grey"]
    rows = [f"{names[i % 4]} {i},{names[i % 4].upper()}" for i in range(80)]
    path.write_text("query,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path
