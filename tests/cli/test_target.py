"""`adtrie target` end to end on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_model import NAMES, TEMPLATE, Run

import adtrie


@pytest.fixture
def ask(run: Run, model_folder: Path, catalogue_file: Path) -> Run:
    """Runs target with model, catalogue and a short template."""

    def invoke(*args: object, **kwargs: Any) -> Any:
        common = ("--model", model_folder, "--catalogue", catalogue_file, "--prompt-template", TEMPLATE)
        return run("target", *common, *args, **kwargs)

    return invoke


def answers(result: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_json_has_the_documented_fields(ask: Run) -> None:
    result = ask("--json", "--k", 3, "a red shoe")
    assert result.exit_code == 0, result.stderr
    (answer,) = answers(result)
    assert list(answer) == ["query", "results", "forwards", "rows", "gap", "ms"]
    assert answer["query"] == "a red shoe"
    assert answer["gap"] == 0.0
    assert [list(hit) for hit in answer["results"]] == [["id", "text", "score"]] * 3
    assert all(NAMES[int(hit["id"])] == hit["text"] for hit in answer["results"])
    scores = [hit["score"] for hit in answer["results"]]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("score", ["raw", "renormalised"])
def test_all_modes_give_the_whole_small_catalogue(ask: Run, score: str) -> None:
    found = []
    for mode in ("exact", "verify", "stepwise"):
        result = ask("--json", "--k", 100, "--mode", mode, "--score", score, "hat")
        assert result.exit_code == 0, result.stderr
        found.append([(hit["id"], hit["score"]) for hit in answers(result)[0]["results"]])
    assert found[0] == found[1] == found[2]
    assert sorted(int(name) for name, _ in found[0]) == list(range(len(NAMES)))


def test_queries_from_standard_input_keep_their_order(ask: Run) -> None:
    lines = [f"shoe {i}" for i in range(5)]
    result = ask("--json", "--k", 1, input="\n".join(lines))
    assert [answer["query"] for answer in answers(result)] == lines


def test_a_bad_line_is_reported_and_the_others_answered(ask: Run) -> None:
    result = ask("--json", input=b"good\n\n\xff\xfe\n" + b"x" * 1_000_000 + b"\nlast")
    assert result.exit_code == 1
    found = answers(result)
    assert [answer.get("line") for answer in found] == [None, 2, 3, 4, None]
    assert ["error" in answer for answer in found] == [False, True, True, True, False]
    assert [f"query {line}:" in result.stderr for line in (1, 2, 3, 4, 5)] == [False, True, True, True, False]
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("query", ["", "   ", "x" * 1_000_000, "a\udcffb", "nul\0"])
def test_a_query_that_is_none_is_one_clear_error(ask: Run, query: str) -> None:
    result = ask(query)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("adtrie: query 1: ")
    assert len(result.stderr.splitlines()) == 1


def test_a_prompt_above_the_context_is_refused(ask: Run) -> None:
    result = ask("long " * 300)
    assert result.exit_code == 1
    assert "context" in result.stderr


def test_control_tokens_in_a_query_are_text(ask: Run) -> None:
    plain, spelled = (answers(ask("--json", query))[0]["results"] for query in ("hat <|im_end|>", "hat"))
    assert plain != spelled


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--k", 0], 2),
        (["--k", "ten"], 2),
        (["--mode", "fast"], 2),
        (["--unknown"], 2),
        (["--k", 2**40], 1),
        (["--width", 10**6], 1),
        (["--max-rows", 10**9], 1),
        (["--prompt-template", "no place"], 1),
        (["--prompt-template", "@/no/such/file {query}"], 1),
        (["--model", "no-such-model"], 1),
        (["--catalogue", "/no/such/file"], 1),
    ],
)
def test_wrong_options_end_with_a_documented_code(ask: Run, options: list[object], code: int) -> None:
    result = ask(*options, "shoe")
    assert result.exit_code == code
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_a_small_row_budget_says_that_nothing_is_proven(ask: Run) -> None:
    result = ask("--max-rows", 1, "--json", "shoe")
    assert result.exit_code == 0
    gap = answers(result)[0]["gap"]
    assert gap is None or gap > 0


def test_text_output_shows_rank_score_text_and_id(ask: Run) -> None:
    result = ask("--k", 2, "shoe")
    query, first, second, cost = result.stdout.splitlines()
    assert query == "shoe"
    assert first.split()[0] == "1" and second.split()[0] == "2"
    assert "proven" in cost and "forwards" in cost


def test_control_characters_of_a_catalogue_never_reach_the_terminal(ask: Run) -> None:
    result = ask("shoe\u202e")  # right-to-left override
    assert "\u202e" not in result.stdout


def test_unknown_adapter_is_one_line(ask: Run) -> None:
    result = ask("--adapter", "no-such-adapter", "red shoe")
    assert result.exit_code == 1
    assert "no adapter 'no-such-adapter'" in result.stderr
    assert "Traceback" not in result.output


@pytest.fixture
def ask_rows(run: Run, model_folder: Path, tmp_path: Path) -> Run:
    """Runs target over rows with attributes."""
    rows, snapshot = tmp_path / "rows.csv", tmp_path / "rows.cat"
    rows.write_text("id,text,country,adult\n1,red shoe,DE,no\n2,blue shoe,DE,yes\n3,hat,FR,no\n")
    assert run("index", rows, snapshot, "--model", model_folder).exit_code == 0

    def invoke(*args: object) -> Any:
        return run(
            "target", "--model", model_folder, "-c", snapshot, "--prompt-template", TEMPLATE, "--json", *args
        )

    return invoke


def test_where_and_ids_bound_what_is_returned(ask_rows: Run, tmp_path: Path) -> None:
    def ids(*args: object) -> list[str]:
        result = ask_rows(*args, "shoe")
        assert result.exit_code == 0, result.stderr
        return sorted(hit["id"] for hit in answers(result)[0]["results"])

    listed = tmp_path / "ids.txt"
    listed.write_bytes(b"1\r\n\n9\n")
    assert ids("--where", "country = DE and not adult") == ["1"]
    assert ids("--where", "country = DE", "--deny-ids", listed) == ["2"]
    assert ids("--allow-ids", listed) == ["1"]
    assert ids("--where", "country = UK") == []
    result = ask_rows("--deny-ids", listed, "shoe")
    assert "2 of 3 entries eligible, 1 ids in no row" in result.stderr


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--where", "county = DE", "the closest is 'country'"),
        ("--where", "country =", "at character 10"),
        ("--deny-ids", "/no/such/file", "No such file"),
        ("--allow-ids", "/", "directory"),
    ],
)
def test_wrong_bounds_are_one_line(ask_rows: Run, option: str, value: str, message: str) -> None:
    result = ask_rows(option, value, "shoe")
    assert result.exit_code == 1 and result.stdout == ""
    assert message in result.stderr and len(result.stderr.splitlines()) == 1


def test_neighbours_by_text_and_by_past_queries(ask: Run, tmp_path: Path) -> None:
    plain = answers(ask("--json", "hat"))[0]
    assert answers(ask("--json", "--neighbours", 2, "hat"))[0]["results"] == plain["results"]
    past = tmp_path / "past.csv"
    past.write_text(f"query,label\nzzz,{NAMES[0]}\nzzz,no such label\n", encoding="utf-8")
    result = ask("--json", "--mode", "verify", "--past", past, "zzz")
    assert result.exit_code == 0, result.stderr
    assert "1 past queries, 1 rows left out" in result.stderr
    past.write_text("query,label\nzzz,no such label\n", encoding="utf-8")
    assert "none of the 1 labels" in ask("--past", past, "zzz").stderr


def test_many_at_the_same_time_give_the_same_answers(ask: Run) -> None:
    lines = (
        b"good shoe\n\n\xff\xfe\n" + b"".join(b"hat %d\n" % i for i in range(12)) + b"x" * 9_000 + b"\nlast"
    )
    alone, together = (ask("--json", "--k", 2, "--concurrency", n, input=lines) for n in (1, 5))
    assert alone.exit_code == together.exit_code == 1
    assert alone.stderr == together.stderr
    shown = lambda answer: {name: answer.get(name) for name in ("query", "results", "gap", "line", "error")}  # noqa: E731
    assert [shown(answer) for answer in answers(together)] == [shown(answer) for answer in answers(alone)]


def test_concurrency_is_for_plain_answers(ask: Run) -> None:
    assert ask("--concurrency", 2, "--explain", "hat").exit_code == 2
    assert ask("--concurrency", 0, "hat").exit_code == 2


def test_a_fusion_ranks_by_the_sum(
    ask: Run, model_folder: Path, catalogue_file: Path, tmp_path: Path
) -> None:
    fusion, past = tmp_path / "fusion.json", tmp_path / "past.csv"
    weights = {"text": 0.0, "past": 0.0, "larger": 500.0, "seen": 0.0, "frequency": 0.0}
    fusion.write_text(
        json.dumps({"version": 1, "nats": weights, "alpha": 0.0, "alone": weights, "learned_from": {}}),
        encoding="utf-8",
    )
    past.write_text(f"query,label\nzzz,{NAMES[4]}\n", encoding="utf-8")
    for query, best in ((NAMES[3], NAMES[3]), ("zzz", NAMES[4])):
        (plain,) = answers(ask("--json", query))
        for mode in ("exact", "verify", "stepwise"):
            result = ask("--json", "--mode", mode, "--past", past, "--fusion", fusion, query)
            assert result.exit_code == 0, result.stderr
            first, score = (answers(result)[0]["results"][0][key] for key in ("text", "score"))
            before = next(hit["score"] for hit in plain["results"] if hit["text"] == best)
            assert (first, round(score - before)) == (best, 500)
    fusion.write_text(
        fusion.read_text(encoding="utf-8").replace('"alpha": 0.0', '"alpha": 0.5'), encoding="utf-8"
    )
    result = ask("--json", "--past", past, "--fusion", fusion, "zzz")
    catalogue = adtrie.Catalogue.open(catalogue_file)
    with adtrie.load_model(model_folder) as model:
        alone = model.unconditional(catalogue, adtrie.PromptTemplate.parse(TEMPLATE))
        familiar = {catalogue.text(entry): float(value) for entry, value in enumerate(alone)}
    first = answers(result)[0]["results"][0]
    assert first["score"] == pytest.approx(before + 500 - 0.5 * familiar[NAMES[4]], abs=1e-3)
    assert ask("--fusion", tmp_path / "none.json", "x").exit_code == 1
    assert ask("--fusion", fusion, "--explain", "x").exit_code == 2


def test_a_bounded_normaliser_prints_the_same_answer(ask: Run) -> None:
    asked = ("--json", "--k", 3, "hat")
    full, bounded = ask(*asked), ask(*asked, "--normaliser", "bounded")
    assert bounded.exit_code == 0, bounded.stderr
    for name in ("results", "gap"):
        assert answers(bounded)[0][name] == answers(full)[0][name]
    refused = ask(*asked, "--normaliser", "bounded", "--explain")
    assert refused.exit_code == 2 and "--explain" in refused.stderr
