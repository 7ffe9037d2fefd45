"""Deadlines, settings, bids and caps of whole requests on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import adtrie
from adtrie.cli import app
from adtrie.errors import InputError

SHORT = adtrie.PromptTemplate("Q: ", "\nA:")
ROWS: list[dict[str, Any]] = [
    {"text": "red shoe", "id": "0", "bid": 1.0, "by": "a", "country": "DE"},
    {"text": "red shoe", "id": "1", "bid": 3.0, "by": "b", "country": "FR"},
    {"text": "red shoes", "id": "2", "bid": 2.0, "by": "a", "country": "DE"},
    {"text": "blue shoe", "id": "3", "bid": 0.5, "by": "a", "country": "DE"},
    {"text": "green hat", "id": "4", "by": "b", "country": "FR"},
    {"text": "grey hat", "id": "5", "bid": 100.0, "country": "DE"},
]


@pytest.fixture
def catalogue(model: adtrie.Model) -> adtrie.Catalogue:
    return adtrie.Catalogue.build(ROWS, model)


def answer(hits: adtrie.Hits) -> list[tuple[str, float]]:
    return [(hit.text, hit.score) for hit in hits]


@pytest.mark.parametrize("mode", ["exact", "verify", "stepwise"])
@pytest.mark.parametrize("where", [None, "country = DE"])
def test_bids_add_weight_times_log(
    model: adtrie.Model, catalogue: adtrie.Catalogue, mode: Any, where: str | None
) -> None:
    """Of the rows that the filter leaves, also beside a prior."""
    rows = [row for row in ROWS if where is None or row["country"] == "DE"]
    bids = {row["text"]: max(r.get("bid", 1.0) for r in rows if r["text"] == row["text"]) for row in rows}
    prior = np.arange(catalogue.num_entries) * 0.25
    place = {catalogue.text(entry): entry for entry in range(catalogue.num_entries)}
    plain = model.target("shoe", catalogue, 10, mode, template=SHORT, where=where)
    found = model.target(
        "shoe",
        catalogue,
        10,
        mode,
        template=SHORT,
        where=where,
        bid_weight=2.0,
        prior=adtrie.Prior(prior),
    )
    expected = {t: s + (2.0 * np.log(bids[t]) + prior[place[t]]) for t, s in answer(plain)}
    assert [text for text, _ in answer(found)] == sorted(expected, key=lambda t: (-expected[t], place[t]))
    assert [score for _, score in answer(found)] == pytest.approx(sorted(expected.values(), reverse=True))
    assert found.gap == 0.0


def test_bids_change_between_requests(model: adtrie.Model, catalogue: adtrie.Catalogue) -> None:
    ask = lambda: model.target("shoe", catalogue, 1, template=SHORT, bid_weight=10.0)[0].text  # noqa: E731
    assert ask() == "grey hat"
    row = [i for i, r in enumerate(sorted(ROWS, key=lambda r: r["text"])) if r["text"] == "green hat"]
    entry = next(e for e in range(catalogue.num_entries) if catalogue.text(e) == "green hat")
    assert len(row) == 1
    ptr = np.cumsum([0, *(len(catalogue.rows(e)) for e in range(catalogue.num_entries))])
    catalogue.bids.set([ptr[entry]], [1e9])
    assert ask() == "green hat"


@pytest.mark.parametrize("prefer", ["auto", "rows", "forwards"])
def test_at_most_one_of_each(model: adtrie.Model, catalogue: adtrie.Catalogue, prefer: Any) -> None:
    """The shoe of both counts for b, who bids more; the grey hat is nobody's."""
    by = {"red shoe": "b", "red shoes": "a", "blue shoe": "a", "green hat": "b", "grey hat": None}
    for at_most in ("1:by", (1, "by"), " 1:by".strip()):
        hits = model.target("shoe", catalogue, 10, template=SHORT, at_most=at_most, prefer=prefer)
        assert sorted(str(by[hit.text]) for hit in hits) == ["None", "a", "b"] and hits.gap == 0.0
    everything = answer(model.target("shoe", catalogue, 10, template=SHORT))
    taken: set[str] = set()
    expected = []
    for text, score in everything:
        if by[text] is None or by[text] not in taken:
            expected.append((text, score))
            taken.add(by[text] or "")
    assert answer(hits) == expected
    german = model.target("shoe", catalogue, 10, template=SHORT, at_most="1:by", where="country = DE")
    assert {hit.text for hit in german} > {"grey hat"} and len(german) == 2


def test_time_for_nothing_and_for_everything(model: adtrie.Model, catalogue: adtrie.Catalogue) -> None:
    for mode in ("exact", "verify", "stepwise"):
        none = model.target("shoe", catalogue, 3, mode, template=SHORT, deadline_ms=0)  # type: ignore[arg-type]
        assert (len(none), none.gap, none.forwards, none.rows) == (0, np.inf, 0, 0)
        plenty = model.target("shoe", catalogue, 3, mode, template=SHORT, deadline_ms=1e6)  # type: ignore[arg-type]
        assert answer(plenty) == answer(model.target("shoe", catalogue, 3, mode, template=SHORT))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"deadline_ms": -1},
        {"deadline_ms": float("nan")},
        {"deadline_ms": "5"},
        {"prefer": "speed"},
        {"prefer": None},
        {"bid weight": -1.0},
        {"bid weight": float("nan")},
        {"bid weight": 1e9},
        {"at_most": "advertiser"},
        {"at_most": "0:advertiser"},
        {"at_most": "1:"},
        {"at_most": (1.5, "advertiser")},
        {"at_most": (1, 2)},
        {"at_most": 1},
        {"at_most": "1:by", "mode": "verify"},
    ],
    ids=str,
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    name = next(iter(options))
    with pytest.raises(InputError, match=f"^{name}: "):
        adtrie.TargetOptions(**{key.replace(" ", "_"): value for key, value in options.items()})


def test_the_command_line_takes_them(
    folder: Path, catalogue: adtrie.Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADTRIE_CACHE", str(tmp_path / "cache"))
    catalogue.save(tmp_path / "c.cat")
    command = ["target", "-m", str(folder), "-c", str(tmp_path / "c.cat"), "--json", "--threads", "1"]
    run = lambda *more: CliRunner().invoke(app, [*command, *more, "shoe"])  # noqa: E731
    done = run("--at-most", "1:by", "--bid-weight", "100", "--prefer", "rows", "--deadline-ms", "1e6")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["results"][0]["text"] == "grey hat" and len(found["results"]) == 3 and found["gap"] == 0.0
    late = run("--deadline-ms", "0")
    assert json.loads(late.stdout)["results"] == [] and json.loads(late.stdout)["gap"] is None
    for bad, code, said in (
        (("--at-most", "by"), 1, "NUMBER:ATTRIBUTE"),
        (("--at-most", "1:buy"), 1, "no attribute 'buy'"),
        (("--deadline-ms", "-1"), 2, "deadline-ms"),
        (("--bid-weight", "1e9"), 1, "bid weight: expected"),
    ):
        refused = run(*bad)
        assert refused.exit_code == code and said in refused.stdout + refused.stderr


def test_neighbours_are_not_looked_for_where_nothing_can_be_scored(
    model: adtrie.Model, catalogue: adtrie.Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbours, asked = adtrie.Neighbours(catalogue, count=2), list[str]()
    find = neighbours.of
    monkeypatch.setattr(neighbours, "of", lambda query: asked.append(query) or find(query))
    for deadline_ms, looks in ((0, []), (1e6, ["shoe"])):
        hits = model.target("shoe", catalogue, 2, template=SHORT, seeds=neighbours, deadline_ms=deadline_ms)
        assert asked == looks
        assert len(hits) == 2 * len(looks)
        assert hits.gap == (0.0 if looks else np.inf)
