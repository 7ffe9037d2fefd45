"""Snapshots: damage is refused or harmless, writing is all or nothing, hostile tables are refused."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import struct

import numpy as np
import pytest
from byte_tokenizer import ByteTokenizer

from adtrie.catalogue import Catalogue, snapshot
from adtrie.catalogue.branches import BranchTable
from adtrie.catalogue.snapshot import read_snapshot, write_snapshot
from adtrie.errors import AdtrieError, CatalogueError, FormatError

ROWS = [
    {"text": "red", "id": 1, "bid": 2, "c": "x"},
    {"text": "red shoes", "id": 2},
    {"text": "red", "id": 3},
    {"text": "blue"},
]


@pytest.fixture
def path(tmp_path):
    Catalogue.build(ROWS, ByteTokenizer()).save(tmp_path / "c.adtrie")
    return tmp_path / "c.adtrie"


def content(catalogue):
    trie, n = catalogue.trie, len(catalogue)
    tree = trie.subtree(0, n, 0, 10000)
    rows = [(catalogue.text(e), catalogue.rows(e), trie.tokens(e).tolist()) for e in range(n)]
    return rows, tree.tokens.tolist(), tree.parents.tolist(), tree.children.tokens.tolist(), catalogue.info


def test_truncated_at_every_offset(path):
    whole = path.read_bytes()
    for size in reversed(range(len(whole))):
        os.truncate(path, size)
        with pytest.raises(FormatError):
            Catalogue.open(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(FormatError, match="its sections need"):
        Catalogue.open(path)


@contextlib.contextmanager
def flipped(path, whole, position, mask=0xFF):
    """The file with one byte changed in place."""
    with open(path, "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), bytes([whole[position] ^ mask]), position)
        yield
        os.pwrite(file.fileno(), whole[position : position + 1], position)


def test_every_byte_flipped(path):
    whole = path.read_bytes()
    wanted, harmless = content(Catalogue.open(path)), 0
    for position in range(len(whole)):
        with flipped(path, whole, position):
            try:
                catalogue = Catalogue.open(path)
            except FormatError:
                continue
            assert content(catalogue) == wanted
            harmless += 1
    assert harmless < 64 * len(read_snapshot_sections(whole, path))


def read_snapshot_sections(whole, path):
    path.write_bytes(whole)
    return read_snapshot(path).sections


def walk(catalogue):
    """Use every query on every reachable node; only our errors may come out, and it must end."""
    trie = catalogue.trie
    lo, hi, depth = np.array([0]), np.array([len(catalogue)]), np.array([0])
    for _ in range(trie.max_depth + 1):
        children = trie.children(lo, hi, depth)
        assert np.all((children.tokens >= 0) & (children.tokens < trie.vocab_size))
        assert np.all((children.lo >= 0) & (children.lo < children.hi) & (children.hi <= len(catalogue)))
        trie.num_rows(lo, hi, depth), trie.chain(lo, hi, depth), trie.remaining(lo, hi, depth)
        trie.subtree(lo, hi, depth, 500)
        inner = np.flatnonzero(~children.is_leaf)[:2000]
        child_depth = np.repeat(depth + 1, np.diff(children.ptr))
        lo, hi, depth = children.lo[inner], children.hi[inner], child_depth[inner]
        if not len(lo):
            break
    assert not len(lo)
    for e in range(min(len(catalogue), 50)):
        trie.tokens(e), catalogue.text(e), catalogue.ids(e), catalogue.bid(e)
        with contextlib.suppress(FormatError):
            catalogue.attributes(e)
    with contextlib.suppress(AdtrieError):
        catalogue.select("c in [x, y] or has c and c > a", allow_ids=["1", "red"], deny_ids=["a0001"])


def check_unverified(path, damaged):
    path.write_bytes(damaged)
    try:
        catalogue = Catalogue.open(path)
        walk(catalogue)
    except AdtrieError:
        return
    with pytest.raises(FormatError, match="damaged"):
        catalogue.verify()


def test_unverified_damage_is_harmless(path, monkeypatch):
    """Above the size that is verified on opening, damaged content may answer wrongly, nothing worse."""
    monkeypatch.setattr(snapshot, "SMALL_BYTES", 0)
    whole = path.read_bytes()
    sections = read_snapshot(path).sections
    for section in sections:
        for position in range(section.offset, section.end):
            changed = bytes([whole[position] ^ (0xFF, 0x01, 0x80)[position % 3]])
            check_unverified(path, whole[:position] + changed + whole[position + 1 :])


def test_unverified_random_damage_of_listed_nodes(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "SMALL_BYTES", 0)
    random = np.random.default_rng(7)
    path = tmp_path / "c.adtrie"
    rows = [("".join(random.choice(list("abcd"), 6)), f"a{i:04d}") for i in range(900)]
    Catalogue.build(rows, ByteTokenizer()).save(path)
    whole = bytearray(path.read_bytes())
    sections = read_snapshot(path).sections
    assert next(s for s in sections if s.name == "branches.key").length > 0
    for section in sections:
        for kind in range(4):
            damaged = bytearray(whole)
            size = max(1, (section.end - section.offset) // (1 if kind < 2 else 7))
            start = section.offset + int(random.integers(0, section.end - section.offset - size + 1))
            noise = random.bytes(size) if kind % 2 else bytes([0xFF]) * size
            damaged[start : start + size] = noise
            if damaged != whole:
                check_unverified(path, bytes(damaged))


def test_memory_mapped_equals_read(path, monkeypatch):
    wanted = content(Catalogue.open(path))
    monkeypatch.setattr(snapshot, "SMALL_BYTES", 0)
    catalogue = Catalogue.open(path)
    assert content(catalogue) == wanted
    catalogue.verify()
    with pytest.raises(ValueError):
        catalogue.trie.edges[0] = 1
    # Replacing by rename leaves the open map as it was.
    Catalogue.build(["other"], ByteTokenizer()).save(path)
    assert content(catalogue) == wanted and Catalogue.open(path).text(0) == "other"


def with_header(path, change):
    """Rewrite the header through `change` with a valid checksum; sections stay."""
    whole = path.read_bytes()
    length = struct.unpack_from("<I", whole, 12)[0]
    header = whole[48 : 48 + length]
    new = change(header) if not isinstance(change, dict) else change
    data = -(-(48 + length) // 64) * 64
    pad = -(48 + len(new)) % 64
    prelude = struct.pack("<8sII32s", b"ADTRIECT", 1, len(new), hashlib.sha256(new).digest())
    path.write_bytes(prelude + new + b"\0" * pad + whole[data:])


def edit(function):
    def change(header):
        value = json.loads(header)
        function(value)
        return json.dumps(value, separators=(",", ":")).encode()

    return change


def set_meta(name, value):
    return edit(lambda h: h["meta"].__setitem__(name, value))


def set_section(index, column, value):
    return edit(lambda h: h["sections"][index].__setitem__(column, value))


@pytest.mark.parametrize(
    "change",
    [
        lambda header: b"",
        lambda header: b"null",
        lambda header: b"[1]",
        lambda header: b"[" * 100000,
        lambda header: b'{"meta":1,"sections":[]}',
        lambda header: b'{"meta":{},"sections":[]}',
        lambda header: b"\xff",
        edit(lambda h: h.pop("meta")),
        edit(lambda h: h["sections"].pop(0)),
        edit(lambda h: h["sections"].append(h["sections"][0])),
        edit(lambda h: h["sections"][0].append(1)),
        set_section(0, 0, 5),
        set_section(0, 0, "foreign"),
        set_section(0, 1, "object"),
        set_section(0, 1, "<f8"),
        set_section(0, 1, "<u1"),
        set_section(0, 2, -1),
        set_section(0, 2, True),
        set_section(0, 2, 10**30),
        set_section(0, 2, 1.5),
        set_section(0, 3, 64),
        set_section(1, 3, 0),
        set_section(2, 3, 2**47),
        set_section(0, 4, None),
        set_section(0, 4, "0" * 64),
        set_meta("num_entries", 4),
        set_meta("num_entries", 0),
        set_meta("num_entries", -3),
        set_meta("num_entries", 10**11),
        set_meta("num_entries", True),
        set_meta("max_depth", 0),
        set_meta("max_depth", 256),
        set_meta("vocab_size", 70000),
        set_meta("vocab_size", 5),
        set_meta("end_token", 256),
        set_meta("prefix", None),
        edit(lambda h: h["meta"].pop("end")),
        set_meta("extra", 1),
    ],
)
def test_hostile_header(path, change):
    with_header(path, change)
    with pytest.raises(FormatError):
        Catalogue.open(path)


def test_identity_change_opens(path):
    """The header rewriting above is sound: without a change the file opens."""
    with_header(path, edit(lambda h: None))
    assert len(Catalogue.open(path)) == 3


@pytest.mark.parametrize(
    "data", [b"", b"ADTRIECT", b"GGUF" * 100, b"ADTRIECT" + struct.pack("<II", 2, 0) + b"\0" * 100]
)
def test_other_files(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(FormatError):
        Catalogue.open(tmp_path / "x")


def test_cannot_open(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "none", tmp_path / "pipe", tmp_path):
        with pytest.raises(CatalogueError, match="cannot open"):
            Catalogue.open(path)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_failed_write_keeps_the_old_file(path, monkeypatch, failing):
    old = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(CatalogueError, match="No space left"):
        Catalogue.build(["new"], ByteTokenizer()).save(path)
    monkeypatch.undo()
    assert path.read_bytes() == old
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_write_to_a_missing_folder(tmp_path):
    with pytest.raises(CatalogueError, match="cannot write"):
        Catalogue.build(["new"], ByteTokenizer()).save(tmp_path / "none" / "c.adtrie")


def test_arrays_survive(tmp_path):
    arrays = {
        "a": np.arange(5, dtype=np.uint16),
        "empty": np.zeros(0, dtype=np.float64),
        "b": np.arange(100, dtype=np.int64) - 50,
    }
    write_snapshot(tmp_path / "s", {"x": [1, "é"]}, arrays)
    got = read_snapshot(tmp_path / "s")
    assert got.meta == {"x": [1, "é"]} and list(got.arrays) == list(arrays)
    for name, array in arrays.items():
        assert got.arrays[name].dtype == array.dtype and np.array_equal(got.arrays[name], array)
    assert all(section.offset % 64 == 0 for section in got.sections)


def table(**changes):
    good = {"key": [0], "hi": [400], "ptr": [0, 2], "first": [0, 5], "longest": [9], "mean": [3.0]}
    kinds = ["<i8", "<u4", "<u4", "<u4", "<u1", "<f4"]
    values = (good | changes).values()
    return BranchTable(*(np.array(v, dtype=k) for v, k in zip(values, kinds, strict=True)))


@pytest.mark.parametrize(
    "changes",
    [
        {"key": [-256]},
        {"key": [256]},
        {"hi": [401]},
        {"hi": [5]},
        {"ptr": [0, 3]},
        {"ptr": [1, 2]},
        {"ptr": [0, 0]},
        {"ptr": []},
        {"first": [1, 5]},
        {"first": [0, 0]},
        {"first": [0, 400]},
        {"longest": []},
    ],
)
def test_branch_table_checks(changes):
    table().check(400, "x")
    with pytest.raises(FormatError, match="branching"):
        table(**changes).check(400, "x")
