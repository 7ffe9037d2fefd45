"""The packaged targeting tasks: sizes, split laws, and that the rule gives the committed columns."""

from __future__ import annotations

import gzip
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adtrie.catalogue.normalise import normalise
from adtrie.errors import FormatError, InputError
from adtrie.evaluate import tasks
from adtrie.evaluate.tasks import CODES, SPLITS, TASK_NAMES, Pair, Task, load_task
from adtrie.prompt import normalise_query

ROOT = Path(__file__).resolve().parents[2]


SIZES = {  # keywords, then rows per split in the order of SPLITS
    "pricerunner": (12_613, (18_502, 955, 1_418, 1_172, 1_129)),
    "unspsc": (4_262, (13_320, 759, 1_917, 806, 840)),
    "naics": (1_010, (14_410, 988, 2_771, 1_085, 1_119)),
}
CODE_LENGTH = {"unspsc": 8, "naics": 6}


@pytest.fixture(scope="module", params=TASK_NAMES)
def task(request: pytest.FixtureRequest) -> Task:
    return load_task(request.param)


@pytest.fixture(scope="module")
def make_splits() -> dict[str, Any]:
    """The names of the script that wrote the data."""
    return runpy.run_path(str(ROOT / "benchmarks" / "make_splits.py"), run_name="make_splits")


def test_sizes_are_those_of_the_notice(task: Task) -> None:
    folder = task.name.removesuffix(CODES)
    num_keywords, counts = SIZES[folder]
    assert len(task.keywords) == len(set(task.keywords)) == num_keywords
    assert {split: len(task.rows_of(split)) for split in SPLITS} == dict(zip(SPLITS, counts, strict=True))
    assert len(task.rows) == sum(counts)
    notice = (ROOT / "src/adtrie/data" / folder / "NOTICE").read_text(encoding="utf-8")
    for split, count in zip(SPLITS, counts, strict=True):
        assert re.search(rf"^ +{split} +{count:,}\b", notice, re.MULTILINE)
    unused = len(set(task.keywords) - {row.label for row in task.rows})
    assert f"{num_keywords:,} " in notice and f"{len(task.rows):,} rows" in notice
    assert not unused or f"{unused:,} of them label no row" in notice


def test_cold_labels_occur_in_their_split_only_and_warm_labels_occur_in_train(task: Task) -> None:
    labels = {split: {row.label for row in task.rows_of(split)} for split in SPLITS}
    warm = labels["train"] | labels["dev"] | labels["test"]
    assert warm == labels["train"]
    assert not labels["cold_dev"] & labels["cold_test"]
    assert not (labels["cold_dev"] | labels["cold_test"]) & warm
    assert set().union(*labels.values()) <= set(task.keywords)


def test_no_query_is_in_two_rows(task: Task) -> None:
    assert len({row.query.casefold() for row in task.rows}) == len(task.rows)


def test_the_split_rule_gives_the_committed_column(task: Task, make_splits: dict[str, Any]) -> None:
    id_of = dict(zip(task.keywords, task.ids, strict=True))
    pairs = [(row.query, id_of[row.label]) for row in task.rows]
    shares = make_splits["TASKS"][task.name.removesuffix(CODES)][1]
    splits = [row.split for row in task.rows]
    assert make_splits["split_rows"](pairs, shares) == splits
    assert make_splits["split_rows"](pairs[::-1], shares) == splits[::-1]  # no dependence on the order


def test_titles_name_codes_one_to_one(task: Task) -> None:
    assert len(task.titles) == len(task.keywords)
    assert task.title_of == dict(zip(task.keywords, task.titles, strict=True))
    if not task.name.endswith(CODES):
        assert task.titles == task.keywords and task.title_rows() == []
    folder = task.name.removesuffix(CODES)
    if folder == "pricerunner":
        assert task.ids == task.keywords
        return
    assert len({title.casefold() for title in task.titles}) == len(task.titles)  # a floor ranks titles
    assert all(re.fullmatch(rf"\d{{{CODE_LENGTH[folder]}}}", code) for code in task.ids)
    if not task.name.endswith(CODES):
        return
    assert task.keywords == task.ids
    expected = [Pair(title, code, "train") for code, title in task.title_of.items()]
    assert task.title_rows() == expected


@pytest.mark.parametrize("name", ["unspsc", "naics"])
def test_rows_of_codes_and_of_titles_are_the_same(name: str) -> None:
    texts, codes = load_task(name), load_task(name + CODES)
    assert (texts.ids, texts.titles) == (codes.ids, codes.titles)
    assert [(row.query, codes.title_of[row.label], row.split) for row in codes.rows] == [
        (row.query, row.label, row.split) for row in texts.rows
    ]


def test_texts_are_as_a_request_has_them(task: Task) -> None:
    assert all(normalise_query(row.query) == row.query for row in task.rows)
    assert all(normalise(text) == text for text in [*task.keywords, *task.titles])


@given(rows=st.lists(st.tuples(st.sampled_from(["a", "A", " a  b", "A B", "c"]), st.sampled_from("12"))))
def test_a_query_with_two_codes_is_dropped(rows: list[tuple[str, str]], make_splits: dict[str, Any]) -> None:
    kept = make_splits["single"]((query, label, "") for query, label in rows)
    labels: dict[str, set[str]] = {}
    for query, label in rows:
        labels.setdefault(" ".join(query.lower().split()), set()).add(label)
    assert {(query.lower(), label) for query, label, _ in kept} == {
        (query, *found) for query, found in labels.items() if len(found) == 1
    }
    assert len(kept) == len({query.lower() for query, _, _ in kept})
    assert kept == make_splits["single"]((query, label, "") for query, label in rows[::-1])


def test_a_sample_is_fixed_and_grows_at_its_end(task: Task) -> None:
    assert task.sample("test", 200)[:50] == task.sample("test", 50)
    assert sorted(map(str, task.sample("test", 10**6))) == sorted(map(str, task.rows_of("test")))
    assert task.sample("test", 0) == []


@pytest.mark.parametrize("name", ["", "PriceRunner", "../pricerunner"])
def test_an_unknown_task_is_an_input_error(name: str) -> None:
    with pytest.raises(InputError, match="use one of"):
        load_task(name)


def test_an_unknown_split_or_size_is_an_input_error(task: Task) -> None:
    with pytest.raises(InputError, match="split 'valid'"):
        task.rows_of("valid")
    with pytest.raises(InputError, match="num_rows"):
        task.sample("test", -1)


def _damaged_copy(folder: Path, rows: bytes) -> None:
    target = folder / "data" / "pricerunner"
    target.mkdir(parents=True)
    (target / "keywords.txt.gz").write_bytes(gzip.compress(b"a\nb\n"))
    (target / "rows.csv.gz").write_bytes(rows)


@pytest.mark.parametrize(
    "rows",
    [
        gzip.compress(b"query,label,category,split\nx,a,c,train\n", mtime=0)[:-9],
        b"not gzip",
        gzip.compress(b"query,label,category,split\nx,missing,c,train\n", mtime=0),
        gzip.compress(b"query,label,category,split\nx,a,c,other\n", mtime=0),
        gzip.compress(b"query,label,category,split\nx,a\n", mtime=0),
        gzip.compress(b"\xff\xfe\n", mtime=0),
        gzip.compress(b"title,label\nx,a\n", mtime=0),
    ],
)
def test_damaged_data_is_a_format_error(rows: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _damaged_copy(tmp_path, rows)
    monkeypatch.setattr(tasks, "files", lambda package: tmp_path)
    with pytest.raises(FormatError, match="reinstall"):
        load_task("pricerunner")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ("code,title,path\n1,One,p\n1,Uno,p\n", "line 3.*repeated"),
        ("code,title,path\n1,,p\n", "no title"),
        ("code,title,path\n,One,p\n", "no title"),
        ("code,title,path\n1,One\n", "line 2.*3 fields"),
        ("code,title\n1,One\n", "line 1"),
        ("1,One,p\n", "line 1"),
        ('code,title,path\n1,"One,p\n', "unexpected end"),
        ("code,title,path\n2,Two,p\n", "label '1'"),  # a label that is missing from the catalogue
        ("", "label '1'"),
    ],
)
def test_damaged_entries_are_a_format_error(
    entries: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "data" / "unspsc"
    target.mkdir(parents=True)
    (target / "rows.csv.gz").write_bytes(gzip.compress(b"query,label,category,split\nx,1,c,train\n"))
    monkeypatch.setattr(tasks, "files", lambda package: tmp_path)
    with pytest.raises(FormatError, match="unreadable"):
        load_task("unspsc")
    (target / "entries.csv.gz").write_bytes(gzip.compress(entries.encode()))
    with pytest.raises(FormatError, match=words):
        load_task("unspsc")


def test_the_script_writes_the_same_bytes_and_needs_its_sources(
    make_splits: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a source of three rows: a label that is no entry is refused, so is a missing file."""
    space = make_splits["write"].__globals__
    monkeypatch.setitem(space, "DATA", tmp_path / "data")
    monkeypatch.setitem(space, "SHARED", tmp_path)
    write = make_splits["write"]
    with pytest.raises(OSError):
        write("naics")
    folder = tmp_path / "naics_index"
    folder.mkdir()
    lines = ["naics2022,index_item,title,subsector,sector", *(f"11111{i},Item {i},T{i},S,S" for i in "123")]
    (folder / "naics2022_index.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    written = []
    for _ in range(2):
        write("naics")
        written.append([path.read_bytes() for path in sorted((tmp_path / "data/naics").iterdir())])
    assert written[0] == written[1]
    monkeypatch.setattr(tasks, "files", lambda package: tmp_path)
    made = load_task("naics-codes")
    assert [row.query for row in made.rows] == ["Item 1", "Item 2", "Item 3"]
    assert made.title_of == {"111111": "T1", "111112": "T2", "111113": "T3"}
    strange = make_splits["Source"]([("1", "One", "")], [("x", "2", "")])
    monkeypatch.setitem(make_splits["TASKS"], "naics", (lambda: strange, make_splits["Shares"]()))
    with pytest.raises(ValueError, match=r"no entries, e\.g\. '2'"):
        write("naics")
