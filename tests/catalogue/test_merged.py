"""Two tries as one answer as a trie built from the live entries of both, on every node of every shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_trie import END, bodies, make
from view_oracle import walk_beside

from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.locate import locate
from adtrie.catalogue.merged import Gaps, MergedTrie
from adtrie.catalogue.trie import Trie

Sequence = tuple[int, ...]


def trie_of(sequences: list[Sequence]) -> Trie:
    return make(sequences)[0]


def gaps_of(base: list[Sequence], added: list[Sequence]) -> Gaps:
    """By comparing every added sequence with the two beside it."""
    at = [sum(other < one for other in base) for one in added]
    before = [common(base[i - 1], one) if i else 0 for i, one in zip(at, added, strict=True)]
    after = [common(base[i], one) if i < len(base) else 0 for i, one in zip(at, added, strict=True)]
    return Gaps(np.array(at, np.int64), np.array(before, np.uint8), np.array(after, np.uint8))


def common(one: Sequence, other: Sequence) -> int:
    pairs = list(zip(one, other, strict=False))
    return next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))


def check(base: list[Sequence], added: list[Sequence], base_live: list[int], added_live: list[int]) -> None:
    """Everything the merged trie answers, beside a trie built anew."""
    merged = MergedTrie(
        trie_of(base),
        EntrySet.of_entries(np.array(base_live, np.int64), len(base)),
        trie_of(added),
        EntrySet.of_entries(np.array(added_live, np.int64), len(added)),
        gaps_of(base, added),
    )
    order = sorted([*base, *added])
    live = sorted([base[i] for i in base_live] + [added[i] for i in added_live])
    members: NDArray[np.int64] = np.array([order.index(one) for one in live], np.int64)
    walk_beside(merged, merged.rank, trie_of(live), members)
    for entry, one in enumerate(order):
        assert merged.tokens(entry).tolist() == list(one)
    assert [merged.entry_at(rank) for rank in range(len(live))] == members.tolist()
    assert merged.length(np.arange(len(order))).tolist() == [len(one) for one in order]


def subset(draw: st.DrawFn, size: int) -> list[int]:
    kind = draw(st.sampled_from(["all", "none", "some", "some", "one"]))
    if kind == "all":
        return list(range(size))
    if kind == "some":
        return sorted(draw(st.sets(st.integers(0, size - 1))))
    return [draw(st.integers(0, size - 1))] if kind == "one" else []


@st.composite
def halves(draw: st.DrawFn) -> tuple[list[Sequence], list[Sequence], list[int], list[int]]:
    sequences = sorted({(*one, END) for one in draw(bodies)})
    if len(sequences) < 2:
        sequences = sorted({*sequences, (1, 1, END), (1, 2, END)})
    chosen = draw(st.sets(st.integers(0, len(sequences) - 1), min_size=1, max_size=len(sequences) - 1))
    added = [one for i, one in enumerate(sequences) if i in chosen]
    base = [one for i, one in enumerate(sequences) if i not in chosen]
    base_live, added_live = subset(draw, len(base)), subset(draw, len(added))
    return base, added, base_live or ([] if added_live else [0]), added_live


@given(halves())
@settings(max_examples=250, deadline=None)
def test_equals_the_rebuilt_trie(
    case: tuple[list[Sequence], list[Sequence], list[int], list[int]],
) -> None:
    check(*case)


@given(halves())
@settings(max_examples=100, deadline=None)
def test_locate_finds_the_gap(case: tuple[list[Sequence], list[Sequence], list[int], list[int]]) -> None:
    base, added = case[:2]
    trie, gaps = trie_of(base), gaps_of(base, added)
    for j, one in enumerate(added):
        place = locate(trie, np.array(one, np.int32))
        assert (place.entry, place.before, place.after, place.found) == (
            int(gaps.at[j]),
            int(gaps.before[j]),
            int(gaps.after[j]),
            False,
        )
    for entry, one in enumerate(base):
        place = locate(trie, np.array(one, np.int32))
        assert (place.entry, place.found) == (entry, True)


@pytest.mark.parametrize("share", [0.01, 0.5, 1.0])
def test_nodes_of_many_entries(share: float) -> None:
    """More than 256 entries below a node on either side."""
    random = np.random.default_rng(3)
    drawn = {(7, *random.integers(1, 6, random.integers(3, 8)).tolist(), END) for _ in range(2_000)}
    sequences = sorted(drawn)
    is_added = random.random(len(sequences)) < 0.3
    base = [one for one, added in zip(sequences, is_added, strict=True) if not added]
    added = [one for one, added in zip(sequences, is_added, strict=True) if added]
    live = [sorted(np.flatnonzero(random.random(len(x)) < share).tolist()) for x in (base, added)]
    check(base, added, *live)
