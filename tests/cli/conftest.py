"""A tiny real model and a catalogue for it: the whole command line without a download."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_model import GOLDEN, NAMES, TEMPLATE, Run
from typer.testing import CliRunner, Result

from adtrie.cli import app


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A golden checkpoint as a folder of plain files."""
    folder = tmp_path_factory.mktemp("model") / "llama"
    shutil.copytree(GOLDEN / "llama", folder)
    return folder


@pytest.fixture(scope="session")
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """ADTRIE_CACHE of the tests, so that they neither read nor write the user's."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("ADTRIE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def run(private_cache: Path) -> Run:
    """Runs the command line in this process; `input` is its standard input."""

    def invoke(*args: object, input: str | bytes | None = None) -> Result:
        return CliRunner().invoke(app, [str(arg) for arg in args], input=input)

    return invoke


@pytest.fixture(scope="session")
def catalogue_file(model_folder: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of NAMES with ids 0, 1, ..."""
    folder = tmp_path_factory.mktemp("catalogue")
    rows = folder / "rows.csv"
    rows.write_text("id,text\n" + "".join(f"{i},{name}\n" for i, name in enumerate(NAMES)), encoding="utf-8")
    out = folder / "rows.cat"
    result = run("index", rows, out, "--model", model_folder)
    assert result.exit_code == 0, result.stderr
    return out


@pytest.fixture
def assess(run: Run, model_folder: Path) -> Run:
    """Runs evaluate with model and a short template."""

    def invoke(*args: object, **kwargs: Any) -> Any:
        return run("evaluate", *args, "--model", model_folder, "--prompt-template", TEMPLATE, **kwargs)

    return invoke
