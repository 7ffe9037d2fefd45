"""Entries added one by one make the arrays that all of them sorted make."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_merged import gaps_of, trie_of

from adtrie.live import added
from adtrie.live.added import AddedRows
from adtrie.live.changes import NewRow

END = 9
bodies = st.lists(st.lists(st.integers(1, 4), max_size=6).map(tuple), min_size=2, max_size=40, unique=True)


def rows_of(base: list[tuple[int, ...]], others: list[tuple[int, ...]], at_once: int) -> AddedRows:
    """Rows of `others` over a base, frozen after every `at_once` of them."""
    rows = AddedRows(trie_of(base))
    for i, one in enumerate(others):
        owner = rows.owner_of(np.array(one, np.int32))
        assert rows.append(NewRow(str(i), "", "", 1.0, one), owner) == i
        if (i + 1) % at_once == 0:
            rows.freeze()
    return rows


@given(bodies, st.integers(1, 30), st.integers(1, 50))
@settings(max_examples=120, deadline=None)
def test_one_by_one(drawn: list[tuple[int, ...]], num_base: int, at_once: int) -> None:
    sequences = [(*one, END) for one in drawn]
    base, others = sorted(sequences[:num_base]), sequences[num_base:]
    rows = rows_of(base, others, at_once)
    entries = rows.freeze()
    assert len(entries) == len(others)
    if not others:
        assert entries.trie is None
        return
    wanted, gaps = trie_of(sorted(others)), gaps_of(base, sorted(others))
    assert entries.trie is not None
    for name in ("edges", "offsets", "shared"):
        assert getattr(entries.trie, name).tolist() == getattr(wanted, name).tolist()
    for name, values in vars(gaps).items():
        assert getattr(entries.gaps, name).tolist() == values.tolist()
    assert [others[number] for number in entries.number.tolist()] == sorted(others)
    assert entries.trie.max_depth == wanted.max_depth
    assert [rows.owner_of(np.array(one, np.int32)) for one in base] == list(range(len(base)))


@pytest.mark.parametrize("most", [0, 40])
def test_large_nodes_need_no_table(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Above 256 entries below a node, sorted at once and put in one by one, all tokens are found."""
    monkeypatch.setattr(added, "MAX_INSERTED", most)
    others = [(3, i // 30 + 1, i % 30 + 1, 2, END) for i in range(600)]
    rows = rows_of([(1, END), (40, END)], others[::-1], at_once=30)
    trie = rows.freeze().trie
    assert trie is not None
    assert [tuple(trie.tokens(entry).tolist()) for entry in (0, 1, 299, 599)] == [
        others[entry] for entry in (0, 1, 299, 599)
    ]
    for found in (
        trie.children(0, 600, 0),
        trie._slow_children(np.array([0]), np.array([600]), np.array([0])),
    ):
        assert (found.tokens.tolist(), found.hi.tolist()) == ([3], [600])
    assert trie.children(0, 600, 1).tokens.tolist() == list(range(1, 21))
