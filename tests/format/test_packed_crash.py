"""Writers that are killed, run out of space or meet each other: a folder is the old or the new one, whole."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from packed_folder import VALUES, fill_small, small_writer, write_small

from adtrie.errors import InputError, ModelError
from adtrie.format import staging
from adtrie.format.reader import PackedFolder, is_packed
from adtrie.format.verify import find_damage
from adtrie.models import open_checkpoint

WATCHED = ("staging.py", "writer.py")


def exit_code(run: Callable[[], None]) -> int:
    """How a copy of this process ends that does `run`; negative for the signal that killed it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads that the copy does not need
        child = os.fork()
    if child == 0:
        try:
            run()
            os._exit(0)
        except ModelError as error:
            os._exit(3 if "cannot write the checkpoint" in str(error) else 4)
        finally:
            os._exit(5)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_at(line: int) -> None:
    """Kills this process before the `line`-th line of the writer's modules that it executes from now on."""
    left = line

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        if event == "call":
            return trace if os.path.basename(frame.f_code.co_filename) in WATCHED else None
        left -= event == "line"
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def seed_of(out: Path) -> int | None:
    """Which write is at `out`, None for none; it is whole."""
    if not is_packed(out):
        assert not out.exists()
        return None
    assert find_damage(out) == []
    return int(PackedFolder(out).manifest.summary["seed"])


@pytest.mark.parametrize(("earlier", "exchange"), [(False, True), (True, True), (True, False)])
def test_killed_at_any_point(
    tmp_path: Path, earlier: bool, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, ends = tmp_path / "out", set()
    if not exchange:
        monkeypatch.setattr(staging, "_exchange", lambda one, other: False)
    for line in range(1, 1000, 19):
        if earlier:
            write_small(out, seed=0)
        else:
            shutil.rmtree(out, ignore_errors=True)

        def write(line: int = line) -> None:
            die_at(line)
            write_small(out, seed=1)

        code = exit_code(write)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        if exchange or out.exists():
            assert seed_of(out) in ((0, 1) if earlier else (None, 1))
        ends.add(seed_of(out) if out.exists() else None)
    else:
        pytest.fail("the writer needs more lines than the test expects")
    write_small(out, seed=2)
    assert seed_of(out) == 2 and os.listdir(tmp_path) == ["out"]
    assert (0 if earlier else None) in ends


def test_between_two_renames_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    write_small(out, seed=0)
    monkeypatch.setattr(staging, "_exchange", lambda one, other: False)
    renames = []

    def rename(one: Path, other: Path) -> None:
        renames.append(one)
        if len(renames) == 2:
            raise KeyboardInterrupt
        os.replace(one, other)

    monkeypatch.setattr(staging.os, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        write_small(out, seed=1)
    monkeypatch.undo()
    with pytest.raises(ModelError, match=r"the earlier one is whole in .*/\.out\.old"):
        open_checkpoint(out)
    with small_writer(out):
        assert seed_of(out) == 0


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.99])
def test_a_full_disk(tmp_path: Path, earlier: bool, share: float) -> None:
    out = tmp_path / "out"
    write_small(out)
    num_bytes = int(share * max(file.stat().st_size for file in out.iterdir()))
    if not earlier:
        shutil.rmtree(out)

    def write() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))
        write_small(out, seed=1)

    assert exit_code(write) == 3
    assert seed_of(out) == (0 if earlier else None)
    assert os.listdir(tmp_path) == (["out"] if earlier else [])


def test_two_writers(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with small_writer(out) as first:
        first.add_vector("norm", VALUES)
        with pytest.raises(ModelError, match="another process is writing it"):
            write_small(out)
        with pytest.raises(ModelError, match="being written"):
            open_checkpoint(out)
        assert first.out == out
    write_small(out, seed=3)
    assert seed_of(out) == 3


def test_an_open_reader_keeps_what_it_opened(tmp_path: Path) -> None:
    write_small(tmp_path / "out", seed=0)
    folder = PackedFolder(tmp_path / "out")
    write_small(tmp_path / "out", seed=1)
    assert folder.vector("norm").tolist() == VALUES.tolist()
    assert folder.linear("a").stream.any()


def test_leaving_the_block_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), small_writer(tmp_path / "out") as writer:
        writer.add_vector("norm", VALUES)
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [{"notes.txt": "x"}, {"model.safetensors": "x", "config.json": "{}"}])
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, content: dict[str, str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name, text in content.items():
        (out / name).write_text(text)
    with pytest.raises(ModelError, match="nothing was changed"):
        write_small(out)
    assert sorted(os.listdir(out)) == sorted(content) and os.listdir(tmp_path) == ["out"]


def test_notes_beside_a_checkpoint_are_not_deleted(tmp_path: Path) -> None:
    write_small(tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match=r"notes\.txt"):
        write_small(tmp_path / "out", seed=1)
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_files_of_the_writer_are_checked_and_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with small_writer(out) as writer:
        for name in ("../x", "a/b", "", ".", ".hidden", "model.safetensors", "manifest.json", "a\n", "a\0"):
            with pytest.raises(InputError, match="plain name"):
                writer.add_file(name, b"x")
        writer.add_file("report.html", b"<p>")
        with pytest.raises(InputError, match="report"):
            writer.add_file("report.html", b"<p>")
        fill_small(writer)
    assert find_damage(out) == []
    (out / "report.html").write_bytes(b"<b>")
    assert "report.html" in find_damage(out)[0]
    write_small(out, seed=1)
    assert sorted(os.listdir(out)) == ["manifest.json", "model.safetensors", "tokenizer.json"]


def test_odd_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "out", Path("/"), Path("/proc/out")):
        with pytest.raises(ModelError):
            write_small(out)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write_small(tmp_path / "link" / ".." / "real" / "deep" / "out")
    assert seed_of(tmp_path / "real" / "deep" / "out") == 0
    (tmp_path / "empty").mkdir()
    (tmp_path / "alias").symlink_to("empty")
    write_small(tmp_path / "alias")
    assert (tmp_path / "alias").is_symlink() and seed_of(tmp_path / "empty") == 0
