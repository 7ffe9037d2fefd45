"""The latency table: never falling, positive, part of the plan; fewer repeats where a forward is slow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adtrie.engine import Engine, latency
from adtrie.models import Checkpoint


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADTRIE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(latency, "ROW_COUNTS", (1, 2, 8))
    monkeypatch.setattr(latency, "_ENOUGH_MS", 0.0)


def test_measured_once(llama: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Engine(llama, threads=1).latency()
    monkeypatch.setattr(latency, "measure", lambda engine: pytest.fail("measured again"))
    again = Engine(llama, threads=1).latency()
    assert again.table_ms.tolist() == first.table_ms.tolist()
    assert first.table_rows.tolist() == [1, 2, 8]
    assert (first.table_ms > 0).all()
    assert (np.diff(first.table_ms) >= 0).all()


def test_slow_forwards_are_repeated_less() -> None:
    assert latency._more([])
    assert latency._more([900.0, 900.0])
    assert not latency._more([900.0, 900.0, 900.0])
    assert latency._more([5000.0])
    assert not latency._more([5000.0, 400.0])
    assert not latency._more([20_000.0])
