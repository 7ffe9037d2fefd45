"""`adtrie create` end to end on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from adapter_folder import write_adapter
from tiny_model import TEMPLATE, Run

FACTS = "name: Blue Spice; type: pub"


@pytest.fixture
def create(run: Run, model_folder: Path) -> Run:
    """Runs create with model, a short template and few tokens."""

    def invoke(*args: object, **kwargs: Any) -> Any:
        common = ("--model", model_folder, "--template", TEMPLATE, "--max-tokens", 24)
        return run("create", *common, *args, **kwargs)

    return invoke


def answers(result: Any) -> list[dict[str, Any]]:
    assert "Traceback" not in result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_json_has_the_documented_fields(create: Run) -> None:
    result = create("--json", FACTS)
    assert result.exit_code == 0, result.stderr
    (made,) = answers(result)
    assert list(made) == ["facts", "text", "finish_reason", "tokens", "forwards", "ms"]
    assert made["facts"] == FACTS
    assert 1 <= made["tokens"] <= 24 and 1 <= made["forwards"] <= 25


def test_many_at_the_same_time(create: Run) -> None:
    lines = "".join(f"name: {name}; type: pub\n" for name in ("Aromi", "Mill", "", "Blue Spice"))
    lines = lines.replace("name: ; type: pub", " ")
    one_by_one, together = (create("--json", "--concurrency", number, input=lines) for number in (1, 3))
    assert one_by_one.exit_code == together.exit_code == 1  # a line without facts
    assert one_by_one.stderr == together.stderr

    def texts(result: Any) -> list[tuple[object, ...]]:
        return [(one["facts"], one.get("text"), one.get("error")) for one in answers(result)]

    assert texts(one_by_one) == texts(together) and len(texts(together)) == 4


@pytest.mark.parametrize("chance", [(), ("--temperature", 1.5, "--seed", 3, "--top-k", 20, "--top-p", 0.9)])
@pytest.mark.parametrize(
    "rules",
    [
        (),
        ("--must-mention", "Blue Spice", "--max-chars", 40),
        ("--must-not-say", "e", "--must-not-say", "A", "--stop", "x", "--stop", "\\n"),
    ],
)
def test_drafts_change_no_text(
    create: Run, tmp_path: Path, chance: tuple[object, ...], rules: tuple[object, ...]
) -> None:
    plain = answers(create("--json", "--no-draft", *chance, *rules, FACTS))[0]
    past = tmp_path / "past.txt"
    past.write_text(f"{plain['text']}\n\nAnother text\n", encoding="utf-8")
    for options in ((), ("--drafts", past)):
        ours = answers(create("--json", *options, *chance, *rules, FACTS))[0]
        assert {**ours, "forwards": 0, "ms": 0} == {**plain, "forwards": 0, "ms": 0}
        assert ours["forwards"] <= plain["forwards"]


def test_rules_are_kept(create: Run) -> None:
    result = create("--json", "--must-mention", "Blue Spice", "--max-chars", 30, FACTS)
    (made,) = answers(result)
    assert "blue spice" in made["text"].lower() and len(made["text"]) <= 30


def test_rules_that_cannot_be_met_are_named(create: Run) -> None:
    result = create("--must-mention", "Blue Spice", "--max-chars", 5, FACTS)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "max_chars: must_mention needs 10 characters" in result.stderr


def test_the_seed_fixes_the_text(create: Run) -> None:
    texts = [
        answers(create("--json", "--temperature", 2, "--seed", seed, FACTS))[0]["text"] for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_what_only_a_beam_has_is_refused_without_one(create: Run) -> None:
    assert create("--length-penalty", 2, FACTS).exit_code == 2
    assert create("--beams", 1, "--fact-weight", 2, FACTS).exit_code == 2
    assert create("--beams", 2, "--fact-weight", 11, FACTS).exit_code == 1
    (made,) = answers(create("--json", "--beams", 3, "--length-penalty", 0, "--fact-weight", 1, FACTS))
    assert made["text"]


def test_beams_give_a_text(create: Run) -> None:
    assert answers(create("--json", "--beams", 3, FACTS))[0]["text"]
    one, plain = (answers(create("--json", *options, FACTS))[0] for options in (("--beams", 1), ()))
    assert one["text"] == plain["text"]


def test_facts_from_standard_input_keep_their_order(create: Run) -> None:
    result = create("--json", input=b"name: A\n\nname: B\n\xff\n")
    assert result.exit_code == 1
    assert [made["facts"] for made in answers(result)][:3:2] == ["name: A", "name: B"]
    assert ["error" in made for made in answers(result)] == [False, True, False, True]


def test_text_output_shows_text_and_cost(create: Run) -> None:
    result = create("--must-mention", "Spice", FACTS)
    assert "spice" in result.stdout.lower()
    assert " forwards, ended by " in result.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--max-tokens", 0], 2),
        (["--max-tokens", 10**6], 1),
        (["--max-tokens", 600], 1),
        (["--temperature", "hot"], 2),
        (["--temperature", 1e6], 1),
        (["--temperature", "nan"], 2),
        (["--top-p", 0], 1),
        (["--min-p", 2], 1),
        (["--seed", 2**70], 1),
        (["--beams", 1000], 1),
        (["--beams", 2, "--temperature", 1], 1),
        (["--must-mention", ""], 1),
        (["--must-not-say", " "], 1),
        (["--stop", ""], 1),
        (["--template", "no place"], 1),
        (["--template", "@/no/such/file"], 1),
        (["--drafts", "/no/such/file"], 1),
        (["--model", "no-such-model"], 1),
        (["--unknown"], 2),
    ],
)
def test_wrong_options_end_with_a_documented_code(create: Run, options: list[object], code: int) -> None:
    result = create(*options, FACTS)
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_a_draft_file_that_is_no_text_is_refused(create: Run, tmp_path: Path) -> None:
    past = tmp_path / "past.txt"
    past.write_bytes(b"\xff\xfe\x00")
    result = create("--drafts", past, FACTS)
    assert result.exit_code == 1 and "UTF-8" in result.stderr
    past.write_bytes(b"x" * 40_000)
    result = create("--drafts", past, FACTS)
    assert result.exit_code == 1 and "shorten" in result.stderr


def test_facts_above_the_context_are_refused(create: Run) -> None:
    result = create("long " * 300)
    assert result.exit_code == 1
    assert "context" in result.stderr


def test_an_adapter_brings_its_template(run: Run, model_folder: Path, tmp_path: Path) -> None:
    own = "Facts: {query} ="
    adapter = write_adapter(tmp_path / "adapter", model_folder, own)
    past = tmp_path / "past.txt"
    past.write_text("A pub\n", encoding="utf-8")
    common = ("create", "--model", model_folder, "--max-tokens", 12, "--json", "--drafts", past)
    tuned, given, other, plain = (
        answers(run(*common, *options, FACTS))[0]["text"]
        for options in (
            ("--adapter", adapter),
            ("--adapter", adapter, "--template", own),
            ("--adapter", adapter, "--template", TEMPLATE),
            ("--template", own),
        )
    )
    assert tuned == given
    assert tuned != other and tuned != plain


def test_an_unknown_adapter_is_one_line(create: Run) -> None:
    result = create("--adapter", "no-such-adapter", FACTS)
    assert result.exit_code == 1
    assert "no adapter 'no-such-adapter'" in result.stderr
    assert "Traceback" not in result.output
