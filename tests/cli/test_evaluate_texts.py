"""`adtrie evaluate` on a task of texts to write: its scores and floors, and the draft law."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_model import Run

from adtrie.api import Model
from adtrie.cli import evaluate
from adtrie.creative import Creative
from adtrie.evaluate import Brief, CreativeTask
from adtrie.evaluate.creative_tasks import facts_text, slots_of
from adtrie.search.text_rules import TextRules


def brief(meaning: str, split: str, *references: str) -> Brief:
    slots = slots_of(meaning)
    return Brief(facts_text(slots), references, split, slots)


TEXTS = CreativeTask(
    "e2e",
    (
        brief("name[Aromi], eatType[pub]", "train", "Aromi is a pub"),
        brief("name[Eagle], eatType[pub]", "test", "The Eagle is a pub", "Eagle, a pub"),
        brief("name[Mill], area[riverside]", "test", "Mill is by the river"),
    ),
)


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small e2e, and few tokens: the tiny model never ends a text."""
    pytest.importorskip("sacrebleu")
    monkeypatch.setattr("adtrie.evaluate.load_creative_task", lambda name: TEXTS)
    create = Model.create

    def short(self: Model, facts: str, **options: Any) -> Creative:
        return create(self, facts, TextRules(max_tokens=8), **options)

    monkeypatch.setattr(Model, "create", short)


def test_ad_text_and_the_draft_law(assess: Run, texts: None, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    page = tmp_path / "report.html"
    result = assess("e2e", "--check-draft", "--json", "--html", page)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["draft_check"] == {"num_texts": 2, "num_identical": 2, "first_difference": None}
    drafted, plain = report["costs"]
    assert drafted["tokens"] == plain["tokens"] and drafted["num_refused"] == 0
    assert drafted["tokens_per_forward"] >= plain["tokens_per_forward"]
    assert [one["method"] for one in report["scores"]] == [
        "adtrie",
        "the facts listed",
        "nearest training text",
    ]
    assert set(report["scores"][0]["metrics"]) == {"bleu", "meteor", "rouge_l", "coverage", "complete"}
    assert "Latency of a text" in page.read_text(encoding="utf-8")
    shown = assess("e2e", "--rows", 1, "--no-floors")
    assert "1 texts" in shown.stdout and "exact and Porter stem" in shown.stdout


def test_a_draft_that_changes_a_text_is_an_error(
    assess: Run, texts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Model.create

    def wrong(self: Model, facts: str, **options: Any) -> Creative:
        made = create(self, facts, **options)
        return made if options["draft"] else Creative("other", made.tokens, 1, 1.0, "end")

    monkeypatch.setattr(Model, "create", wrong)
    result = assess("e2e", "--check-draft", "--no-floors")
    assert result.exit_code == 1
    assert "identical for 0 of 2" in result.stdout  # the report is there to look at
    assert evaluate.DEFECT in result.stderr
