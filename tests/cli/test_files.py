"""`adtrie index`, `inspect` and `doctor` end to end on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_model import NAMES, Run


def test_index_reports_merged_and_refused_rows(run: Run, model_folder: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    texts = ["one", "two", "one", "", "three\u0000"]
    rows.write_text("".join(json.dumps({"id": str(i), "text": text}) + "\n" for i, text in enumerate(texts)))
    result = run("index", rows, tmp_path / "out.cat", "--model", model_folder, "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["rows"], report["entries"], report["num_merged"], report["num_refused"]) == (5, 2, 1, 2)
    assert [row["line"] for row in report["refused"]] == [4, 5]


def test_index_names_refused_lines_for_people(run: Run, model_folder: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.txt"
    rows.write_bytes(b"one\ntwo\n\xff\nthree\n")
    result = run("index", rows, tmp_path / "out.cat", "--model", model_folder)
    assert result.exit_code == 0
    assert "line 3" in result.stderr
    assert "3 entries" in result.stdout


@pytest.mark.parametrize("content", [None, b"", b"\xff\n\xfe\n"])
def test_index_that_fails_leaves_nothing(
    run: Run, model_folder: Path, tmp_path: Path, content: bytes | None
) -> None:
    rows, out = tmp_path / "rows.txt", tmp_path / "new" / "out.cat"
    out.parent.mkdir()
    if content is not None:
        rows.write_bytes(content)
    result = run("index", rows, out, "--model", model_folder)
    assert result.exit_code == 1
    assert str(rows) in result.stderr
    assert list(out.parent.iterdir()) == []


def test_index_refuses_a_directory_as_output(run: Run, model_folder: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.txt"
    rows.write_text("one\n")
    result = run("index", rows, tmp_path, "--model", model_folder)
    assert result.exit_code == 1
    assert "directory" in result.stderr


@pytest.mark.parametrize("options", [[], ["--verify"]])
def test_inspect_a_catalogue(run: Run, catalogue_file: Path, options: list[str]) -> None:
    result = run("inspect", catalogue_file, "--json", *options)
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["kind"] == "catalogue"
    assert facts["num_entries"] == len(NAMES)
    assert facts["verified"] is bool(options)


@pytest.mark.parametrize("options", [[], ["--verify"]])
def test_inspect_a_model(run: Run, model_folder: Path, options: list[str]) -> None:
    result = run("inspect", model_folder, "--json", *options)
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["kind"] == "model"
    assert facts["spec"]["family"] == "llama"
    assert facts["types"] == {"BF16": facts["tensors"]}
    assert facts["bytes"] == 2 * facts["parameters"]


def test_inspect_finds_damage(run: Run, catalogue_file: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.cat"
    content = bytearray(catalogue_file.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    result = run("inspect", damaged, "--verify")
    assert result.exit_code == 1
    assert str(damaged) in result.stderr


def test_doctor_tells_the_machine(run: Run, private_cache: Path) -> None:
    result = run("doctor", "--json")
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["isa"] in facts["isas"]
    assert "scalar" in facts["isas"]
    assert facts["threads"] >= 1
    assert facts["cache_dir"] == str(private_cache)
    assert run("doctor").stdout.startswith("adtrie")


@pytest.mark.parametrize("name", ["ADTRIE_ISA", "ADTRIE_THREADS", "ADTRIE_LOG"])
def test_a_wrong_environment_variable_is_named(run: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "nonsense")
    result = run("doctor")
    assert result.exit_code == 1
    assert name in result.stderr
