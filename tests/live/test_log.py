"""The log of changes: cut or damaged anywhere, two writers, no room, readers beside a writer."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_model import TOKENIZER, Content, held, rebuilt

from adtrie.catalogue import Catalogue
from adtrie.catalogue import snapshot as snapshot_file
from adtrie.errors import AdtrieError, CatalogueError, FormatError, InputError
from adtrie.live import LiveCatalogue
from adtrie.live.folder import base_path, log_path
from adtrie.live.log import RECORD_BYTES

ROWS = [{"text": "red", "id": "1", "bid": 2.0, "c": "x"}, {"text": "blue", "id": "2"}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    LiveCatalogue.create(tmp_path / "live", rebuilt(ROWS))
    return tmp_path / "live"


def open_live(folder: Path, **options: Any) -> LiveCatalogue:
    return LiveCatalogue.open(folder, TOKENIZER, **options)


def some_changes(live: LiveCatalogue) -> Iterator[Content]:
    """Makes changes of every kind, one version after the other; the content of each, and of the start."""
    yield held(live.snapshot())
    for change in (
        lambda: live.add([{"text": "red", "id": "3", "n": 1}, {"text": "grün", "id": "4"}]),
        lambda: live.remove(["2"]),
        lambda: live.pause("c = x"),
        lambda: live.set_bid(["1", "3"], [0.5, 8]),
        lambda: live.rollback(1),
        lambda: live.resume("nothing = 1"),
    ):
        change()
        yield held(live.snapshot())


def test_cut_at_every_byte(folder: Path, tmp_path: Path) -> None:
    """What is left is the longest prefix of whole changes, and can be changed further."""
    with open_live(folder) as live:
        ends, contents = [log_path(folder, 0).stat().st_size], []
        for content in some_changes(live):
            contents.append(content)
            ends.append(log_path(folder, 0).stat().st_size)
    whole = log_path(folder, 0).read_bytes()
    ends = ends[1:]  # the end of the log at each version
    for size in range(len(whole) + 1):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        log_path(copy, 0).write_bytes(whole[:size])
        if size < ends[0]:
            with pytest.raises(FormatError, match="header"):
                open_live(copy)
            continue
        version = max(i for i, end in enumerate(ends) if end <= size)
        with open_live(copy, write=False) as reader:
            assert (reader.version, held(reader.snapshot())) == (version, contents[version])
        assert log_path(copy, 0).stat().st_size == size, "a reader changes nothing"
        if size in (*ends, *(end - 1 for end in ends[1:]), *(end + 1 for end in ends[:-1])):
            with open_live(copy) as live:
                assert live.remove(["1"]).version == version + 1
                content = held(live.snapshot())
            with open_live(copy) as live:
                assert (live.version, held(live.snapshot())) == (version + 1, content)


def test_every_byte_damaged(folder: Path) -> None:
    """Damage before a sound change is an error; in the last change it cannot be told from a cut."""
    with open_live(folder) as live:
        contents = list(some_changes(live))
        size = log_path(folder, 0).stat().st_size
        live.add([{"text": "last", "id": "9"}])
    path = log_path(folder, 0)
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x41]) + whole[position + 1 :])
        if position < size:
            with pytest.raises(FormatError):
                open_live(folder, write=False)
        else:
            with open_live(folder, write=False) as reader:
                assert held(reader.snapshot()) == contents[-1]


def test_two_writers(folder: Path) -> None:
    program = (
        "import sys\nfrom adtrie.live import LiveCatalogue\nfrom adtrie.errors import CatalogueError\n"
        "try:\n    LiveCatalogue.open(sys.argv[1])\nexcept CatalogueError as error:\n    print(error)"
    )
    with open_live(folder) as live:
        with pytest.raises(CatalogueError, match="another process changes"):
            open_live(folder)
        done = subprocess.run(
            [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, timeout=120
        )
        assert f"process {os.getpid()}" in done.stdout, done.stderr
        live.remove(["1"])
    with open_live(folder) as live:
        assert live.version == 1


def test_a_reader_keeps_its_version_through_a_thousand_changes(folder: Path) -> None:
    with open_live(folder, sync="never", compact_above=50) as live:
        reader = LiveCatalogue.open(folder, write=False)
        old, newest = live.snapshot(), reader.snapshot()
        content, failures = held(old), list[BaseException]()

        def read() -> None:
            try:
                while not done.is_set():
                    assert held(old) == content
                    reader.refresh()
                    held(reader.snapshot())
            except BaseException as error:
                failures.append(error)

        done = threading.Event()
        thread = threading.Thread(target=read)
        thread.start()
        for i in range(330):
            live.add([{"text": f"t {i % 20}", "id": str(i % 7)}])
            live.set_bid([str(i % 7)], [i + 1.0])
            live.remove([str((i + 3) % 7)])
        done.set()
        thread.join()
        assert not failures
        assert held(old) == held(newest) == content
        wanted = held(live.snapshot())
        assert reader.refresh() == live.version == 990
        assert held(reader.snapshot()) == wanted
    with open_live(folder) as live:
        assert held(live.snapshot()) == wanted


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_no_room_for_a_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error, leaves nothing behind, and the next change goes on from the same version."""
    with open_live(folder) as live:
        live.remove(["2"])
        before, size = held(live.snapshot()), log_path(folder, 0).stat().st_size

        class Full:
            def __init__(self, file: Any) -> None:
                self.file = file

            def __getattr__(self, name: str) -> Any:
                return getattr(self.file, name)

            def write(self, data: bytes) -> int:
                self.file.write(data[: RECORD_BYTES + 3])
                full_disk()
                raise AssertionError

        log: Any = live._log
        file = log._file
        log._file = Full(file)
        with pytest.raises(CatalogueError, match="No space left on device; nothing was changed"):
            live.remove(["1"])
        log._file = file
        assert (live.version, held(live.snapshot())) == (1, before)
        assert log_path(folder, 0).stat().st_size == size
        assert live.remove(["1"]).version == 2
    with open_live(folder, write=False) as live:
        assert (live.version, held(live.snapshot())) == (2, {})


def test_no_room_for_a_compaction(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalogue stays as it was, is changed further, and is compacted once there is room."""
    with open_live(folder) as live:
        live.add([{"text": "green", "id": "5"}])
        with monkeypatch.context() as patch:
            patch.setattr(snapshot_file.os, "fsync", full_disk)
            with pytest.raises(CatalogueError, match="No space left"):
                live.compact()
        assert live.version == 1 and not base_path(folder, 1).exists()
        assert not list(folder.glob(".*.tmp"))
        live.remove(["1"])
        wanted = held(live.snapshot())
    with open_live(folder) as live:
        assert held(live.snapshot()) == wanted
        assert live.compact() == 2 and base_path(folder, 2).exists()
        assert held(live.snapshot()) == wanted


def test_compaction_in_a_process_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adtrie.live.compaction.SMALL_ENTRIES", 0)
    with open_live(folder) as live:
        live.add([{"text": "green", "id": "5", "c": "y"}, {"text": "RED", "id": "6"}])
        live.remove(["2"])
        wanted = held(live.snapshot())
        assert live.compact() == 2
        assert live.snapshot().state.base_number == 2
        assert held(live.snapshot()) == wanted
        base_path(folder, 2).write_bytes(b"")
        live.remove(["1"])
        with pytest.raises(CatalogueError, match=r"compaction failed: .*base-0000"):
            live.compact()


def test_results_of_changes_that_change_nothing(folder: Path) -> None:
    with open_live(folder) as live:
        assert live.add([{"text": "red", "id": "1", "bid": 3}]).replaced == 1
        assert live.add([{"text": "red", "id": "1", "bid": 3}]).replaced == 1
        assert held(live.snapshot())["red"] == [("1", 3.0, {})]
        assert live.remove(["1", "1"]).removed == 1
        again = live.remove(["1"])
        assert (again.removed, again.unknown, again.version) == (0, 1, 4)
        assert live.set_bid(["1"], [2.0]).unknown == 1
        assert live.resume("c = x").unknown == 1
        assert (live.pause("c = x").paused, live.pause("c = x").paused) == (1, 0)
        assert live.apply(live.batch()).version == live.remove([]).version == live.version
        refused = live.add(["", "a\x00b", {"id": 4}, "fine"])
        assert [row.line for row in refused.refused] == [1, 2, 3] and refused.added == 1
        version = live.version
        assert live.add([""]).version == version


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda live: live.add("red"), "put it into a list"),
        (lambda live: live.remove("1"), "put one id into a list"),
        (lambda live: live.remove([1.5]), "expected strings or integers"),
        (lambda live: live.set_bid(["1"], []), "expected one bid per id"),
        *[
            (lambda live, bid=bid: live.set_bid(["1"], [bid]), "finite positive")
            for bid in (0, -1, "x", True)
        ],
        *[(lambda live, bid=float(bid): live.set_bid(["1"], [bid]), "finite") for bid in ("nan", "inf")],
        (lambda live: live.pause("colour = x"), "no attribute 'colour'"),
        (lambda live: live.pause("c ="), "expected a value"),
        (lambda live: live.resume(1), "expected a filter as text"),
        (lambda live: live.rollback(1), "version 1 is not held, expected 0 to 0"),
        (lambda live: live.rollback(-1), "is not held"),
        (lambda live: live.rollback("0"), "expected the number of a version"),
    ],
)
def test_what_is_refused_changes_nothing(folder: Path, change: Any, message: str) -> None:
    with open_live(folder) as live:
        with pytest.raises(InputError, match=message):
            change(live)
        assert live.version == 0
    assert log_path(folder, 0).stat().st_size < 100


def test_opened_wrongly(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="there is a live catalogue already"):
        LiveCatalogue.create(folder, rebuilt(ROWS))
    for path in (tmp_path / "none", folder / "lock"):
        with pytest.raises(CatalogueError, match="--create"):
            LiveCatalogue.open(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CatalogueError, match="no live catalogue"):
        LiveCatalogue.open(tmp_path / "empty")
    for options in ({"sync": "sometimes"}, {"sync": 0}, {"compact_above": 0}, {"compact_above": True}):
        with pytest.raises(InputError):
            open_live(folder, **options)
    with open_live(folder, write=False) as reader, pytest.raises(InputError, match="write=False"):
        reader.remove(["1"])
    live = LiveCatalogue.open(folder)
    with pytest.raises(InputError, match="with its model or tokenizer"):
        live.add(["x"])
    live.close()
    with pytest.raises(InputError):
        live.remove(["1"])
    other = type(TOKENIZER)()
    other.fingerprint = "other" * 10
    with pytest.raises(AdtrieError, match="built for tokenizer"):
        LiveCatalogue.open(folder, other)


def test_synced_some_time_later(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = threading.Event()
    with open_live(folder, sync=0.01) as live:
        real = os.fsync

        def fsync(handle: int) -> None:
            real(handle)
            synced.set()

        monkeypatch.setattr("adtrie.live.log.os.fsync", fsync)
        live.remove(["1"])
        assert synced.wait(60)
        synced.clear()
        live.remove(["2"])
        assert synced.wait(60)


def test_a_version_is_saved_as_a_catalogue(folder: Path, tmp_path: Path) -> None:
    with open_live(folder) as live:
        live.add([{"text": "green", "id": "7", "bid": 2, "c": "y"}, {"text": "Red", "id": "8"}])
        live.remove(["2"])
        version = live.snapshot()
        version.save(tmp_path / "saved.cat")
    saved = Catalogue.open(tmp_path / "saved.cat")
    found = {
        saved.text(entry): [(r.id, r.bid, r.attributes) for r in saved.rows(entry)] for entry in range(2)
    }
    assert found == held(version) and len(saved) == 2
    assert saved.entry_bids().tolist() == [2.0, 2.0] and version.entry_bids().tolist() == [2.0, 2.0, 2.0]
    assert saved.select("c = y").entries.members().tolist() == [0]
