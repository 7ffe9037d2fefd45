"""Readers of row files: every good form is read, every bad row is refused with its line number."""

from __future__ import annotations

import builtins
import gzip
import math
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.catalogue.row_files import MAX_LINE_BYTES, RowFile
from adtrie.catalogue.rows import Refusal, Row, rows_from_memory
from adtrie.errors import AdtrieError, CatalogueError


def read(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(RowFile(path))


def refused(rows):
    return [(r.line, r.reason) for r in rows if isinstance(r, Refusal)]


def texts(rows):
    return [(r.line, r.text) for r in rows if isinstance(r, Row)]


def test_text_lines(tmp_path):
    rows = read(tmp_path, "a.txt", b"\xef\xbb\xbfred shoes\r\nblue\n\nlast")
    assert texts(rows) == [(1, "red shoes"), (2, "blue"), (3, ""), (4, "last")]


def test_text_not_utf8_and_too_long(tmp_path):
    rows = read(tmp_path, "a.txt", b"ok\nab\xff\n" + b"x" * (MAX_LINE_BYTES + 5) + b"\nend\n")
    assert texts(rows) == [(1, "ok"), (4, "end")]
    assert [line for line, _ in refused(rows)] == [2, 3]
    assert "byte 3" in refused(rows)[0][1] and "bytes" in refused(rows)[1][1]


def test_gzip(tmp_path):
    assert texts(read(tmp_path, "a.txt.gz", gzip.compress(b"a\nb\n"))) == [(1, "a"), (2, "b")]
    whole = gzip.compress(b"".join(b"%d\n" % i for i in range(5000)))
    for damaged in (whole[: len(whole) // 2], b"not gzip at all", whole[:-8] + b"\0" * 8):
        with pytest.raises(CatalogueError, match=r"b\.txt\.gz"):
            read(tmp_path, "b.txt.gz", damaged)


def test_csv(tmp_path):
    rows = read(
        tmp_path,
        "a.csv",
        '\ufeffID, Text ,bid,brand\r\n1,red shoes,2.5,x\r\n,"a, ""quoted""\nname",,\r\n3,c,,',
    )
    assert rows == [
        Row(2, "red shoes", "1", 2.5, '{"brand":"x"}'),
        Row(3, 'a, "quoted"\nname', None, None, None),
        Row(5, "c", "3", None, None),
    ]


def test_csv_text_alone(tmp_path):
    assert texts(read(tmp_path, "a.csv", "text\nred\nblue\n")) == [(2, "red"), (3, "blue")]


@pytest.mark.parametrize("bid", ["0", "-1", "nan", "inf", "1e999", "x", "1,5"])
def test_csv_bad_bid(tmp_path, bid):
    rows = read(tmp_path, "a.csv", f'text,bid\nok,1\nred,"{bid}"\n')
    assert texts(rows) == [(2, "ok")] and refused(rows)[0][0] == 3 and "bid" in refused(rows)[0][1]


def test_csv_bad_rows(tmp_path):
    content = b'text,id\nok,1\nshort\n\xff,2\na,b,c\n\n"x"y,3\n' + b"y" * (MAX_LINE_BYTES + 1) + b"\nfine,4\n"
    rows = read(tmp_path, "a.csv", content)
    assert texts(rows) == [(2, "ok"), (9, "fine")]
    assert sorted(line for line, _ in refused(rows)) == [3, 4, 5, 6, 7, 8]


def test_csv_unclosed_quote(tmp_path):
    rows = read(tmp_path, "a.csv", 'text\nok\n"never closed\nb\nc\n')
    assert texts(rows) == [(2, "ok")]
    assert refused(rows)[0][0] == 3 and "line 5" in refused(rows)[0][1]


def test_json_lines(tmp_path):
    rows = read(
        tmp_path,
        "a.jsonl",
        '{"text":"red","id":7,"bid":3,"tags":["x"]}\n{"text":"b","id":null}\n',
    )
    assert rows == [Row(1, "red", "7", 3.0, '{"tags":["x"]}'), Row(2, "b")]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        '"text"',
        "{}",
        '{"text":null}',
        '{"text":5}',
        '{"text":"a","bid":true}',
        '{"text":"a","bid":"x"}',
        '{"text":"a","bid":NaN}',
        '{"text":"a","bid":[]}',
        '{"text":"a","id":1.5}',
        '{"text":"a","id":true}',
        '{"text":"a","id":{}}',
        '{"text":"a","id":"\\ud800"}',
        '{"text":"a","x":"\\ud800"}',
        '{"text":"a","id":"' + "i" * 513 + '"}',
        '{"text":"a","id":' + "9" * 500 + "}",
        '{"text":"a","bid":' + "9" * 5000 + "}",
        '{"text":"a","x":"' + "i" * 70000 + '"}',
        "[" * 100000,
    ],
)
def test_json_bad_line(tmp_path, line):
    rows = read(tmp_path, "a.jsonl", '{"text":"ok"}\n' + line + '\n{"text":"end"}\n')
    assert texts(rows) == [(1, "ok"), (3, "end")]
    assert [number for number, _ in refused(rows)] == [2]


def write_parquet(path, columns):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)


def test_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    write_parquet(
        path,
        {
            "id": [1, 2, 3],
            "text": ["red", None, "blue"],
            "bid": [1.0, 2.0, math.nan],
            "brand": ["x", "y", "z"],
        },
    )
    file = RowFile(path)
    rows = list(file)
    assert rows[0] == Row(1, "red", "1", 1.0, '{"brand":"x"}')
    assert [line for line, _ in refused(rows)] == [2, 3]
    assert file.estimated_rows(1) == 3


def test_parquet_bytes_that_are_not_utf8(tmp_path):
    path = tmp_path / "a.parquet"
    write_parquet(path, {"text": [b"ok", b"\xff"]})
    rows = list(RowFile(path))
    assert texts(rows) == [(1, "ok")] and refused(rows) == [(2, "not UTF-8")]


def test_parquet_damaged_or_without_text(tmp_path):
    path = tmp_path / "a.parquet"
    write_parquet(path, {"name": ["a"]})
    with pytest.raises(CatalogueError, match="'text'"):
        list(RowFile(path))
    write_parquet(path, {"text": ["a" * 50] * 50})
    whole = path.read_bytes()
    for cut in range(1, len(whole), 37):
        path.write_bytes(whole[:cut])
        with pytest.raises(CatalogueError):
            list(RowFile(path))


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    original = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(CatalogueError, match=r"pip install adtrie\[parquet\]"):
        list(RowFile(path))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b""),
        ("a.xlsx", b"x"),
        ("a.parquet.gz", b"x"),
        ("a.txt", "red".encode("utf-16")),
        ("a.csv", b"id,name\n1,a\n"),
        ("a.csv", b"text,text\n1,a\n"),
        ("a.csv", b'"text\nb'),
        ("a.csv", b"\xff\nb"),
        ("a.csv", b"\n"),
    ],
)
def test_unreadable_files(tmp_path, name, content):
    with pytest.raises(CatalogueError):
        read(tmp_path, name, content)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(CatalogueError, match="cannot read"):
        RowFile(tmp_path / "none.txt")
    (tmp_path / "folder.txt").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    for name in ("folder.txt", "pipe.txt"):
        with pytest.raises(CatalogueError, match="cannot read"):
            RowFile(tmp_path / name)


def test_rows_from_memory():
    rows = list(
        rows_from_memory(["a", ("7", "b"), ["x", "c"], {"text": "d", "n": {1: 2}}, 5, ("a",), None, {}])
    )
    assert rows[:4] == [
        Row(1, "a"),
        Row(2, "b", "7"),
        Row(3, "c", "x"),
        Row(4, "d", None, None, '{"n":{"1":2}}'),
    ]
    assert [line for line, _ in refused(rows)] == [5, 6, 7, 8]


def test_rows_from_memory_strange_attributes():
    loop: dict = {"text": "a"}
    loop["self"] = loop
    rows = list(rows_from_memory([loop, {"text": "b", "when": object}]))
    assert isinstance(rows[0], Refusal) and isinstance(rows[1], Row)


@given(st.binary(max_size=200), st.sampled_from(["a.txt", "a.csv", "a.jsonl", "a.txt.gz", "a.parquet"]))
@settings(max_examples=200, deadline=None)
def test_any_bytes(tmp_path_factory, content, name):
    """Whatever the bytes: rows and refusals in order of line, or one of our errors."""
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(b"text\n" + content if name == "a.csv" else content)
    try:
        lines = [row.line for row in RowFile(path)]
    except AdtrieError:
        return
    if name in ("a.txt", "a.jsonl"):
        assert lines == list(range(1, len(lines) + 1))
