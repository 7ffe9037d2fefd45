"""Catalogues of codes: every row is reached by exactly its code, with or without its text behind it."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from byte_tokenizer import ByteTokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.catalogue import (
    Catalogue,
    CodeTable,
    CodeTokens,
    Coding,
    EntrySet,
    token_range,
    unused_tokens,
)
from adtrie.errors import CatalogueError, InputError

OWN = np.arange(300, 600, dtype=np.int32)  # tokens set aside above those of the byte tokenizer
VOCAB = 600
paths = st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=4), min_size=1, max_size=40)
matrices = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 11), min_size=n, max_size=n), min_size=1, max_size=40)
)


def build(table, tokens=OWN, tail=False, texts=None):
    own = None if tokens is None else CodeTokens.allot(tokens, table.sizes)
    rows = texts or [(f"r{i}", f"text {i}") for i in range(len(table))]
    return Catalogue.build(rows, ByteTokenizer(), coding=Coding(table, own, tail, VOCAB))


def walk(trie, tokens):
    """(lo, hi, ended) of the node that the tokens lead to, from the trie's children alone; None: nowhere."""
    node = (0, trie.num_entries, False)
    for depth, token in enumerate(tokens):
        children = trie.children(node[0], node[1], depth)
        at = np.flatnonzero(children.tokens == token)
        if not at.size:
            return None
        i = int(at[0])
        node = (int(children.lo[i]), int(children.hi[i]), bool(children.is_leaf[i]))
    return node


def ids_below(catalogue, lo, hi):
    return Counter(name for entry in range(lo, hi) for name in catalogue.ids(entry))


@given(st.one_of(matrices, paths))
@settings(max_examples=60, deadline=None)
def test_every_row_is_reached_by_exactly_its_code(codes):
    table = CodeTable.of_values(codes, "test")
    tokens = CodeTokens.allot(OWN, table.sizes)
    catalogue = build(table)
    end = [] if catalogue.info.end == "" else [catalogue.info.end_token]
    assert (catalogue.info.end == "") == (len(set(map(len, codes))) == 1)
    spelled = tokens.spell(table)
    for row, code in enumerate(codes):
        own = spelled[table.offsets[row] : table.offsets[row + 1]].tolist()
        lo, hi, ended = walk(catalogue.trie, own + end)
        assert ended and hi == lo + 1
        same = {f"r{i}" for i, other in enumerate(codes) if other == code}
        assert set(catalogue.ids(lo)) == same
    assert catalogue.num_entries == len({tuple(code) for code in codes})


@given(matrices)
@settings(max_examples=40, deadline=None)
def test_counts_below_each_prefix(codes):
    table = CodeTable.of_matrix(np.array(codes), "test")
    spelled = CodeTokens.allot(OWN, table.sizes).spell(table).reshape(len(codes), -1)
    for tail in (False, True):
        catalogue = build(table, tail=tail)
        for depth in range(len(codes[0]) + 1):
            wanted = Counter(tuple(code[:depth]) for code in codes)
            for row, code in enumerate(codes):
                lo, hi, _ = walk(catalogue.trie, spelled[row, :depth].tolist())
                assert ids_below(catalogue, lo, hi).total() == wanted[tuple(code[:depth])]


def test_a_text_tail_tells_rows_of_one_code_apart():
    table = CodeTable.of_matrix([[1, 2], [1, 2], [0, 3]], "test")
    catalogue = build(table, tail=True, texts=["red shoe", "red shoes", "hat"])
    assert [catalogue.text(entry) for entry in range(3)] == ["hat", "red shoe", "red shoes"]
    own = CodeTokens.allot(OWN, table.sizes).spell(table)[:2].tolist()
    assert catalogue.trie.tokens(1).tolist() == [*own, *b" red shoe\n"]


def test_without_a_tail_rows_keep_their_texts_as_attributes():
    table = CodeTable.of_matrix([[1], [1], [0]], "test")
    rows = [{"text": "a", "id": 1, "size": 3}, {"text": "b", "id": 2}, {"text": "c"}]
    catalogue = build(table, texts=rows)
    assert catalogue.text(1) == "a" and catalogue.ids(1) == ["1", "2"]
    assert [row.attributes for row in catalogue.rows(1)] == [{"text": "a", "size": 3}, {"text": "b"}]
    assert len(catalogue.select("text = b")) == 1
    assert catalogue.select(EntrySet.of_entries([0], 2)).trie.children(0, 2, 0).tokens.size == 1


def test_digits_are_written_by_any_tokenizer():
    table = CodeTable.of_values(["4412", "4410", "44"], "test")
    catalogue = build(table, tokens=None)
    assert sorted(bytes(catalogue.trie.tokens(e).tolist()) for e in range(3)) == [
        b" 44\n",
        b" 4410\n",
        b" 4412\n",
    ]
    wide = build(CodeTable.of_matrix([[7, 0], [100, 1]], "test"), tokens=None, tail=True, texts=["x", "y"])
    assert bytes(wide.trie.tokens(0).tolist()) == b" 0070 x\n"


def test_paths_of_names_are_numbered_among_siblings():
    values = ["Home > Kitchen > Pans", "Home", "Auto > Tyres", "Home > Garden"]
    table = CodeTable.of_values(values, "test", separator=">")
    assert [table.of(row) for row in range(4)] == [(1, 1, 0), (1,), (0, 0), (1, 0)]
    assert table.sizes == (2, 2, 1)
    assert CodeTable.of_values(["07", "7"], "test", separator=".").of(0) == (0,)  # "07" is not 7


def test_rows_without_a_code_are_refused_and_counted():
    table = CodeTable.of_values(["12", None, "13", True, ["1", 2.5]], "column code")
    texts = [f"t{i}" for i in range(4)] + ["t4"]
    with pytest.raises(CatalogueError, match=r"3 of 5 rows refused.*line 2: code is missing"):
        build(table, texts=texts)
    catalogue = build(CodeTable.of_values(["12", None, "13"], "column code"), texts=["a", "b", "c"])
    assert [refusal.line for refusal in catalogue.report.refused] == [2]


def test_the_snapshot_says_what_its_codes_are(tmp_path):
    catalogue = build(CodeTable.of_matrix([[1, 0], [2, 1]], "kmeans"), tail=True)
    catalogue.save(tmp_path / "c")
    said = json.loads(Catalogue.open(tmp_path / "c").info.codes)
    assert said == {
        "origin": "kmeans",
        "sizes": [3, 2],
        "tail": True,
        "tokens": {"first": [0, 3], "ids": [[300, 599]]},
    }


def test_tokens_are_shared_by_levels_when_they_are_few():
    assert CodeTokens.allot(OWN[:5], (3, 2)).first == (0, 3)
    shared = CodeTokens.allot(OWN[:4], (3, 2))
    assert shared.first == (0, 0) and shared.are_shared
    with pytest.raises(CatalogueError, match=r"need 3 tokens .5 for levels"):
        CodeTokens.allot(OWN[:2], (3, 2))


def test_unused_tokens_are_reserved_ones_and_rows_without_a_token():
    class Named:
        vocab_size = 5
        control_tokens = frozenset((1, 3))

        def decode(self, tokens):
            return {1: "<|im_end|>", 3: "<|reserved_special_token_0|>"}[next(iter(tokens))]

    assert unused_tokens(Named(), 7).tolist() == [3, 5, 6]
    assert token_range("3:5", 9).tolist() == [3, 4]
    for text in ("5:5", "6:5", "3", "0:10", "-1:3", "a:b", "1:2:3", "٣:9"):
        with pytest.raises(InputError, match="FIRST:END"):
            token_range(text, 9)


@pytest.mark.parametrize(
    "codes", [[1, 2], [[1.5]], [[-1]], [[1 << 20]], np.zeros((3, 0), int), np.zeros((1, 65), int), [["a"]]]
)
def test_refuses_matrices(codes):
    with pytest.raises(InputError, match="codes"):
        CodeTable.of_matrix(codes, "test")


def test_refuses_tables_that_do_not_fit():
    table = CodeTable.of_matrix([[1], [2]], "codes.npy")
    for texts in (["a"], ["a", "b", "c"]):
        with pytest.raises(CatalogueError, match=r"codes.npy: codes for 2 rows"):
            build(table, texts=texts)
    with pytest.raises(CatalogueError, match="no row has a code"):
        Coding(CodeTable.of_values([None], "column x"))
    ends = np.array([10, 11, 12], np.int32)  # 10 is the line end that closes an entry
    with pytest.raises(CatalogueError, match="is a token of codes"):
        build(table, tokens=ends, tail=True)
