"""The value each entry counts for: equality as in filters, of the row with the highest bid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from byte_tokenizer import ByteTokenizer

from adtrie.catalogue import Catalogue, Selection
from adtrie.errors import InputError


def groups_of(catalogue: Catalogue, selection: Selection | None = None) -> list[int]:
    return catalogue.groups("by", selection)[np.arange(catalogue.num_entries)].tolist()


def build(rows: list[dict[str, Any]]) -> Catalogue:
    return Catalogue.build(rows, ByteTokenizer())


def test_equal_values_are_one_group() -> None:
    values: list[Any] = ["a", "b", "a", None, 1, "1", "1.0", 1.5, True, "true", "x"]
    rows = [{"text": f"t{i:02d}", "by": value} for i, value in enumerate(values)]
    groups = groups_of(build(rows))
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
    same, other, third = groups_of(catalogue)
    assert same == third != other
    same, other, third = groups_of(catalogue, catalogue.select("by != b"))
    assert len({same, other, third}) == 3  # c
    catalogue.bids.set([0], [9.0])
    same, other, third = groups_of(catalogue)
    assert same == other != third


def test_several_values_in_a_row_are_refused() -> None:
    catalogue = build([{"text": "one", "by": "a"}, {"text": "two", "by": ["a", "b"]}])
    with pytest.raises(InputError, match="row 1 has several values"):
        catalogue.groups("by")
    assert groups_of(build([{"text": "one", "by": ["a"]}, {"text": "two", "by": "a"}])) == [0, 0]


def test_unknown_attributes_are_named() -> None:
    with pytest.raises(InputError, match="no attribute 'buy'; the closest is 'by'"):
        build([{"text": "one", "by": "a"}]).groups("buy")
    with pytest.raises(InputError, match="the catalogue has no attributes"):
        build([{"text": "one"}]).groups("by")
