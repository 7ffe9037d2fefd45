"""`adtrie optimize` on a tiny model: searches, keeps the plan, explains it, uses a kept one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_model import Run

from adtrie.engine import latency, optimize


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, private_cache: Path) -> None:
    """An empty cache, and a search that measures little."""
    monkeypatch.setenv("ADTRIE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(latency, "ROW_COUNTS", (1, 4))
    monkeypatch.setattr(latency, "_ENOUGH_MS", 0.0)
    monkeypatch.setattr(optimize, "ROW_COUNTS", (1, 8))


def test_prints_and_keeps_the_plan(run: Run, model_folder: Path) -> None:
    result = run("optimize", model_folder, "--threads", 1, "--json")
    assert result.exit_code == 0, result.stderr
    plan = json.loads(result.stdout)
    assert not plan["quick"]
    assert json.loads(Path(plan["file"]).read_text())["schedule"] == plan["schedule"]
    kept = run("optimize", model_folder, "--threads", 1, "--json", "--cached")
    assert json.loads(kept.stdout) == plan


def test_explains_every_stage(run: Run, model_folder: Path) -> None:
    result = run("optimize", model_folder, "--threads", 1, "--explain")
    assert result.exit_code == 0, result.stderr
    for word in (
        "GB/s",
        "bound ms",
        "predicted",
        "measured",
        "gate_up",
        "tiles of queries",
        "rows/s",
        "kept in",
    ):
        assert word in result.stdout


def test_a_busy_machine_is_said(run: Run, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimize.machine.OtherLoad, "share", lambda self: 0.63)
    result = run("optimize", model_folder, "--threads", 1)
    assert result.exit_code == 0, result.stderr
    assert "63%" in result.stderr


def test_no_such_model(run: Run, tmp_path: Path) -> None:
    result = run("optimize", tmp_path / "none")
    assert result.exit_code == 1
    assert result.stderr.startswith("adtrie: ")
