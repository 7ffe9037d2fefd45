"""`exact` over upper bounds gives the answer and the proof of `exact` over the scores themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from search_fakes import COSTS, PROMPT, HashScorer, copy, keyword_trie, mix, scorers, tries

from adtrie.catalogue.prior import Prior
from adtrie.catalogue.trie import Trie
from adtrie.search import Caps, RowCost, enumerate_all, exact


class Bounding(HashScorer):
    """The scores of `true` and, until they are settled, something above them that depends on the row."""

    bounded = True

    def __init__(self, true: HashScorer, slack: float) -> None:
        super().__init__(true.seed, true.sigma, true.leak, true.step, False, true.prompt)
        self.slack, self.settled = slack, 0

    def score(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        first = self.paths.size
        scores = super().score(tokens, parents, child_ptr, child_tokens)
        lift = (mix(self.paths[first:] + np.uint64(5)) >> np.uint64(11)) * 2.0**-53 * self.slack
        return scores + np.repeat(lift, np.diff(child_ptr)).astype(np.float32)

    def settle(
        self, rows: NDArray[np.int32], child_ptr: NDArray[np.int64], child_tokens: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        self.settled += rows.size
        return self.log_probabilities(self.paths[rows], child_ptr, child_tokens)


def raw(scorer: HashScorer) -> HashScorer:
    return HashScorer(scorer.seed, scorer.sigma, scorer.leak, scorer.step, False, scorer.prompt)


@given(
    tries(),
    scorers(),
    st.integers(1, 12),
    st.sampled_from(COSTS),
    st.sampled_from([0.0, 0.3, 5.0]),
    st.data(),
)
def test_the_answer_is_that_of_the_scores(
    trie: Trie, scorer: HashScorer, k: int, cost: RowCost, slack: float, data: st.DataObject
) -> None:
    true, size = raw(scorer), trie.num_entries
    constants = data.draw(st.none() | st.lists(st.floats(-5, 5, width=16), min_size=size, max_size=size))
    prior = None if constants is None else Prior(np.array(constants))
    seeds = data.draw(st.lists(st.integers(0, size - 1), max_size=4))
    caps = Caps(np.arange(size, dtype=np.int32) % 3, 2) if data.draw(st.booleans()) else None
    asked = {"prior": prior, "caps": caps, "prefer": data.draw(st.sampled_from(["auto", "rows", "forwards"]))}
    expected = exact(copy(true), trie, PROMPT, k, cost, seeds=seeds, **asked)
    found = exact(Bounding(true, slack), trie, PROMPT, k, cost, seeds=seeds, **asked)
    np.testing.assert_array_equal(found.entries, expected.entries)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.gap == expected.gap == 0.0


@given(scorers(), st.integers(1, 8), st.integers(1, 60), st.sampled_from([0.0, 0.3, 5.0]))
def test_the_gap_holds_at_the_end_of_a_budget(scorer: HashScorer, k: int, rows: int, slack: float) -> None:
    trie, true = keyword_trie(60), raw(scorer)
    everything = enumerate_all(copy(true), trie, PROMPT)
    totals = dict(zip(everything.entries.tolist(), everything.scores.tolist(), strict=True))
    found = exact(Bounding(true, slack), trie, PROMPT, k, RowCost.kneed(8), rows)
    for entry, score in zip(found.entries.tolist(), found.scores.tolist(), strict=True):
        assert score == totals.pop(entry)
    if found.entries.size == k:
        assert max(totals.values()) <= found.scores[-1] + found.gap
    else:
        assert found.gap == np.inf


def test_only_what_may_be_in_the_answer_is_settled() -> None:
    trie = keyword_trie(400)
    scorer = Bounding(HashScorer(seed=3), 0.1)
    found = exact(scorer, trie, PROMPT, 1, RowCost.kneed(8))
    assert 0 < scorer.settled < found.rows / 2


@pytest.mark.parametrize("bounded", [True, False])
def test_a_scorer_says_whether_it_bounds(bounded: bool) -> None:
    trie, scorer = keyword_trie(40), Bounding(HashScorer(seed=1), 0.0)
    scorer.bounded = bounded
    exact(scorer, trie, PROMPT, 3, RowCost.kneed(8))
    assert (scorer.settled > 0) == bounded
