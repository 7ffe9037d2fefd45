"""The TF-IDF floor: its quality on PriceRunner, its tie rule, and its message without scikit-learn."""

from __future__ import annotations

import sys

import pytest

from adtrie.errors import AdtrieError, InputError
from adtrie.evaluate import TfidfFloor, load_task, ranks, recall_at_k


def test_floor_on_pricerunner_is_the_published_one() -> None:
    pytest.importorskip("sklearn")
    task = load_task("pricerunner")
    rows = task.sample("test", 500)
    floor = TfidfFloor(task.keywords, [row.query for row in task.rows_of("train")])
    found = ranks(floor.rank([row.query for row in rows], 10), [row.label for row in rows])
    assert recall_at_k(found, 1) == pytest.approx(0.80, abs=0.03)
    assert recall_at_k(found, 10) == pytest.approx(0.93, abs=0.02)


def test_ties_and_unknown_queries_keep_the_order_of_the_keywords() -> None:
    pytest.importorskip("sklearn")
    floor = TfidfFloor(["zebra", "Apple Phone", "apple phone", "bread"])
    assert floor.rank(["apple phone", "", "0000"], 3) == [
        ["Apple Phone", "apple phone", "zebra"],
        ["zebra", "Apple Phone", "apple phone"],
        ["zebra", "Apple Phone", "apple phone"],
    ]
    assert floor.rank([], 3) == []
    assert len(floor.rank(["apple"], 10)[0]) == 4


def test_bad_arguments_are_input_errors() -> None:
    pytest.importorskip("sklearn")
    with pytest.raises(InputError):
        TfidfFloor([])
    with pytest.raises(InputError):
        TfidfFloor(["", "  "])
    with pytest.raises(InputError):
        TfidfFloor(["a phone"]).rank(["a"], 0)


def test_without_scikit_learn_the_error_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    with pytest.raises(AdtrieError, match=r"pip install 'adtrie\[demo\]'"):
        TfidfFloor(["apple"])
