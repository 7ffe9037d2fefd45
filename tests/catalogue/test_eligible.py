"""The view of the eligible entries answers as a trie built from them alone, on every node of every shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_trie import END, bodies, make
from view_oracle import check_view, subsets

from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.eligible import EligibleTrie
from adtrie.catalogue.trie import Trie
from adtrie.errors import InputError


def trie_of(sequences: list[tuple[int, ...]]) -> Trie:
    trie, _ = make(sorted({(*sequence, END) for sequence in sequences}))
    return trie


@given(bodies, st.data())
@settings(max_examples=150, deadline=None)
def test_equals_the_rebuilt_trie(sequences: list[tuple[int, ...]], data: st.DataObject) -> None:
    trie = trie_of(sequences)
    check_view(trie, data.draw(subsets(trie)))


@pytest.mark.parametrize("share", [0.002, 0.05, 0.5, 0.99])
def test_nodes_of_many_entries(share: float) -> None:
    """More than 256 entries below a node: child lists, and the way back to a stored token, are looked up."""
    random = np.random.default_rng(5)
    for repeat in range(2):
        sequences = [tuple(random.integers(1, 5, random.integers(3, 9)).tolist()) for _ in range(1500)]
        trie = trie_of([(7, 7, *sequence) for sequence in sequences])
        mask = random.random(trie.num_entries) < share
        mask[[-1, 0, 700][repeat]] = True
        check_view(trie, EntrySet.of_mask(mask))


@pytest.mark.parametrize("entry", [0, 1, 9_998, 9_999])
def test_the_last_of_ten_thousand_finds_its_first_tokens(entry: int) -> None:
    """The shared tokens are stored with entry 0 only."""
    trie = trie_of([(5, 6, 7, i // 100 + 1, i % 100 + 1) for i in range(10_000)])
    check_view(trie, EntrySet.of_entries([entry], 10_000))
    check_view(trie, EntrySet.of_entries([5_000, entry], 10_000))


def test_a_hundred_thousand_entries() -> None:
    """All eligible entries, and no others, are reached from the root."""
    trie = trie_of([(i // 5_000 + 1, i // 50 % 100 + 1, i % 50 + 1, 1, 1) for i in range(100_000)])
    mask = np.random.default_rng(1).random(100_000) < 0.01
    view = EligibleTrie(trie, EntrySet.of_mask(mask))
    assert int(view.num_rows(0, 100_000, 0)[0]) < 5 * mask.sum()
    subtree = view.subtree(0, 100_000, 0, max_rows=5 * int(mask.sum()))
    assert subtree is not None
    assert sorted(subtree.children.lo[subtree.children.is_leaf]) == np.flatnonzero(mask).tolist()
    rows = subtree.tokens.size
    assert rows == int(view.num_rows(0, 100_000, 0)[0])


def test_a_view_of_a_view_is_the_intersection() -> None:
    trie = trie_of([(i, j) for i in range(1, 5) for j in range(1, 5)])
    first = EligibleTrie(trie, EntrySet.of_entries(range(8), 16))
    second = EligibleTrie(first, EntrySet.of_entries(range(6, 16), 16))
    assert second.eligible.members().tolist() == [6, 7]
    with pytest.raises(InputError, match="empty"):
        EligibleTrie(second, EntrySet.of_entries([0], 16))


def test_refuses_sets_it_cannot_search() -> None:
    trie = trie_of([(1,), (2,)])
    with pytest.raises(InputError, match="the set is empty"):
        EligibleTrie(trie, EntrySet.none(2))
    with pytest.raises(InputError, match="over 3 entries, the trie has 2"):
        EligibleTrie(trie, EntrySet.every(3))


@given(bodies, st.data())
@settings(max_examples=40, deadline=None)
def test_damaged_arrays_give_wrong_children_never_a_crash(
    sequences: list[tuple[int, ...]], data: st.DataObject
) -> None:
    sound = trie_of(sequences)
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    shared = random.integers(0, 256, sound.num_entries).astype(np.uint8)
    offsets = random.integers(0, 2**32, sound.num_entries + 1).astype(np.uint32)
    trie = Trie(sound.edges, offsets, shared, sound.branches, sound.max_depth, sound.vocab_size)
    view = EligibleTrie(trie, data.draw(subsets(trie)))
    view.subtree(0, trie.num_entries, 0, max_rows=1000)
    view.chain(0, trie.num_entries, 0)
    view.remaining(0, trie.num_entries, 0)
