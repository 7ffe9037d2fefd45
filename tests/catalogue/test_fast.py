"""Native children are those of the NumPy twin, on every node of every kind of trie; damage does no harm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_merged import Sequence, gaps_of, halves, trie_of

from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.branches import BranchTable
from adtrie.catalogue.eligible import EligibleTrie
from adtrie.catalogue.fast import FastTrie
from adtrie.catalogue.merged import Gaps, MergedTrie
from adtrie.catalogue.trie import Trie

pytestmark = pytest.mark.skipif(not FastTrie.is_built(), reason="adtrie._trie was not built")


def walk(trie: Trie) -> None:
    """Both twins on all nodes, level by level."""
    lo, hi, depth = np.array([0]), np.array([trie.num_entries]), np.array([0])
    while len(lo):
        found, wanted = trie._children(lo, hi, depth), trie._slow_children(lo, hi, depth)
        for name, values in vars(wanted).items():
            mine = getattr(found, name)
            assert mine.tolist() == values.tolist(), name
            assert mine.dtype == values.dtype, name
        inner = np.flatnonzero(~found.is_leaf)
        depth = np.repeat(depth + 1, np.diff(found.ptr))[inner]
        lo, hi = found.lo[inner], found.hi[inner]


def entry_set(members: list[int], size: int) -> EntrySet:
    return EntrySet.of_entries(np.array(members, np.int64), size)


@given(halves())
@settings(max_examples=150, deadline=None)
def test_equals_the_slow_twin(case: tuple[list[Sequence], list[Sequence], list[int], list[int]]) -> None:
    base, added, base_live, added_live = case
    whole, other = trie_of(base), trie_of(added)
    live, other_live = entry_set(base_live, len(base)), entry_set(added_live, len(added))
    walk(whole)
    if len(live):
        walk(EligibleTrie(whole, live))
    walk(MergedTrie(whole, live, other, other_live, gaps_of(base, added)))


@pytest.mark.parametrize("share", [0.003, 0.1, 0.9])
def test_nodes_of_many_entries(share: float) -> None:
    random = np.random.default_rng(8)
    drawn = {(7, *random.integers(1, 5, random.integers(3, 9)).tolist(), 0) for _ in range(3_000)}
    sequences = sorted(drawn)
    chosen = random.random(len(sequences)) < 0.2
    base = [one for one, is_added in zip(sequences, chosen, strict=True) if not is_added]
    added = [one for one, is_added in zip(sequences, chosen, strict=True) if is_added]
    live = [EntrySet.of_mask(random.random(len(side)) < share) for side in (base, added)]
    whole, other = trie_of(base), trie_of(added)
    walk(whole)
    walk(EligibleTrie(whole, live[0]))
    walk(MergedTrie(whole, live[0], other, live[1], gaps_of(base, added)))
    walk(MergedTrie(whole, EntrySet.every(len(base)), other, live[1], gaps_of(base, added)))


@given(st.integers(0, 2**32))
@example(15197)  # added sequences behind the last entry of the base
@settings(max_examples=60, deadline=None)
def test_damaged_arrays_do_no_harm(seed: int) -> None:
    """Whatever is in the arrays: tokens in range, children inside the entries, an end."""
    random = np.random.default_rng(seed)
    n, m = int(random.integers(1, 700)), int(random.integers(0, 5))
    noise = {bits: random.integers(0, 2**bits, 64, np.uint64) for bits in (8, 10, 32)}

    def drawn(size: int, bits: int) -> np.ndarray:
        return random.choice(noise[bits], size) if random.random() < 0.7 else np.zeros(size, np.uint64)

    table = BranchTable(
        np.sort((drawn(m, 10) << np.uint64(8)).astype(np.int64)),
        drawn(m, 10).astype(np.uint32),
        np.sort(drawn(m + 1, 10)).astype(np.uint32),
        drawn(int(random.integers(0, 9)), 10).astype(np.uint32),
        np.zeros(m, np.uint8),
        np.zeros(m, np.float32),
    )
    edges = drawn(int(random.integers(1, 50)), 32).astype(np.uint32)
    arrays = edges, drawn(n + 1, int(random.choice([10, 32]))).astype(np.uint32), drawn(n, 8).astype(np.uint8)
    trie = Trie(*arrays, table, 6, 100)
    eligible = EntrySet.of_mask(random.random(n) < 0.4)
    num_added = int(random.integers(1, 20))
    gaps = Gaps(np.sort(random.choice([0, 3, n, n + 50], num_added)), *np.zeros((2, num_added), np.uint8))
    sound = trie_of([(i, 99) for i in range(num_added)])
    merged = [
        MergedTrie(trie, live, sound, EntrySet.every(num_added), gaps)
        for live in (eligible, EntrySet.every(n))
    ]
    for some in (trie, *merged, *([EligibleTrie(trie, eligible)] if len(eligible) else [])):
        n = some.num_entries
        lo, hi, depth = np.array([0, -5]), np.array([n, n + 9]), np.array([0, 3])
        for _ in range(8):
            found = some._children(lo, hi, depth)
            assert ((found.tokens >= 0) & (found.tokens < 100)).all()
            assert ((found.lo >= 0) & (found.lo < found.hi) & (found.hi <= n)).all()
            inner = np.flatnonzero(~found.is_leaf)[:1000]
            depth = np.repeat(depth + 1, np.diff(found.ptr))[inner]
            lo, hi = found.lo[inner], found.hi[inner]
        assert not len(lo)
