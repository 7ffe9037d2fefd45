"""Questions: labels by text and id, warm and cold, and every row that is left out or a miss is counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from byte_words import ByteWords

from adtrie.catalogue import Catalogue
from adtrie.errors import InputError
from adtrie.evaluate.pair_files import read_pairs
from adtrie.evaluate.questions import MAX_NOTES, Labels, file_questions, task_questions
from adtrie.evaluate.tasks import Pair, Task

ROWS = [("b1", "Red  Shoe"), ("b2", "Blue Shoe"), ("b3", "blue shoe"), ("b3", "Hat"), ("Hat", "Cap")]


@pytest.fixture(scope="module")
def labels() -> Labels:
    return Labels(Catalogue.build(ROWS, ByteWords()))


def test_a_label_is_a_text_or_an_id(labels: Labels) -> None:
    assert (
        labels.texts_of("Red Shoe")
        == labels.texts_of(" Red   Shoe\t")
        == labels.texts_of("b1")
        == ["Red Shoe"]
    )
    assert labels.texts_of("Hat") == ["Hat"]  # a text comes before an id of the same name
    assert sorted(labels.texts_of("b3")) == ["Hat", "blue shoe"]
    assert labels.texts_of("red shoe") == labels.texts_of("") == labels.texts_of("a\x00b") == []
    assert "Cap" in labels and "b1" not in labels


def write(path: Path, *rows: str, columns: str = "query,label,split") -> Path:
    path.write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8")
    return path


def test_every_row_is_asked_or_counted(labels: Labels, tmp_path: Path) -> None:
    path = write(
        tmp_path / "pairs.csv",
        "crimson shoe,b1,train",
        "A  Query,Hat,train",  # a test query in other letters
        "navy shoe,Blue Shoe,train",
        "dev query,Cap,train",  # a dev query
        "ruby shoe,Red Shoe,test",
        "a query,Hat,test",
        "beret,Beret,test",
        ",Hat,test",
        "no label,,test",
        "bell\x07,Hat,test",
        "too,many,fields,test",
        "dev query,Hat,dev",
    )
    asked = file_questions(read_pairs(path, "test"), labels, "test")
    by_group = {group: {row.query: set(row.right) for row in rows} for group, rows in asked.groups.items()}
    assert by_group == {"warm": {"ruby shoe": {"Red Shoe"}}, "cold": {"a query": {"Hat"}, "beret": set()}}
    assert sorted(asked.train) == [("crimson shoe", "Red Shoe"), ("navy shoe", "Blue Shoe")]
    counts = asked.counts
    assert (counts.asked, counts.train, counts.unknown_labels) == (3, 2, 1)
    assert (counts.unusable, counts.train_also_asked) == (4, 2)
    assert any("line 8" in note and "'Beret'" in note for note in counts.notes)
    assert any("line 3" in note and "'A  Query'" in note for note in counts.notes)
    assert set(asked.titles) == {"Red Shoe", "Blue Shoe", "blue shoe", "Hat", "Cap"}


def test_without_splits_all_rows_are_asked(labels: Labels, tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.csv", "a,b3", "b,nothing", columns="query,label")
    asked = file_questions(read_pairs(path, "test"), labels, "test")
    assert {row.query: row.right for row in asked.groups["all"]} == {
        "a": frozenset({"Hat", "blue shoe"}),
        "b": frozenset(),
    }
    assert asked.train == ()


def test_a_sample_begins_the_larger_one(labels: Labels) -> None:
    rows = [(line, Pair(f"query {line}", "Hat", "test")) for line in range(2, 30)]
    sizes = (1, 5, 100, None)
    made = [file_questions(rows, labels, "test", size).groups["all"] for size in sizes]
    assert [len(rows) for rows in made] == [1, 5, 28, 28]
    assert made[0] == made[1][:1] and made[1] == made[2][:5] and made[2] == made[3]


def test_a_file_that_cannot_be_answered_is_refused(labels: Labels) -> None:
    with pytest.raises(InputError, match="none of the 7 rows") as error:
        file_questions([(at, Pair(f"q{at}", f"no{at}", "test")) for at in range(7)], labels, "test")
    assert str(error.value).count("is no text or id") == MAX_NOTES
    with pytest.raises(InputError, match="none of the 1 rows"):
        file_questions([(2, Pair("", "", "test"))], labels, "test")
    with pytest.raises(InputError, match="no row of split 'dev'"):
        file_questions([(2, Pair("a", "Hat", "test"))], labels, "dev")


def test_a_task_is_warm_and_cold(labels: Labels) -> None:
    rows = (
        Pair("old hat", "Hat", "train"),
        Pair("my hat", "Hat", "test"),
        Pair("MY  HAT", "Hat", "train"),
        Pair("a cap", "Cap", "cold_test"),
        Pair("other", "Hat", "dev"),
        Pair("Other", "Hat", "train"),
    )
    names = ["Hat", "Cap", "Gone"]
    asked = task_questions(Task("t", names, names, names, rows), labels, "test")
    assert {group: [row.query for row in rows] for group, rows in asked.groups.items()} == {
        "warm": ["my hat"],
        "cold": ["a cap"],
    }
    assert asked.train == (("old hat", "Hat"),)
    assert asked.counts.train_also_asked == 2
    assert asked.titles == {"Hat": "Hat", "Cap": "Cap"}  # what could not be indexed is no entry
