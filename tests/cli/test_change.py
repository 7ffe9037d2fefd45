"""`adtrie change`, and `target` and `inspect` of a live catalogue, with a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_model import NAMES, TEMPLATE, Run

from adtrie.live import LiveCatalogue


@pytest.fixture
def live(run: Run, catalogue_file: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "shop.live"
    result = run("change", folder, "--create", catalogue_file)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{folder}: version 0, {len(NAMES)} entries\n"
    return folder


def changed(run: Run, *args: object) -> dict[str, Any]:
    result = run("change", *args, "--json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_changes_in_one_version(run: Run, live: Path, model_folder: Path, tmp_path: Path) -> None:
    rows, ids, bids = tmp_path / "rows.csv", tmp_path / "ids.txt", tmp_path / "bids.csv"
    rows.write_text("id,text,shop\n20,purple hat,a\n21,,b\n22,red shoe,b\n", encoding="utf-8")
    added = changed(run, live, "--add", rows, "--model", model_folder)
    assert (added["version"], added["added"], added["entries"]) == (1, 2, len(NAMES) + 1)
    assert added["refused"] == [{"line": 3, "reason": "empty text"}]
    ids.write_text("0\n3\nnobody\n", encoding="utf-8")
    bids.write_text("id,bid\n20,2.5\n22,0.5\n", encoding="utf-8")
    done = changed(run, live, "--remove", ids, "--set-bid", bids, "--pause", "shop = b", "--log")
    assert (done["version"], done["removed"], done["bids"], done["paused"], done["unknown"]) == (
        2,
        2,
        2,
        1,
        1,
    )
    assert done["pauses"] == ["shop = b"] and done["entries"] == len(NAMES) - 1
    assert [one["changes"] for one in done["log"]] == [
        ["add 2 rows"],
        ["remove 3 ids", "set 2 bids", "pause shop = b"],
    ]
    result = run("change", live, "--resume", "shop = b", "--compact")
    assert result.stdout == f"{live}: version 3, {len(NAMES)} entries\n"
    assert "1 resumed" in result.stderr
    assert changed(run, live, "--rollback", 1)["entries"] == len(NAMES) + 1
    shown = json.loads(run("inspect", live, "--json").stdout)
    assert (shown["kind"], shown["version"], shown["entries"]) == ("live catalogue", 4, len(NAMES) + 1)


def test_all_or_nothing(run: Run, live: Path, model_folder: Path, tmp_path: Path) -> None:
    """Additions and the rest are one version, and none of it is made where a part cannot be."""
    rows, ids, bids = tmp_path / "rows.csv", tmp_path / "ids.txt", tmp_path / "bids.csv"
    rows.write_text("id,text\n20,purple hat\n", encoding="utf-8")
    ids.write_text("0\n", encoding="utf-8")
    bids.write_text("id,bid\n20,-1\n", encoding="utf-8")
    add = ("change", live, "--add", rows, "--model", model_folder)
    for wrong in (("--remove", tmp_path / "none.txt"), ("--set-bid", bids), ("--pause", "shop = ")):
        assert run(*add, *wrong).exit_code == 1
    assert LiveCatalogue.open(live, write=False).version == 0
    done = changed(run, *add[1:], "--remove", ids)
    assert (done["version"], done["added"], done["removed"]) == (1, 1, 1)


def test_target_follows_the_changes(run: Run, live: Path, model_folder: Path) -> None:
    def answers(*args: object, input: str | None = None) -> list[list[str]]:
        asked = ["target", "-m", model_folder, "-c", live, "--prompt-template", TEMPLATE, "--k", 9, "--json"]
        result = run(*asked, *args, input=input)
        assert result.exit_code == 0, result.stderr
        lines = map(json.loads, result.stdout.splitlines())
        return [sorted(one["text"] for one in line["results"]) for line in lines]

    assert answers("shoe") == [sorted(NAMES)]
    with LiveCatalogue.open(live) as writer:
        writer.remove(["0", "1", "2"])
        assert answers("shoe") == [sorted(NAMES[3:])]
        writer.remove(["3", "4"])
        assert answers("shoe", "hat") == [[NAMES[5]]] * 2
        writer.remove(["5"])
        assert answers("shoe") == [[]]
        writer.rollback(1)
    assert answers(input="shoe\nhat\n") == [sorted(NAMES[3:])] * 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--add", "rows.csv"], "--model"),
        (["--rollback", 7], "version 7 is not held"),
        (["--pause", "shop ="], "expected a value"),
        (["--pause", "shop = a"], "no attribute 'shop'"),
        (["--remove", "none.txt"], "none.txt"),
        (["--set-bid", "bids.csv"], "expected id and bid"),
        (["--set-bid", "wrong.csv"], "line 2"),
    ],
)
def test_refused(
    run: Run, live: Path, tmp_path: Path, monkeypatch: Any, args: list[Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bids.csv").write_text("id,price\n1,2\n", encoding="utf-8")
    (tmp_path / "wrong.csv").write_text("id,bid\n1,cheap\n", encoding="utf-8")
    result = run("change", live, *args)
    assert result.exit_code == 1 and message in result.stderr
    assert result.stderr.count("\n") == 1 and not result.stdout
    assert changed(run, live)["version"] == 0


def test_no_live_catalogue(run: Run, tmp_path: Path, catalogue_file: Path) -> None:
    for path in (tmp_path / "none", catalogue_file):
        result = run("change", path, "--compact")
        assert result.exit_code == 1 and "adtrie change --create" in result.stderr


def test_blocked_categories(run: Run, model_folder: Path, tmp_path: Path) -> None:
    rows, out, table = tmp_path / "rows.csv", tmp_path / "rows.cat", tmp_path / "taxonomy.tsv"
    rows.write_text("text,iab,n\nred,IAB25-3,1\nblue,IAB2,2\ngreen,,3\n", encoding="utf-8")
    table.write_text("Unique ID\tParent\tName\n1\t\tx\n2\t1\ty\n", encoding="utf-8")
    assert run("index", rows, out, "-m", model_folder).exit_code == 0

    def texts(*args: object) -> list[str]:
        asked = ["target", "-m", model_folder, "-c", out, "--prompt-template", TEMPLATE, "--json", "q"]
        result = run(*asked, *args)
        assert result.exit_code == 0, result.stderr
        return sorted(one["text"] for one in json.loads(result.stdout)["results"])

    assert texts("--block", "iab=IAB25") == ["blue", "green"]
    assert texts("--block", "iab=IAB25,IAB2", "--where", "n < 9") == ["green"]
    assert texts("--block", "n=1", "--taxonomy", table) == ["green"]
    assert texts("--block", "iab=IAB25", "--block", "iab=IAB2", "--where", "has iab") == []
    result = run("target", "-m", model_folder, "-c", out, "--block", "IAB25", "q")
    assert result.exit_code == 1 and "ATTRIBUTE=CODE" in result.stderr
