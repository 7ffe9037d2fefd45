"""The value each entry counts for: equality as in filters, of the row with the highest bid."""

from __future__ import annotations

from typing import Any

import pytest
from byte_tokenizer import ByteTokenizer

from adtrie.catalogue import Catalogue
from adtrie.errors import InputError


def build(rows: list[dict[str, Any]]) -> Catalogue:
    return Catalogue.build(rows, ByteTokenizer())


def test_equal_values_are_one_group() -> None:
    values: list[Any] = ["a", "b", "a", None, 1, "1", "1.0", 1.5, True, "true", "x"]
    rows = [{"text": f"t{i:02d}", "by": value} for i, value in enumerate(values)]
    groups = build(rows).groups("by").tolist()
    assert groups[0] == groups[2] != groups[1]
    assert groups[3] == -1
    assert groups[4] == groups[5] == groups[6] != groups[7]
    assert groups[8] == groups[9]
    assert len(set(groups)) == 7


def test_the_row_with_the_highest_bid_counts() -> None:
    rows = [
        {"text": "same", "id": "1", "bid": 1.0, "by": "a"},
        {"text": "same", "id": "2", "bid": 5.0, "by": "b"},
        {"text": "same", "id": "3", "bid": 5.0, "by": "c"},
        {"text": "zother", "id": "4", "bid": 1.0, "by": "a"},
        {"text": "zthird", "id": "5", "bid": 1.0, "by": "b"},
    ]
    catalogue = build(rows)
    same, other, third = catalogue.groups("by").tolist()
    assert same == third != other
    same, other, third = catalogue.groups("by", catalogue.select("by != b")).tolist()
    assert len({same, other, third}) == 3  # c
    catalogue.bids.set([0], [9.0])
    same, other, third = catalogue.groups("by").tolist()
    assert same == other != third


def test_several_values_in_a_row_are_refused() -> None:
    catalogue = build([{"text": "one", "by": "a"}, {"text": "two", "by": ["a", "b"]}])
    with pytest.raises(InputError, match="row 1 has several values"):
        catalogue.groups("by")
    assert build([{"text": "one", "by": ["a"]}, {"text": "two", "by": "a"}]).groups("by").tolist() == [0, 0]


def test_unknown_attributes_are_named() -> None:
    with pytest.raises(InputError, match="no attribute 'buy'; the closest is 'by'"):
        build([{"text": "one", "by": "a"}]).groups("buy")
    with pytest.raises(InputError, match="the catalogue has no attributes"):
        build([{"text": "one"}]).groups("by")
