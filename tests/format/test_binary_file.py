"""A file in memory: mapped or loaded, the same bytes; loaded, it no longer depends on the file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from packed_folder import golden_folder, mixed

from adtrie.compress.pack import pack_nearest
from adtrie.engine import Engine
from adtrie.errors import FormatError
from adtrie.format import binary_file
from adtrie.format.binary_file import BinaryFile
from adtrie.models import open_checkpoint

HUGE_PAGE = 1 << 21


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(np.random.default_rng(0).bytes(HUGE_PAGE + 12_345))
    return path


def test_a_loaded_file_has_its_bytes_and_begins_a_huge_page(path: Path) -> None:
    file = BinaryFile(path)
    data = file.load()
    file.close()
    assert data.tobytes() == path.read_bytes()
    assert data.ctypes.data % HUGE_PAGE == 0 and not data.flags.writeable


def test_a_loaded_file_may_vanish(path: Path) -> None:
    content, file = path.read_bytes(), BinaryFile(path)
    data = file.load()
    os.truncate(path, 0)
    assert data.tobytes() == content  # a mapped one would have ended the process


def test_a_file_that_is_truncated_while_it_is_loaded_is_an_error(path: Path) -> None:
    file = BinaryFile(path)
    os.truncate(path, HUGE_PAGE)
    with pytest.raises(FormatError, match="truncated while in use"):
        file.load()


def test_what_does_not_fit_free_memory_is_mapped(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "meminfo"
    monkeypatch.setattr(binary_file, "_MEMORY", memory)
    file = BinaryFile(path)
    for free, mapped in ((file.size, False), (file.size - 1024, True)):
        memory.write_text(f"MemTotal: 1 kB\nMemAvailable:   {-(-free // 1024)} kB\n")
        data = file.load()
        assert data.tobytes() == path.read_bytes()
        name = str(path) in _mapping_of(data.ctypes.data)
        assert name == mapped
    memory.unlink()  # a system that does not tell
    assert file.load().tobytes() == path.read_bytes()


def test_the_memory_of_a_container_counts(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = BinaryFile(path)
    monkeypatch.setattr(binary_file, "_MEMORY", tmp_path / "missing")
    monkeypatch.setattr(binary_file, "_CONTROL_GROUP", tmp_path)
    (tmp_path / "memory.current").write_text("9000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 4000\nactive_file 7\n")
    for limit, mapped in ((file.size + 5000, False), (file.size + 4999, True), (100, True), ("max", False)):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        data = file.load()
        assert data.tobytes() == path.read_bytes()
        assert (str(path) in _mapping_of(data.ctypes.data)) == mapped


def _mapping_of(address: int) -> str:
    """The line of this process's memory map that `address` is in."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(part, 16) for part in line.split()[0].split("-"))
        if first <= address < last:
            return line
    raise AssertionError("address is not mapped")


def test_an_engine_does_not_depend_on_the_file_it_was_loaded_from(tmp_path: Path) -> None:
    with open_checkpoint(golden_folder(tmp_path)) as source:
        pack_nearest(source, tmp_path / "out", mixed)
    with open_checkpoint(tmp_path / "out") as packed:
        engine = Engine(packed, threads=1)
    tokens = np.array([1, 2, 3], np.int32)
    before = engine.logits(tokens)
    os.truncate(tmp_path / "out" / "model.safetensors", 0)
    np.testing.assert_array_equal(engine.logits(tokens), before)
