"""The slow twin of EligibleTrie: a trie built anew from the eligible entries, and the way between the two."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.eligible import EligibleTrie
from adtrie.catalogue.nodes import Children
from adtrie.catalogue.trie import Trie

Nodes = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def rebuilt(trie: Trie, eligible: EntrySet) -> tuple[Trie, NDArray[np.int64]]:
    """The trie of the eligible entries alone, and the number in `trie` of each of its entries."""
    members = eligible.members()
    sequences = [trie.tokens(entry) for entry in members.tolist()]
    offsets = np.cumsum([0, *map(len, sequences)])
    new, order = Trie.from_sequences(np.concatenate(sequences), offsets, trie.vocab_size)
    assert order.tolist() == list(range(len(members)))
    return new, members


@st.composite
def subsets(draw: st.DrawFn, trie: Trie) -> EntrySet:
    """Non-empty sets of entries: one, few, most, all, a run."""
    n = trie.num_entries
    some = EntrySet.of_entries(draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=5)), n)
    kind = draw(st.sampled_from(["few", "most", "all", "run", "half"]))
    if kind == "run":
        lo = draw(st.integers(0, n - 1))
        some = EntrySet.of_entries(np.arange(lo, draw(st.integers(lo + 1, n))), n)
    elif kind == "half":
        bits = draw(st.integers(1, 2**n - 1)) if n <= 64 else draw(st.integers(1, 2**64 - 1))
        some = EntrySet.of_entries([e for e in range(n) if bits >> (e % 64) & 1] or [0], n)
    elif kind == "all" or (kind == "most" and len(some) == n):
        some = EntrySet.every(n)
    elif kind == "most":
        some = ~some
    return some


Rank = Callable[[NDArray[np.int64]], NDArray[np.int64]]


def same_children(rank: Rank, members: NDArray[np.int64], found: Children, wanted: Children) -> None:
    """The children of nodes of a view are those of the rebuilt trie; one entry alone is (e, e+1)."""
    assert found.ptr.tolist() == wanted.ptr.tolist()
    assert found.tokens.tolist() == wanted.tokens.tolist()
    assert found.is_leaf.tolist() == wanted.is_leaf.tolist()
    assert rank(found.lo).tolist() == wanted.lo.tolist()
    assert rank(found.hi).tolist() == wanted.hi.tolist()
    assert (found.hi - found.lo == 1).tolist() == (wanted.hi - wanted.lo == 1).tolist()
    assert [a.dtype for a in vars(found).values()] == [a.dtype for a in vars(wanted).values()]
    alone = found.hi - found.lo == 1
    assert np.isin(found.lo[alone], members).all()


def check_view(trie: Trie, eligible: EntrySet) -> None:
    """Everything the view answers, beside a trie built anew."""
    new, members = rebuilt(trie, eligible)
    walk_beside(EligibleTrie(trie, eligible), eligible.rank, new, members)


def walk_beside(view: Trie, rank: Rank, new: Trie, members: NDArray[np.int64]) -> None:
    """Walks both tries level by level and compares every answer on every node."""
    at: Nodes = (np.zeros(1, np.int64), np.full(1, view.num_entries), np.zeros(1, np.int64))
    new_at: Nodes = (at[0], np.full(1, len(members)), at[2])
    while at[0].size:
        found, wanted = view.children(*at), new.children(*new_at)
        same_children(rank, members, found, wanted)
        assert view.num_rows(*at).tolist() == new.num_rows(*new_at).tolist()
        for mine, other in zip(view.chain(*at), new.chain(*new_at), strict=True):
            assert mine.tolist() == other.tolist() and mine.dtype == other.dtype
        mine, other = view.remaining(*at), new.remaining(*new_at)
        assert mine.longest.tolist() == other.longest.tolist()
        assert np.allclose(mine.mean, other.mean, rtol=1e-6)
        same_subtree(view, rank, members, at, new, new_at)
        inner = np.flatnonzero(~found.is_leaf)
        depth = np.repeat(at[2] + 1, np.diff(found.ptr))[inner]
        at, new_at = (found.lo[inner], found.hi[inner], depth), (wanted.lo[inner], wanted.hi[inner], depth)
    for number, entry in enumerate(members.tolist()):
        assert view.tokens(entry).tolist() == new.tokens(number).tolist()
    assert view.length(members).tolist() == new.length(np.arange(len(members))).tolist()


def same_subtree(
    view: Trie, rank: Rank, members: NDArray[np.int64], at: Nodes, new: Trie, new_at: Nodes
) -> None:
    """The whole subtrees agree, and one row too few gives none."""
    total = int(new.num_rows(*new_at).sum())
    assert total == 0 or view.subtree(*at, max_rows=total - 1) is None
    mine, other = view.subtree(*at, max_rows=total), new.subtree(*new_at, max_rows=total)
    assert mine is not None and other is not None
    assert (mine.tokens.tolist(), mine.parents.tolist()) == (other.tokens.tolist(), other.parents.tolist())
    assert mine.depth.tolist() == other.depth.tolist()
    assert rank(mine.lo).tolist() == other.lo.tolist()
    same_children(rank, members, mine.children, other.children)
