"""The command line as a process: signals, closed pipes, full disks, foreign locales."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_model import TEMPLATE

COMMAND = [sys.executable, "-c", "from adtrie.cli import main; main()"]


@pytest.fixture
def target(model_folder: Path, catalogue_file: Path, private_cache: Path) -> list[str]:
    """Command of a target that reads standard input."""
    common = ["--model", str(model_folder), "--catalogue", str(catalogue_file), "--prompt-template", TEMPLATE]
    return [*COMMAND, "target", *common, "--json", "--k", "1"]


def test_ctrl_c_ends_with_130_and_no_traceback(target: list[str]) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(target, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write("shoe\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["query"] == "shoe"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        error = process.stderr.read()
    assert error.startswith("adtrie: interrupted")
    assert "Traceback" not in error


def test_a_reader_that_leaves_ends_the_command(target: list[str]) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(target, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write("shoe\n")
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write("hat\n" * 3)
        process.stdin.close()
        assert process.wait(timeout=30) == 141
        assert process.stderr.read() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(target: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*target, "shoe"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "adtrie: output: No space left on device\n"


def test_a_foreign_locale_changes_nothing(target: list[str]) -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [*target, "--k", "6", "café"], capture_output=True, env=environment, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.decode("utf-8"))
    assert answer["query"] == "café"
    assert "café crème" in [hit["text"] for hit in answer["results"]]
