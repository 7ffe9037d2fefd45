"""`adtrie compress` on a tiny model: what it writes, how it is asked, how it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_model import Run

from adtrie.compress.plan import Plan
from adtrie.models.checkpoint import open_checkpoint

TEXT = "The red shoe is a shoe. A blue hat costs 12 euro, a grey one 15.\n" * 30
FAST = ("--tokens", 600, "--trials", 1)


@pytest.fixture(scope="module")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def compressed(
    run: Run, model_folder: Path, text_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict]:
    """A folder with everything the command can write, and its report."""
    out = tmp_path_factory.mktemp("out")
    extra = ["--save-plan", out / "plan.json", "--save-measurements", out / "table.json"]
    asked = ["--text", text_file, "--budget", "5bpw", "--html", out / "page.html", "--json", *FAST, *extra]
    result = run("compress", model_folder, out / "model", *asked)
    assert result.exit_code == 0, result.stderr
    return out, json.loads(result.stdout)


def test_what_is_written_is_a_model_within_the_budget(compressed: tuple[Path, dict]) -> None:
    out, report = compressed
    assert sorted(each.name for each in out.iterdir()) == ["model", "page.html", "plan.json", "table.json"]
    assert report["bits_per_weight"] <= 5.0
    assert report["divergence"]["kl_mean"] > 0
    with open_checkpoint(out / "model") as checkpoint:
        stored = sum(tensor.num_bytes for tensor in checkpoint.tensors() if len(tensor.shape) == 2)
        assert stored == report["num_bytes"]
    page = (out / "page.html").read_text(encoding="utf-8")
    assert "<svg" in page and "<script" not in page and "Panels by pattern" in page


def test_the_model_answers(compressed: tuple[Path, dict], run: Run, catalogue_file: Path) -> None:
    out, _ = compressed
    result = run("target", "--model", out / "model", "--catalogue", catalogue_file, "--json", "red shoes")
    assert result.exit_code == 0, result.stderr


def test_saved_measurements_serve_another_budget(
    compressed: tuple[Path, dict], run: Run, model_folder: Path, text_file: Path, tmp_path: Path
) -> None:
    out, _ = compressed
    again = ["--measurements", out / "table.json", "--text", text_file, *FAST]
    result = run("compress", model_folder, tmp_path / "m", *again, "--budget", "6bpw", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert 5.0 < report["bits_per_weight"] <= 6.0
    assert "measure" not in report["seconds"]


def test_an_edited_plan_is_followed(
    compressed: tuple[Path, dict], run: Run, model_folder: Path, text_file: Path, tmp_path: Path
) -> None:
    out, _ = compressed
    plan = json.loads((out / "plan.json").read_text())
    at = next(i for i, choice in enumerate(plan["choices"]) if choice["name"] == "layers.1.down")
    plan["choices"][at] |= {"bits": 8, "group": 32, "kept": [4] * len(plan["choices"][at]["kept"])}
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(plan))
    Plan.from_json(edited.read_bytes())
    result = run(
        "compress", model_folder, tmp_path / "m", "--plan", edited, "--text", text_file, *FAST, "--json"
    )
    assert result.exit_code == 0, result.stderr
    linears = {row["name"]: row for row in json.loads(result.stdout)["linears"]}
    assert linears["layers.1.down"]["bits"] == 8


def test_people_get_text_and_overrides_hold(
    run: Run, model_folder: Path, text_file: Path, tmp_path: Path
) -> None:
    sets = ["--set", "layers.*.down=int8", "--set", "embed=int4"]
    result = run(
        "compress", model_folder, tmp_path / "m", "--text", text_file, "--budget", "7bpw", *FAST, *sets
    )
    assert result.exit_code == 0, result.stderr
    assert "bits per weight" in result.stdout and "nats" in result.stdout
    with open_checkpoint(tmp_path / "m") as checkpoint:
        types = {tensor.name: tensor.type for tensor in checkpoint.tensors()}
    assert types["layers.0.down"].startswith("INT8") and types["embed"].startswith("INT4")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--budget", "3.6"), 1, "--budget: expected a number with its unit"),
        (("--budget", "nanbpw"), 1, "--budget"),
        (("--budget", "0.1bpw"), 1, "below the smallest possible"),
        (("--budget", "5bpw", "--budget-mb", "3"), 2, "give one of"),
        (("--target-ms", "1"), 1, "measured time"),
        (("--preset", "tiny"), 1, "choose one of demo, safe"),
        (("--set", "down"), 1, "LINEARS=OPTIONS"),
        (("--set", "layers.7.*=int8"), 1, "no linear of that name"),
        (("--task", "nothing"), 1, "unknown"),
        (("--plan", "missing.json"), 1, "cannot read"),
        (("--measurements", "missing.json"), 1, "cannot read"),
        (("--html", "no/such/folder/page.html"), 1, "cannot write"),
    ],
)
def test_bad_options(
    run: Run, model_folder: Path, text_file: Path, tmp_path: Path, arguments: tuple, code: int, message: str
) -> None:
    text = () if "--task" in arguments else ("--text", text_file)
    result = run("compress", model_folder, tmp_path / "m", *text, *FAST, *arguments)
    assert result.exit_code == code, result.stderr
    assert message in " ".join(result.stderr.split()).replace("│ ", "")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.txt", b"", "0 tokens"),
        ("t.txt", b"too short", "at least 256"),
        ("t.txt", b"caf\xe9 " * 500, "not UTF-8 at byte 3"),
        ("t.jsonl", b'{"text": 3}\n' * 100, "line 1"),
        ("t.jsonl", b"[" * 5000, "line 1"),
        ("t.jsonl", b'{"query": "", "label": "x"}\n' * 100, "query"),
    ],
)
def test_bad_texts(
    run: Run, model_folder: Path, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    result = run("compress", model_folder, tmp_path / "m", "--text", tmp_path / name, *FAST)
    assert result.exit_code == 1
    assert message in result.stderr
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("line.txt", "word " * 2000),  # one long line
        ("lines.jsonl", '{"text": "A blue hat."}\n' * 10 + '{"query": "hat", "label": "blue hat"}\n' * 40
         + "".join(f'{{"prompt": "a {i}", "completion": " hat"}}\n' for i in range(40))),
    ],
)  # fmt: skip
def test_odd_texts(run: Run, model_folder: Path, tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    text = ("--text", tmp_path / name)
    result = run("compress", model_folder, tmp_path / "m", *text, *FAST, "--budget", "6bpw", "--json")
    assert result.exit_code == 0, result.stderr


def test_another_models_files_are_refused(
    compressed: tuple[Path, dict], run: Run, model_folder: Path, text_file: Path, tmp_path: Path
) -> None:
    out, _ = compressed
    for option, name in (("--plan", "plan.json"), ("--measurements", "table.json")):
        document = json.loads((out / name).read_text()) | {"model": "e" * 64}
        (tmp_path / name).write_text(json.dumps(document))
        given = (option, tmp_path / name, "--text", text_file)
        result = run("compress", model_folder, tmp_path / "m", *given, *FAST)
        assert result.exit_code == 1
        assert "another model" in result.stderr


def test_an_interrupted_run_says_how_to_go_on(
    run: Run, model_folder: Path, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adtrie.compress import pipeline

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    asked = ("compress", model_folder, tmp_path / "m", "--text", text_file, *FAST, "--budget", "5bpw")
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "measure_linear", interrupt)
        result = run(*asked)
    assert result.exit_code == 130
    assert "--resume" in result.stderr and not (tmp_path / "m").exists()
    assert (tmp_path / "m.work").is_dir()
    result = run(*asked)
    assert result.exit_code == 1 and "--resume" in result.stderr
    result = run(*asked, "--resume")
    assert result.exit_code == 0, result.stderr
    assert not (tmp_path / "m.work").exists()
