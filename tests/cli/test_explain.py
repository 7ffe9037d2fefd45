"""`adtrie target --explain` and `--why` on a tiny model: every verdict, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_model import TEMPLATE, Run

ROWS = [
    {"id": "1", "text": "red shoe", "country": "DE"},
    {"id": "2", "text": "red shoes", "country": "DE"},
    {"id": "3", "text": "blue shoe", "country": "FR"},
    {"id": "4", "text": "green hat", "country": "DE"},
    {"id": "5", "text": "green hat", "country": "FR"},
    {"id": "6", "text": "bad\u0000text", "country": "FR"},
]


@pytest.fixture(scope="module")
def catalogue(run: Run, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = tmp_path_factory.mktemp("explain") / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    result = run("index", rows, rows.with_suffix(".cat"), "--model", model_folder)
    assert result.exit_code == 0, result.stderr
    return rows.with_suffix(".cat")


def ask(run: Run, model: Path, catalogue: Path, *options: object) -> str:
    template = ("--prompt-template", TEMPLATE)
    result = run("target", "-m", model, "-c", catalogue, *template, "--threads", 1, *options, "shoe")
    assert result.exit_code == 0, result.stderr
    return result.stdout


def verdict(run: Run, model: Path, catalogue: Path, name: str, *options: object) -> dict[str, Any]:
    (said,) = json.loads(ask(run, model, catalogue, "--json", "--why", name, *options))["why"]
    return said


def all_nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(below for child in node["children"] for below in all_nodes(child))]


def test_the_answer_stays_and_the_tree_holds_it(run: Run, model_folder: Path, catalogue: Path) -> None:
    plain = json.loads(ask(run, model_folder, catalogue, "--json", "-k", 2))
    said = json.loads(ask(run, model_folder, catalogue, "--json", "-k", 2, "--explain"))
    explanation = said.pop("explanation")
    assert {**plain, "ms": 0} == {**said, "ms": 0}
    answers = [node["answer"] for node in all_nodes(explanation["tree"]) if "answer" in node]
    wanted = [(i, hit["id"], hit["text"]) for i, hit in enumerate(plain["results"], start=1)]
    assert sorted((a["rank"], a["id"], a["text"]) for a in answers) == wanted
    assert len(explanation["forwards"]) == plain["forwards"]
    assert sum(one["rows"] for one in explanation["forwards"][1:]) <= plain["rows"]
    assert 0 < explanation["time"]["model_ms"] <= explanation["time"]["total_ms"]


def test_text_for_people(run: Run, model_folder: Path, catalogue: Path) -> None:
    shown = ask(run, model_folder, catalogue, "-k", 1, "--explain", "--why", "4")
    for part in ("ms in the model", "mass by level", "tree", "= number 1:", "why 4"):
        assert part in shown


@pytest.mark.parametrize("mode", ["exact", "verify", "stepwise"])
def test_verdicts(run: Run, model_folder: Path, catalogue: Path, mode: str) -> None:
    options = ("-k", 1, "--width", 1, "--mode", mode)
    best = json.loads(ask(run, model_folder, catalogue, "--json", *options))["results"][0]["id"]
    left_out = {"exact": ("pruned", "beaten"), "verify": ("cut",), "stepwise": ("cut",)}[mode]
    for name in "1234":
        said = verdict(run, model_folder, catalogue, name, *options)
        if name == best:
            assert said["verdict"] == "answer" and "number 1" in said["reason"]
        else:
            assert said["verdict"] in left_out and said["path"]


def test_filters_merges_refusals_and_unknown_ids(run: Run, model_folder: Path, catalogue: Path) -> None:
    said = verdict(run, model_folder, catalogue, "3", "--where", "country = DE")
    assert said["verdict"] == "filtered" and "--where" in said["reason"] and said["text"] == "blue shoe"
    said = verdict(run, model_folder, catalogue, "4")
    assert said["shares_tokens_with"] == ["5"] and said["num_sharing"] == 1
    said = verdict(run, model_folder, catalogue, "6")
    assert said["verdict"] == "unknown" and "1 rows were refused" in said["reason"]
    said = verdict(run, model_folder, catalogue, "3", "--where", "country = XX")
    assert said["verdict"] == "filtered"


def test_nothing_eligible_has_no_tree(run: Run, model_folder: Path, catalogue: Path) -> None:
    said = json.loads(ask(run, model_folder, catalogue, "--json", "--explain", "--where", "country = XX"))
    assert said["results"] == [] and said["explanation"]["tree"] is None
    ask(run, model_folder, catalogue, "--explain", "--where", "country = XX")


def test_a_budget_that_is_too_small_says_so(run: Run, model_folder: Path, catalogue: Path) -> None:
    options = ("-k", 4, "--max-rows", 3)
    said = [verdict(run, model_folder, catalogue, name, *options)["verdict"] for name in "1234"]
    assert "open" in said
