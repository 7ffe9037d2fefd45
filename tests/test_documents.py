"""The README says what is so: its table, its commands, its limits; and the examples run."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from adtrie.models.alias import cached_path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test_the_table_is_that_of_the_results() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.readme_table", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_names_every_command_and_variable() -> None:
    from adtrie.cli.doctor import ENVIRONMENT

    commands = {path.stem for path in (ROOT / "src/adtrie/cli").glob("*.py")}
    shared = {
        "__init__",
        "answers",
        "catalogues",
        "coding",
        "download",
        "explanation",
        "fusing",
        "measure",
        "neighbours",
    }
    shared |= {"options", "packed_tables", "queries", "terminal", "text_files", "training_progress"}
    assert all(f"`adtrie {name}" in README for name in commands - shared)
    assert all(f"`{name}`" in README for name in ENVIRONMENT)


def test_the_readme_gives_the_limits_of_the_code() -> None:
    from adtrie.cli.terminal import ExitCode
    from adtrie.prompt import MAX_QUERY_CHARS

    assert f"{MAX_QUERY_CHARS:,} characters" in README
    assert all(f"| {code.value} |" in README for code in ExitCode)


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_files_that_are_named_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    paths = re.findall(
        r"`((?:src|csrc|docs|tests|benchmarks|examples)/[\w./-]+)`", text.replace("NAME", "scalar")
    )
    named = [name.rstrip("/") for name in links + paths]
    assert [name for name in named if not (ROOT / name).exists() and name != "benchmarks/results"] == []


def test_architecture_names_files_that_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w/*.]+)` \|", text.split("## One sentence each")[1], re.MULTILINE)
    assert len(listed) > 20
    assert [
        name for name in listed if not list(ROOT.glob(name)) and not list((ROOT / "src/adtrie").glob(name))
    ] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_short(example: Path) -> None:
    assert len(EXAMPLES) == 3
    assert len(example.read_text(encoding="utf-8").splitlines()) < 60


@pytest.mark.model
@pytest.mark.skipif(not cached_path("smollm2-135m").exists(), reason="smollm2-135m is not cached: make demo")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out
