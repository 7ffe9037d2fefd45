"""Every answer of the trie equals the brute-force one, on all nodes of tries of every shape."""

from __future__ import annotations

import numpy as np
import pytest
import trie_oracle as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.catalogue.sequences import gather_ranges, sort_sequences
from adtrie.catalogue.trie import Trie
from adtrie.errors import CatalogueError

END = 0
token = st.integers(1, 4)
body = st.lists(token, max_size=7).map(tuple)
shared_prefix = st.tuples(st.lists(token, min_size=5, max_size=40).map(tuple), st.lists(body, min_size=1))
bodies = st.one_of(
    st.lists(body, min_size=1, max_size=60),
    shared_prefix.map(lambda given: [given[0] + rest for rest in given[1]]),
    st.lists(st.lists(st.integers(1, 60000), max_size=3).map(tuple), min_size=1, max_size=60),
)


def flat(sequences):
    tokens = np.array([t for s in sequences for t in s], dtype=np.int32)
    return tokens, np.cumsum([0] + [len(s) for s in sequences])


def make(sequences, vocab_size=None):
    return Trie.from_sequences(*flat(sequences), vocab_size)


def columns(nodes):
    return (
        np.array([n.lo for n in nodes]),
        np.array([n.hi for n in nodes]),
        np.array([n.depth for n in nodes]),
    )


def listed(children, i):
    rows = range(children.ptr[i], children.ptr[i + 1])
    return [
        (int(children.tokens[j]), int(children.lo[j]), int(children.hi[j]), bool(children.is_leaf[j]))
        for j in rows
    ]


def expected(node):
    return [(t, c.lo, c.hi, c.is_leaf) for t, c in sorted(node.children.items())]


def check_all(sequences, vocab_size=None):
    entries = sorted(set(sequences))
    trie, order = make(entries[::-1], vocab_size)
    assert [entries[::-1][i] for i in order] == entries
    nodes = oracle.build(entries).all_nodes()
    at = columns(nodes)
    check_nodes(trie, nodes, at)
    check_subtree(trie, nodes)
    for e in {0, len(entries) // 2, len(entries) - 1}:
        assert tuple(trie.tokens(e)) == entries[e]
    assert trie.length(np.arange(len(entries))).tolist() == [len(entry) for entry in entries]
    assert trie.max_depth == max(map(len, entries))


def check_nodes(trie, nodes, at):
    children = trie.children(*at)
    ptr, chain = trie.chain(*at)
    remaining = trie.remaining(*at)
    entries = [tuple(trie.tokens(e)) for e in range(trie.num_entries)] if trie.num_entries < 500 else None
    for i, node in enumerate(nodes):
        assert listed(children, i) == expected(node)
        forced, below = [], node
        while len(below.children) == 1:
            ((value, below),) = below.children.items()
            forced.append(value)
        assert chain[ptr[i] : ptr[i + 1]].tolist() == forced
        if entries is not None:
            lengths = [len(entry) - node.depth for entry in entries[node.lo : node.hi]]
            assert remaining.longest[i] == max(lengths)
            assert remaining.mean[i] == pytest.approx(sum(lengths) / len(lengths), rel=1e-6)
    assert trie.num_rows(*at).tolist() == [len(node.inner_below()) for node in nodes]


def check_subtree(trie, nodes):
    chosen = nodes[:: max(1, len(nodes) // 5)]
    at = columns(chosen)
    total = sum(len(node.inner_below()) for node in chosen)
    assert total == 0 or trie.subtree(*at, max_rows=total - 1) is None
    subtree = trie.subtree(*at, max_rows=total)
    prefixes = []
    for row in range(len(subtree.tokens)):
        parent = int(subtree.parents[row])
        assert parent < row
        above = chosen[-1 - parent].prefix if parent < 0 else prefixes[parent]
        prefixes.append((*above, int(subtree.tokens[row])))
    rows = list(zip(prefixes, subtree.lo.tolist(), subtree.hi.tolist(), subtree.depth.tolist(), strict=True))
    wanted = [(n.prefix, n.lo, n.hi, n.depth) for node in chosen for n in node.inner_below()]
    assert sorted(rows) == sorted(wanted)
    by_prefix = {node.prefix: node for node in nodes}
    for row, prefix in enumerate(prefixes):
        assert listed(subtree.children, row) == expected(by_prefix[prefix])
    check_row_numbers(trie.children(*at), subtree)


def check_row_numbers(first, subtree):
    """Row j is the j-th non-leaf child, given nodes first."""
    inner = np.concatenate([first.lo[~first.is_leaf], subtree.children.lo[~subtree.children.is_leaf]])
    assert inner.tolist() == subtree.lo.tolist()


@given(bodies, st.sampled_from([None, 65536, 70000]))
@settings(max_examples=150, deadline=None)
def test_equals_oracle(sequences, vocab_size):
    check_all([(*sequence, END) for sequence in sequences], vocab_size)


@given(st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_listed_nodes_equal_oracle(seed):
    """More than 256 entries below a node: child lists come from the table."""
    random = np.random.default_rng(seed)
    sequences = [(*random.integers(1, 5, random.integers(3, 9)).tolist(), END) for _ in range(1500)]
    check_all([(7, 7, *sequence) for sequence in sequences])


def test_single_path():
    check_all([(3, 1, 4, 1, 5, END)])
    check_all([(END,)])


def test_longest_sequence():
    check_all([(*[1] * 254, END), (*[1] * 253, 2, END)])


def test_ten_thousand_children():
    trie, _ = make([(5, i, END) for i in range(1, 10001)])
    children = trie.children(0, 10000, 1)
    assert children.tokens.tolist() == list(range(1, 10001))
    assert children.lo.tolist() == list(range(10000)) and not children.is_leaf.any()
    assert trie.num_rows(0, 10000, 0).tolist() == [10001]
    assert len(trie.subtree(0, 10000, 0, max_rows=10001).tokens) == 10001


def test_prefix_of_another_before_the_end_token():
    check_all([(1, END), (1, 2, END), (1, 2, 3, END), (END,)])


@pytest.mark.parametrize(
    "sequences",
    [
        [],
        [()],
        [(1,), ()],
        [(1, 2), (1, 2)],
        [(1, 2), (1, 2, 3)],
        [(0,), (0, 0)],
        [tuple([1] * 256)],
        [(-1,)],
        [(70000,)],
    ],
)
def test_refuses(sequences):
    with pytest.raises(CatalogueError):
        make(sequences, vocab_size=65536)


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=20), max_size=40), st.booleans())
@settings(max_examples=100, deadline=None)
def test_sort_is_stable_and_lexicographic(bodies, wide):
    sequences = [tuple(t + 1 for t in s) for s in bodies]
    tokens, offsets = flat(sequences)
    order = sort_sequences(tokens.astype(np.uint32 if wide else np.uint16), offsets)
    assert order.tolist() == sorted(range(len(sequences)), key=lambda i: sequences[i])


def test_gather_in_chunks(monkeypatch):
    monkeypatch.setattr("adtrie.catalogue.sequences._GATHER_CHUNK", 5)
    flat_values = np.arange(100)
    starts, counts = np.array([90, 0, 50, 7, 20]), np.array([4, 12, 0, 1, 3])
    wanted = [v for s, c in zip(starts, counts, strict=True) for v in range(s, s + c)]
    assert gather_ranges(flat_values, starts, counts).tolist() == wanted
