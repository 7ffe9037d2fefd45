"""The latency table: cached per machine and model, rebuilt when the cache is foreign or damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adtrie.engine import Engine, latency
from adtrie.models import Checkpoint


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADTRIE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def only_file(cache: Path) -> Path:
    (path,) = (cache / "plans").iterdir()
    return path


def test_measured_once(llama: Checkpoint, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Engine(llama).latency()
    monkeypatch.setattr(latency, "measure", lambda engine: pytest.fail("measured again"))
    again = Engine(llama).latency()
    assert again.table_ms.tolist() == first.table_ms.tolist()
    assert (first.table_ms > 0).all()
    assert len(list((cache / "plans").iterdir())) == 1


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"key": 1}', "[" * 60_000, "x" * 100_000, "nan"])
def test_damaged_cache_is_rebuilt(llama: Checkpoint, cache: Path, damage: str) -> None:
    Engine(llama).latency()
    path = only_file(cache)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"ms": [float("nan")] * 3}) if damage == "nan" else damage)
    Engine(llama).latency()
    assert json.loads(only_file(cache).read_text())["key"] == content["key"]


def test_foreign_table_is_not_trusted(llama: Checkpoint, cache: Path) -> None:
    Engine(llama).latency()
    path = only_file(cache)
    content = json.loads(path.read_text())
    key = content["key"] | {"machine": "another"}
    path.write_text(json.dumps({"key": key, "rows": [1], "ms": [9e9]}))
    assert Engine(llama).latency().table_ms[0] < 9e9


def test_unwritable_cache_is_no_error(
    llama: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ADTRIE_CACHE", str(tmp_path / "file"))
    assert Engine(llama).latency().ms(1) > 0
