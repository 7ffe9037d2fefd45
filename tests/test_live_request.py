"""Requests with all options on a live catalogue, and requests that contradict themselves; a tiny model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import adtrie
from adtrie.cli import app
from adtrie.errors import InputError
from adtrie.explain import explain, why

SHORT = adtrie.PromptTemplate("Q: ", "\nA:")
ROWS: list[dict[str, Any]] = [
    {"text": "red shoe", "id": "0", "bid": 1.0, "by": "a", "country": "DE"},
    {"text": "red shoe", "id": "1", "bid": 3.0, "by": "b", "country": "FR"},
    {"text": "red shoes", "id": "2", "bid": 2.0, "by": "a", "country": "DE"},
    {"text": "blue shoe", "id": "3", "bid": 0.5, "by": "a", "country": "DE"},
    {"text": "green hat", "id": "4", "by": "b", "country": "FR"},
]


@pytest.fixture
def live(model: adtrie.Model, tmp_path: Path) -> Iterator[adtrie.LiveCatalogue]:
    adtrie.LiveCatalogue.create(tmp_path / "shop.live", adtrie.Catalogue.build(ROWS, model))
    with adtrie.LiveCatalogue.open(tmp_path / "shop.live", model) as opened:
        yield opened


def texts(model: adtrie.Model, live: adtrie.LiveCatalogue, **options: Any) -> list[str]:
    hits = model.target("shoe", live.snapshot(), template=SHORT, **options)
    assert hits.gap == 0.0
    return [hit.text for hit in hits]


def test_bids_caps_and_priors_follow_the_newest_version(
    model: adtrie.Model, live: adtrie.LiveCatalogue
) -> None:
    live.set_bid(["4"], [1e9])
    assert texts(model, live, k=1, bid_weight=10.0) == ["green hat"]
    live.add([{"text": "grey hat", "id": "5", "bid": 1e30, "by": "b"}])
    assert texts(model, live, k=1, bid_weight=10.0) == ["grey hat"]
    assert "green hat" not in texts(model, live, k=9, bid_weight=10.0, at_most="1:by")
    live.remove(["5"])
    assert texts(model, live, k=1, bid_weight=10.0) == ["green hat"]
    live.pause("by = b")
    found = texts(model, live, k=9, bid_weight=10.0)
    assert sorted(found) == ["blue shoe", "red shoe", "red shoes"]  # the red shoe of a, who bids 1
    assert len(texts(model, live, k=9, at_most="1:by")) == 1
    version = live.snapshot()
    values = np.zeros(version.num_entries)
    values[next(e for e in range(version.num_entries) if version.text(e) == "blue shoe")] = 1e3
    assert texts(model, live, k=1, prior=adtrie.Prior(values))[0] == "blue shoe"
    live.rollback(1)
    assert texts(model, live, k=1, bid_weight=10.0) == ["green hat"]


def test_a_version_has_no_bids_to_set(live: adtrie.LiveCatalogue) -> None:
    with pytest.raises(InputError, match=r"LiveCatalogue\.set_bid"):
        _ = live.snapshot().bids


BAD_BIDS = [float("nan"), float("inf"), -1.0, 0.0, 10**400, 10**5000, "1"]


@pytest.mark.parametrize("bad", BAD_BIDS, ids=range(len(BAD_BIDS)))
def test_bids_that_are_none_change_nothing(live: adtrie.LiveCatalogue, bad: Any) -> None:
    with pytest.raises(InputError, match="bid"):
        live.set_bid(["4"], [bad])
    assert live.version == 0


@pytest.mark.parametrize("mode", ["exact", "verify", "stepwise"])
def test_contradictions_and_unknown_ids_are_empty_answers(
    model: adtrie.Model, live: adtrie.LiveCatalogue, mode: Any
) -> None:
    options: dict[str, Any] = {"mode": mode, "bid_weight": 2.0, "deadline_ms": 1e6, "seeds": [0, 1]}
    if mode == "exact":
        options["at_most"] = "1:by"
    assert texts(model, live, where="country = DE and country = FR", **options) == []
    assert texts(model, live, allow_ids=["nobody"], **options) == []
    assert texts(model, live, allow_ids=["4"], deny_ids=["4"], **options) == []


def test_weight_zero_is_no_weight_and_k_may_exceed(model: adtrie.Model, live: adtrie.LiveCatalogue) -> None:
    plain = model.target("shoe", live.snapshot(), 99, template=SHORT)
    weighted = model.target("shoe", live.snapshot(), 99, template=SHORT, bid_weight=0)
    assert [hit.score for hit in plain] == [hit.score for hit in weighted] and len(plain) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"where": "country = DE and"}, "where"),
        ({"where": "land = DE"}, "no attribute 'land'"),
        ({"at_most": "1:buy"}, "no attribute 'buy'"),
        ({"k": 0}, "k: expected"),
        ({"deadline_ms": -1}, "deadline_ms: expected"),
        ({"bid_weight": -2}, "bid weight: expected"),
        ({"bid_weight": 10**5000}, "bid weight: expected"),
        ({"deadline_ms": 10**5000}, "deadline_ms: expected"),
        ({"bid_weight": float("nan")}, "bid weight: expected"),
        ({"seeds": [99]}, "seeds: expected"),
        ({"prior": adtrie.Prior([1.0])}, "prior: expected 4 entries"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_one_clear_error(
    model: adtrie.Model, live: adtrie.LiveCatalogue, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        model.target("shoe", live.snapshot(), template=SHORT, **options)


def test_why_tells_caps_and_bids(model: adtrie.Model, live: adtrie.LiveCatalogue) -> None:
    options = adtrie.TargetOptions(k=9, bid_weight=5.0, at_most="1:by")
    said = explain(model, "shoe", live.snapshot(), options, SHORT)
    live.set_bid(["3"], [50.0])  # the blue shoe is second, and of the same as the first
    (verdict,) = why(explain(model, "shoe", live.snapshot(), options, SHORT), "2")
    assert verdict["verdict"] == "beaten" or "1 of the same by" in verdict["reason"]
    assert len(said.hits) == 2
    out = {row["text"] for row in ROWS} - {hit.text for hit in said.hits}
    for row in ROWS:
        (verdict,) = why(said, row["id"])
        if row["text"] in out:
            assert verdict["verdict"] in ("capped", "beaten", "pruned")
        else:
            assert verdict["verdict"] == "answer"


def test_explained_with_neighbours(
    folder: Path, live: adtrie.LiveCatalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setenv("ADTRIE_CACHE", str(tmp_path / "cache"))
    command = ["target", "-m", str(folder), "-c", str(live.path), "--json", "--threads", "1", "--explain"]
    for mode in ("exact", "verify", "stepwise"):
        options = ["--neighbours", "2", "--mode", mode, "--width", "1", "-k", "1", "--why", "3"]
        done = CliRunner().invoke(app, [*command, *options, "blue shoe"])
        assert done.exit_code == 0, done.stderr
        said = json.loads(done.stdout)
        assert said["explanation"]["tree"] is not None and said["why"][0]["verdict"] != "unknown"
