"""The packaged PriceRunner task: sizes, split laws, and that the rule gives the committed column."""

from __future__ import annotations

import gzip
import runpy
from collections import Counter
from pathlib import Path

import pytest

from adtrie.errors import FormatError, InputError
from adtrie.evaluate import tasks
from adtrie.evaluate.tasks import SPLITS, Task, load_task

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("pricerunner")


def test_sizes_are_those_of_the_notice(task: Task) -> None:
    assert len(task.keywords) == len(set(task.keywords)) == 12_613
    assert len(task.rows) == 23_176
    sizes = {"train": 18_502, "dev": 955, "test": 1_418, "cold_dev": 1_172, "cold_test": 1_129}
    assert Counter(row.split for row in task.rows) == sizes
    assert {split: len(task.rows_of(split)) for split in SPLITS} == sizes


def test_cold_labels_occur_in_their_split_only_and_warm_labels_occur_in_train(task: Task) -> None:
    labels = {split: {row.label for row in task.rows_of(split)} for split in SPLITS}
    warm = labels["train"] | labels["dev"] | labels["test"]
    assert warm == labels["train"]
    assert not labels["cold_dev"] & labels["cold_test"]
    assert not (labels["cold_dev"] | labels["cold_test"]) & warm
    assert set().union(*labels.values()) <= set(task.keywords)


def test_no_query_is_in_two_rows(task: Task) -> None:
    assert len({row.query.casefold() for row in task.rows}) == len(task.rows)


def test_the_split_rule_gives_the_committed_column(task: Task) -> None:
    script = runpy.run_path(str(ROOT / "benchmarks" / "make_splits.py"), run_name="make_splits")
    pairs = [(row.query, row.label) for row in task.rows]
    shares = script["TASKS"][task.name][1]
    splits = [row.split for row in task.rows]
    assert script["split_rows"](pairs, shares) == splits
    assert script["split_rows"](pairs[::-1], shares) == splits[::-1]  # no dependence on the order


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
        gzip.compress(b"query,label,category,split\nx,a,c,train\n")[:-9],
        b"not gzip",
        gzip.compress(b"query,label,category,split\nx,missing,c,train\n"),
        gzip.compress(b"query,label,category,split\nx,a,c,other\n"),
        gzip.compress(b"query,label,category,split\nx,a\n"),
        gzip.compress(b"\xff\xfe\n"),
        gzip.compress(b"title,label\nx,a\n"),
    ],
)
def test_damaged_data_is_a_format_error(rows: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _damaged_copy(tmp_path, rows)
    monkeypatch.setattr(tasks, "files", lambda package: tmp_path)
    with pytest.raises(FormatError, match="reinstall"):
        load_task("pricerunner")
