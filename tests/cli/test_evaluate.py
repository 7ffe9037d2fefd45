"""`adtrie evaluate` end to end on a tiny model: own pairs, bad input, priors, fusions, the page."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from adapter_folder import write_adapter
from tiny_model import NAMES, TEMPLATE, Run

from adtrie.evaluate import Pair, Task

PAIRS = """query,label,split
a red shoe,red shoe,train
Some  shoes,red shoes,train
some shoes,1,test
blue one,blue shoe,test
green one,green hat,test
beret,beret,test
,red shoe,test
a dev row,red shoe,dev
"""
WriteFile = Callable[[str], Path]


@pytest.fixture
def pairs(tmp_path: Path) -> WriteFile:
    def write(text: str) -> Path:
        path = tmp_path / "pairs.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_own_pairs_as_one_json_object(
    assess: Run, pairs: WriteFile, catalogue_file: Path, tmp_path: Path
) -> None:
    pytest.importorskip("sklearn")
    page = tmp_path / "report.html"
    result = assess("--pairs", pairs(PAIRS), "--catalogue", catalogue_file, "--json", "--html", page)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["task"] == "pairs.csv" and report["machine"]["adtrie"]
    counts = report["counts"]
    assert (counts["asked"], counts["train"], counts["unknown_labels"]) == (4, 1, 1)
    assert (counts["unusable"], counts["train_also_asked"]) == (1, 1)
    assert {(one["group"], one["num_rows"]) for one in report["scores"]} == {("cold", 4)}
    assert [one["method"] for one in report["scores"]] == [
        "adtrie",
        "TF-IDF on labels",
        "nearest training query",
        "popularity",
    ]
    ours = report["scores"][0]
    # All six entries are returned, so every known label is found within ten.
    assert ours["recall"][5:] == [0.75] * 5 and ours["validity"] == 1.0 and len(ours["recall"]) == 10
    assert ours["at_k"]["mean"] == 0.75 and ours["ahead_at_1"] is None
    setting = report["setting"]
    assert (setting["mode"], setting["k"], setting["width"], setting["entries"]) == (
        "verify",
        10,
        10,
        len(NAMES),
    )
    assert setting["adapter"] is None and setting["prompt"] == TEMPLATE.replace("\\n", "\n")
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("mode", ["verify", "exact", "stepwise"])
def test_modes_agree_where_the_beam_holds_everything(
    assess: Run, pairs: WriteFile, catalogue_file: Path, mode: str
) -> None:
    common = ("--pairs", pairs(PAIRS), "--catalogue", catalogue_file, "--json", "--no-floors")
    plain = json.loads(assess(*common).stdout)
    ours = json.loads(assess(*common, "--mode", mode, "--threads", 1).stdout)
    assert ours["scores"] == plain["scores"]
    assert ours["setting"]["mode"] == mode
    assert (ours["costs"][0]["num_proven"] == 4) or mode != "exact"


def test_a_catalogue_is_anything_that_index_takes(assess: Run, pairs: WriteFile, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("id,text\n1,red shoes\n2,blue shoe\n2,\n", encoding="utf-8")
    result = assess(
        "--pairs",
        pairs("query,label\nsome shoes,1\nblue,blue shoe\n"),
        "--catalogue",
        rows,
        "--no-floors",
        "-k",
        1,
    )
    assert result.exit_code == 0, result.stderr
    assert "All (no training rows), 2 rows" in result.stdout
    assert "rows refused by index: 1" in " ".join(result.stdout.split())
    assert "100.0 %" in result.stdout and "R@1" in result.stdout and "R@10" not in result.stdout


def test_hostile_text_reaches_neither_terminal_nor_page(
    assess: Run, pairs: WriteFile, tmp_path: Path
) -> None:
    rows, page = tmp_path / "rows.jsonl", tmp_path / "r.html"
    rows.write_text('{"text": "<script>alert(1)</script>"}\n{"text": "hat"}\n', encoding="utf-8")
    asked = pairs(
        "query,label\n<img src=x>,<script>alert(1)</script>\nq,\u2028odd\u2028\nq2,no\u200a\u0085x\n"
    )
    result = assess("--pairs", asked, "--catalogue", rows, "--no-floors", "--html", page)
    assert result.exit_code == 0, result.stderr
    made = page.read_text(encoding="utf-8")
    assert "<script" not in made and "<img" not in made and "&lt;script&gt;" in made
    assert all(char.isprintable() or char == "\n" for char in result.stdout)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("query,label\nq,nothing\nr,none\n", 1, "none of the 2 rows"),
        ("query,label\n", 1, "no row of split 'test'"),
        ("query,label,split\nq,hat,train\n", 1, "no row of split 'test'"),
        ("query,label,split\nq,hat,cold\n", 1, "split is 'cold'"),
        ("q,l\n1,2\n", 1, "columns"),
        ("", 1, "columns"),
    ],
)
def test_pairs_that_cannot_be_used(
    assess: Run, pairs: WriteFile, catalogue_file: Path, text: str, code: int, words: str
) -> None:
    result = assess("--pairs", pairs(text), "--catalogue", catalogue_file, "--no-floors")
    assert result.exit_code == code
    assert words in result.stderr and "Traceback" not in result.output
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ([], 2, "--catalogue"),
        (["--pairs", "x.csv"], 2, "--catalogue"),
        (["--catalogue", "x.cat"], 2, "--pairs"),
        (["pricerunner", "--pairs", "x.csv"], 2, "brings its own"),
        (["pricerunner", "--check-draft"], 2, "ad text"),
        (["e2e", "--mode", "exact"], 2, "searches no catalogue"),
        (["e2e", "--k", "3"], 2, "searches no catalogue"),
        (["e2e", "--rows", "0"], 2, "--rows"),
        (["no-such-task"], 1, "task 'no-such-task' is unknown"),
        (["pricerunner", "--split", "train"], 2, "--split"),
        (["pricerunner", "--k", "100000"], 1, "k"),
        (["pricerunner", "--html", "/no/such/folder/x.html"], 1, "--html"),
        (["pricerunner", "--html", "/"], 1, "--html"),
        (["pricerunner", "--prompt-template", "no place"], 1, "{query}"),
        (["e2e", "--adapter", "no-such-adapter"], 1, "no adapter"),
        (["pricerunner", "--adapter", "no-such-adapter"], 1, "no adapter"),
        (["pricerunner", "--model", "no-such-model"], 1, "no-such-model"),
        (["--pairs", "/no/such.csv", "--catalogue", "/no/such.cat"], 1, "/no/such.csv"),
        (["slogans"], 1, "does not ship"),
    ],
)
def test_wrong_options_end_with_a_documented_code(
    run: Run,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)  # no data beside it
    model = () if "--model" in options else ("--model", model_folder)
    result = run("evaluate", *options, *model)
    assert result.exit_code == code, result.stderr
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert result.stdout == "" and "Traceback" not in result.output


def test_an_adapter_of_another_model_is_refused(
    assess: Run, pairs: WriteFile, model_folder: Path, catalogue_file: Path, tmp_path: Path
) -> None:
    adapter = write_adapter(tmp_path / "adapter", model_folder, None)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "r": 3}))
    result = assess("--pairs", pairs(PAIRS), "--catalogue", catalogue_file, "--adapter", adapter)
    assert result.exit_code == 1 and result.stdout == ""
    assert "made for another model" in result.stderr


def test_an_adapter_changes_the_answers_and_brings_its_template(
    run: Run, pairs: WriteFile, model_folder: Path, catalogue_file: Path, tmp_path: Path
) -> None:
    template = "Q: {query}\nA:"
    adapter = write_adapter(tmp_path / "adapter", model_folder, template)
    common = ("evaluate", "--pairs", pairs(PAIRS), "--catalogue", catalogue_file, "--no-floors", "--json")
    reports = [
        json.loads(run(*common, "--model", model_folder, *options).stdout)
        for options in (
            ("--adapter", adapter),
            ("--adapter", adapter, "--prompt-template", TEMPLATE),
            ("--prompt-template", TEMPLATE),
        )
    ]
    tuned, given, plain = ([one["top"] for one in report["examples"]] for report in reports)
    assert tuned == given != plain
    assert reports[0]["setting"]["prompt"] == template and reports[0]["setting"]["adapter"] == str(adapter)


TASK = Task(
    "pricerunner",
    NAMES,
    NAMES,
    NAMES,
    (
        Pair("old red shoe", "red shoe", "train"),
        Pair("my red shoe", "red shoe", "test"),
        Pair("my blue shoe", "blue shoe", "cold_test"),
        Pair("a hat", "green hat", "dev"),
    ),
)


def test_a_task_by_warm_and_cold(assess: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr("adtrie.evaluate.load_task", lambda name: TASK)
    result = assess("pricerunner")
    assert result.exit_code == 0, result.stderr
    assert "Warm (labels with training rows), 1 rows" in result.stdout
    assert "Cold (labels without a training row), 1 rows" in result.stdout
    assert "Floors know 1 train rows" in result.stdout
    report = json.loads(assess("pricerunner", "--split", "dev", "--json").stdout)
    assert [(one["group"], one["num_rows"]) for one in report["scores"]] == [("warm", 1)] * 4


def test_a_prior_of_given_or_chosen_strength(assess: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adtrie.evaluate.load_task", lambda name: TASK)
    plain, none, strong, chosen = (
        json.loads(assess("pricerunner", "--no-floors", "--json", *given).stdout)
        for given in ((), ("--alpha", "0"), ("--alpha", "1"), ("--alpha", "auto"))
    )
    assert plain["setting"]["alpha"] is None
    assert none["examples"] == plain["examples"]
    assert strong["examples"] != plain["examples"]
    assert 0.0 <= chosen["setting"]["alpha"] <= 1.0


@pytest.mark.parametrize("alpha", ["-1", "nan", "11", "much"])
def test_an_alpha_that_is_none(assess: Run, alpha: str) -> None:
    result = assess("pricerunner", "--alpha", alpha)
    assert result.exit_code == 2
    assert "0 to 10, or auto" in " ".join(result.stderr.split())


def test_ctrl_c_leaves_no_page(model_folder: Path, private_cache: Path, tmp_path: Path) -> None:
    lines = "".join(f"query {at},red shoe\n" for at in range(50_000))
    asked, rows, page = tmp_path / "pairs.csv", tmp_path / "rows.txt", tmp_path / "page.html"
    asked.write_text("query,label\n" + lines, encoding="utf-8")
    rows.write_text("red shoe\nhat\n", encoding="utf-8")
    command = [sys.executable, "-c", "from adtrie.cli import main; main()", "evaluate", "--no-floors"]
    files = [
        "--pairs",
        str(asked),
        "--catalogue",
        str(rows),
        "--html",
        str(page),
        "--model",
        str(model_folder),
    ]
    with subprocess.Popen(
        [*command, *files, "--prompt-template", TEMPLATE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None and process.stdout is not None
        for line in process.stderr:
            if line.startswith("asking"):
                process.send_signal(signal.SIGINT)
                break
        error = process.stderr.read()
        assert process.wait(timeout=60) == 130
        assert process.stdout.read() == ""
    assert "adtrie: interrupted" in error and "Traceback" not in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs.csv", "rows.txt"]


LEARNABLE = """query,label,split
red shoo,red shoe,train
some hat,green hat,train
reddish shoe,red shoe,dev
red shoe here,red shoe,dev
blue shoes,blue shoe,dev
the green one,green hat,dev
green hats,green hat,dev
cafe,café crème,dev
blue shoe,blue shoe,test
red ones,red shoe,test
"""


def test_a_fusion_is_learned_on_dev_rows_and_used(
    assess: Run, pairs: WriteFile, catalogue_file: Path, tmp_path: Path
) -> None:
    pytest.importorskip("sklearn")
    file = tmp_path / "fusion.json"
    common = ("--pairs", pairs(LEARNABLE), "--catalogue", catalogue_file, "--json")
    result = assess(*common, "--learn-fusion", file)
    assert result.exit_code == 0, result.stderr
    learned = json.loads(result.stdout)
    assert learned["setting"]["fusion"] == json.loads(file.read_bytes())["nats"]
    used = json.loads(assess(*common, "--fusion", file).stdout)
    assert used["setting"]["neighbours"] == 10
    assert "text and past queries, fused" in {one["method"] for one in used["scores"]}
    assert used["scores"] == learned["scores"]
    assert assess(*common, "--fusion", file, "--learn-fusion", file).exit_code == 2
    assert assess("e2e", "--fusion", file).exit_code == 2
    assert "cannot write" in assess(*common, "--learn-fusion", tmp_path / "no" / "x").stderr


def test_a_fusion_needs_dev_rows(assess: Run, pairs: WriteFile, catalogue_file: Path, tmp_path: Path) -> None:
    result = assess(
        "--pairs",
        pairs("query,label\nshoe,red shoe\n"),
        "--catalogue",
        catalogue_file,
        "--no-floors",
        "--learn-fusion",
        tmp_path / "f.json",
    )
    assert result.exit_code == 1 and "no row of split 'dev'" in result.stderr
