"""Steps without a store: the native ones are those of NumPy, and `verify` returns what it did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_fakes import PROMPT, HashScorer, copy, scorers, tries

from adtrie.catalogue import native
from adtrie.catalogue.nodes import Children
from adtrie.catalogue.trie import Trie
from adtrie.search import RowCost, stepwise, verify
from adtrie.search.beam import Beam, keep_best, slow_keep_best

DEAR = RowCost.kneed(1)  # every row takes its time: nothing is fed besides what is needed


def column(values: Any, kind: type) -> np.ndarray:
    return np.asarray(values, dtype=kind)


@st.composite
def steps(draw: st.DrawFn) -> tuple[Beam, int, Children, np.ndarray, int]:
    """A beam and the children of its live hypotheses: disjoint ranges, many equal scores, some -inf."""
    counts = draw(st.lists(st.integers(0, 5), max_size=6))
    num_done, num = draw(st.integers(0, 4)), sum(counts)
    starts = draw(st.permutations(range(0, 10 * (num + num_done), 10)))
    score = st.sampled_from([-np.inf, -3.0, -1.5, -1.0, -0.25, 0.0])
    leaf = draw(st.lists(st.booleans(), min_size=num, max_size=num))
    lo = column(starts[:num], np.int64)
    below = Children(
        column(np.cumsum([0, *counts]), np.int64),
        column(draw(st.lists(st.integers(0, 99), min_size=num, max_size=num)), np.int32),
        lo,
        lo + np.where(leaf, 1, 7),
        column(leaf, np.bool_),
    )
    n, scores = len(counts), draw(st.lists(score, min_size=num, max_size=num))
    beam = Beam(
        np.arange(n),
        np.arange(n) + 1,
        column(draw(st.lists(st.integers(0, 30), min_size=n, max_size=n)), np.int64),
        np.zeros(n, np.int32),
        np.zeros(n, np.int32),
        column(draw(st.lists(score, min_size=n, max_size=n)), np.float64),
        column(starts[num:], np.int64),
        column(draw(st.lists(score, min_size=num_done, max_size=num_done)), np.float64),
    )
    return beam, draw(st.integers(1, 12)), below, column(scores, np.float64), draw(st.integers(0, 1000))


@given(steps())
@settings(max_examples=300, deadline=None)
def test_native_equals_numpy(step: tuple[Beam, int, Children, np.ndarray, int]) -> None:
    found, dropped = keep_best(*step)
    expected, dropped_too = slow_keep_best(*step)
    assert dropped == dropped_too
    for name, wanted in vars(expected).items():
        value = getattr(found, name)
        assert value.dtype == wanted.dtype and np.array_equal(value, wanted), name


@given(tries(), scorers(), st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_without_native_code_the_same(trie: Trie, scorer: HashScorer, k: int, width: int) -> None:
    found = verify(copy(scorer), trie, PROMPT, k, width, DEAR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("adtrie.search.beam.native.trie", None)
        slow = verify(copy(scorer), trie, PROMPT, k, width, DEAR)
    expected = stepwise(scorer, trie, PROMPT, k, width)
    for other in (slow, expected):
        assert np.array_equal(found.entries, other.entries)
        assert np.array_equal(found.scores, other.scores)
        assert found.gap == other.gap
    assert (found.forwards, found.rows) == (slow.forwards, slow.rows)


@pytest.mark.skipif(native.trie is None, reason="not built")
@pytest.mark.parametrize("which", range(12))
def test_columns_that_do_not_fit(which: int) -> None:
    """Whatever is given, an error and no crash."""
    one = [np.zeros(1, kind) for kind in (np.int64, np.float64, np.int64, np.float64)]
    children = [np.zeros(1, kind) for kind in (np.int32, np.int64, np.int64, np.bool_, np.float64)]
    arguments: list[Any] = [3, *one, column([0, 1], np.int64), *children, 0]
    arguments[which] = {0: 0, 5: column([0, 9], np.int64), 11: -1}.get(which, np.zeros(2, np.int64))
    if isinstance(arguments[which], np.ndarray) and which != 5:
        arguments[which] = np.zeros(2, [*one, None, *children][which - 1].dtype)
    assert native.trie is not None
    with pytest.raises(ValueError, match=r"out of range|lengths|fit"):
        native.trie.keep_best(*arguments)
