"""Recording changes no search; what is recorded is the tree; fates follow from it for every search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_fakes import COSTS, PROMPT, HashScorer, copy, keyword_trie, scorers, tries

from adtrie.catalogue import Bids
from adtrie.catalogue.trie import Trie
from adtrie.search import Caps, Deadline, Pace, RowCost, SearchResult, enumerate_all, exact, stepwise, verify
from adtrie.search.deadline import FEW, TimedScorer
from adtrie.search.fates import Fate, Fates, fates_of_beam, fates_of_exact, levels_of
from adtrie.search.recording import ROOT, Explored, Recorder

costs = st.sampled_from(COSTS)
modes = st.sampled_from(["exact", "verify", "stepwise"])


def search(
    mode: str, scorer: object, trie: Trie, k: int, cost: RowCost, max_rows: int = 4096
) -> SearchResult:
    if mode == "exact":
        return exact(scorer, trie, PROMPT, k, cost, max_rows)  # type: ignore[arg-type]
    if mode == "verify":
        return verify(scorer, trie, PROMPT, k, k + 1, cost)  # type: ignore[arg-type]
    return stepwise(scorer, trie, PROMPT, k, k + 1)  # type: ignore[arg-type]


def fates_of(mode: str, explored: Explored, k: int) -> Fates:
    return fates_of_exact(explored, k) if mode == "exact" else fates_of_beam(explored, k, k + 1)


@given(tries(), scorers(), costs, st.integers(1, 12), modes)
@settings(max_examples=200, deadline=None)
def test_the_record_explains_the_answer(
    trie: Trie, scorer: HashScorer, cost: RowCost, k: int, mode: str
) -> None:
    plain = search(mode, copy(scorer), trie, k, cost)
    truth = enumerate_all(copy(scorer), trie, PROMPT)
    recorder = Recorder(copy(scorer))
    found = search(mode, recorder, trie, k, cost)
    assert found.entries.tolist() == plain.entries.tolist() and found.gap == plain.gap
    explored = Explored.of(recorder, trie)
    assert len(recorder.forwards) == found.forwards
    assert np.count_nonzero(explored.fed >= 0) == found.rows + 1
    true_score = dict(zip(truth.entries.tolist(), truth.scores.tolist(), strict=True))
    for node in np.flatnonzero(explored.leaf):
        assert explored.score[node] == true_score[int(explored.lo[node])]
    fates = fates_of(mode, explored, k)
    assert explored.lo[fates.answer].tolist() == found.entries.tolist()
    assert fates.total[fates.answer].tolist() == found.scores.tolist()
    check_fates(explored, fates, found, true_score, mode)


def check_fates(
    explored: Explored, fates: Fates, found: SearchResult, true_score: dict[int, float], mode: str
) -> None:
    """Every entry is below exactly one node whose fate is told, and the numbers bear it out."""
    for entry, score in true_score.items():
        node = explored.path(entry)[-1]
        fate = Fate(int(fates.fate[node]))
        assert (fate is Fate.ANSWER) == (entry in found.entries.tolist())
        assert fate is not Fate.EXPANDED and score <= fates.total[node] + 1e-9
        if fate in (Fate.BEATEN, Fate.PRUNED):
            assert score <= fates.worst
        if mode == "exact":
            assert fate not in (Fate.CUT, Fate.OPEN)
    cut = np.isfinite(fates.limit)
    assert (fates.total[cut] <= fates.limit[cut]).all() and (fates.fate[cut] == Fate.CUT).all()


@given(tries(), scorers(), costs, modes)
@settings(max_examples=60, deadline=None)
def test_mass_is_neither_lost_nor_made(trie: Trie, scorer: HashScorer, cost: RowCost, mode: str) -> None:
    recorder = Recorder(scorer)
    search(mode, recorder, trie, 3, cost)
    above = 1.0
    for level in levels_of(Explored.of(recorder, trie)):
        known = level.expanded + level.finished + level.left
        assert known + level.outside == pytest.approx(above, abs=1e-5)
        above = level.expanded


def test_at_the_budget_something_is_open() -> None:
    trie = keyword_trie(2000, seed=1)
    recorder = Recorder(HashScorer(seed=3, sigma=0.5))
    found = search("exact", recorder, trie, 5, RowCost.kneed(1), max_rows=20)
    assert found.gap > 0
    explored = Explored.of(recorder, trie)
    fates = fates_of_exact(explored, 5)
    is_open = fates.fate == Fate.OPEN
    assert is_open.any() and (fates.total[is_open] > fates.worst).all()
    assert explored.path(7)[0] == ROOT


@given(tries(), scorers(), costs, st.integers(1, 8), st.integers(0, 99), st.booleans(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_bids_and_caps_are_told(
    trie: Trie, scorer: HashScorer, cost: RowCost, k: int, seed: int, with_bids: bool, with_caps: bool
) -> None:
    """The recorded answer is the one given; an entry that would rank is out because its group is full."""
    rng = np.random.default_rng(seed)
    bids = np.exp(np.round(rng.normal(0, 2, trie.num_entries)))
    prior = Bids(bids).bonus(2.0) if with_bids else None
    caps = Caps(rng.integers(-1, 3, trie.num_entries).astype(np.int32), 1) if with_caps else None
    recorder = Recorder(copy(scorer))
    found = exact(recorder, trie, PROMPT, k, cost, prior=prior, caps=caps)
    explored = Explored.of(recorder, trie)
    fates = fates_of_exact(explored, found.entries.size, prior, caps)
    assert explored.lo[fates.answer].tolist() == found.entries.tolist()
    assert fates.total[fates.answer].tolist() == found.scores.tolist()
    truth = enumerate_all(copy(scorer), trie, PROMPT)
    for entry, score in zip(truth.entries.tolist(), truth.scores.tolist(), strict=True):
        node = explored.path(entry)[-1]
        fate, total = Fate(int(fates.fate[node])), score + (2.0 * np.log(bids[entry]) if with_bids else 0.0)
        assert (fate is Fate.ANSWER) == (entry in found.entries.tolist())
        assert fate not in (Fate.EXPANDED, Fate.CUT, Fate.OPEN)
        if fate is Fate.CAPPED:
            assert caps is not None
            same = caps.groups[found.entries] == caps.groups[entry]
            assert total <= found.scores[same].min() and caps.groups[entry] >= 0
        elif fate is not Fate.ANSWER:
            assert total <= fates.worst + 1e-9


@given(tries(), scorers(), costs, st.integers(1, 5), st.data(), st.sampled_from(["verify", "stepwise"]))
@settings(max_examples=60, deadline=None)
def test_seeds_of_a_beam_are_told(
    trie: Trie, scorer: HashScorer, cost: RowCost, k: int, data: st.DataObject, mode: str
) -> None:
    seeds = np.array(data.draw(st.lists(st.integers(0, trie.num_entries - 1), max_size=4, unique=True)), int)
    recorder = Recorder(scorer)
    if mode == "verify":
        found = verify(recorder, trie, PROMPT, k, k, cost, seeds=seeds)
    else:
        found = stepwise(recorder, trie, PROMPT, k, k, seeds)
    explored = Explored.of(recorder, trie)
    fates = fates_of_beam(explored, k, k, None, seeds)
    assert explored.lo[fates.answer].tolist() == found.entries.tolist()
    for entry in seeds.tolist():
        assert Fate(int(fates.fate[explored.path(entry)[-1]])) in (Fate.ANSWER, Fate.BEATEN)


@given(tries(), scorers(), st.integers(1, 6), st.integers(0, 6), st.sampled_from(["verify", "stepwise"]))
@settings(max_examples=60, deadline=None)
def test_a_beam_that_ran_out_of_time_has_open_ends(
    trie: Trie, scorer: HashScorer, k: int, num_forwards: int, mode: str
) -> None:
    """Time for some forwards: what was finished by then is the answer, what was followed is open."""
    cost, now = RowCost.flat(10.0), [0.0]
    recorder = Recorder(copy(scorer))
    pace = Pace()
    for _ in range(FEW):
        pace.saw_forward(1.0, 1.0)
    deadline = Deadline(10.0 * num_forwards + 5.0, cost, lambda: now[0], pace)

    class Slow:
        renormalised = scorer.renormalised

        def score(self, *asked: Any) -> Any:
            now[0] += 0.01
            return recorder.score(*asked)

    timed = TimedScorer(Slow(), deadline)
    if mode == "verify":
        found = verify(timed, trie, PROMPT, k, k, cost)
    else:
        found = stepwise(timed, trie, PROMPT, k, k)
    if not recorder.forwards or scorer.renormalised:
        return
    fates = fates_of_beam(Explored.of(recorder, trie), k, k)
    assert Explored.of(recorder, trie).lo[fates.answer].tolist() == found.entries.tolist()
    assert (fates.fate == Fate.OPEN).any() or found.forwards == len(recorder.forwards)
