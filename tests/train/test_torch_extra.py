"""Without the extra [train]: one line that says how to install it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from adtrie.cli import app
from adtrie.train import torch_extra


@pytest.mark.parametrize(
    "words",
    [["tune", "pricerunner"], ["recover", "packed", "--teacher", "smollm2-135m", "--task", "pricerunner"]],
)
def test_the_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.setattr(torch_extra, "find_spec", lambda name: None)
    done = CliRunner().invoke(app, [*words, str(tmp_path / "a")])
    assert done.exit_code == 1
    assert "pip install 'adtrie[train]'" in done.stderr
    assert "Traceback" not in done.output
