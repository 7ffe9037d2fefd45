"""At most so many entries per group, with bids, filters and every setting: against brute force."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from search_fakes import COSTS, PROMPT, HashScorer, copy, keyword_trie, make_trie, scorers, tries

from adtrie.catalogue import Bids, Bonus, Compact, EligibleTrie, EntrySet, Prior, Sum
from adtrie.catalogue.trie import Trie
from adtrie.errors import InputError
from adtrie.search import Caps, RowCost, SearchResult, enumerate_all, exact
from adtrie.search.finished import Finished

costs = st.sampled_from(COSTS)
prefers = st.sampled_from(["auto", "rows", "forwards"])
seeds = st.integers(0, 2**32)


def greedy(totals: NDArray[np.float64], entries: list[int], caps: Caps | None, k: int) -> list[int]:
    """The definition: down the list by (total falling, entry rising), skipping full groups."""
    chosen: list[int] = []
    taken: dict[int, int] = {}
    for entry in sorted(entries, key=lambda entry: (-totals[entry], entry)):
        group = -1 if caps is None else int(caps.groups[entry])
        if len(chosen) < k and (group < 0 or taken.get(group, 0) < (caps.at_most if caps else 0)):
            chosen.append(entry)
            taken[group] = taken.get(group, 0) + 1
    return chosen


@st.composite
def all_caps(draw: st.DrawFn, num_entries: int) -> Caps:
    """A few groups, most of them larger than allowed, and entries in none."""
    rng = np.random.default_rng(draw(seeds))
    groups = rng.integers(-1, draw(st.sampled_from([1, 2, 5])), num_entries)
    return Caps(groups.astype(np.int32), draw(st.integers(1, 3)))


@given(st.data(), st.integers(1, 7), st.integers(1, 5))
@settings(deadline=None)
def test_the_greedy_set_is_the_best_set(data: st.DataObject, num_entries: int, k: int) -> None:
    """Its sum and, place by place, its totals are the highest of all sets allowed that are as large."""
    caps = data.draw(all_caps(num_entries))
    totals = np.array(
        data.draw(st.lists(st.integers(-9, 9), min_size=num_entries, max_size=num_entries)), float
    )
    chosen = greedy(totals, list(range(num_entries)), caps, k)
    allowed = [
        one
        for one in combinations(range(num_entries), len(chosen))
        if all(np.count_nonzero(caps.groups[list(one)] == g) <= caps.at_most for g in set(caps.groups) - {-1})
    ]
    assert totals[chosen].sum() == max(totals[list(one)].sum() for one in allowed)
    for one in allowed:
        assert (totals[chosen] >= np.sort(totals[list(one)])[::-1]).all()
    assert len(chosen) == caps.num_possible(k)


@given(st.data(), st.integers(1, 30), st.integers(1, 8))
@settings(deadline=None)
def test_what_is_left_out_on_the_way_is_never_needed(data: st.DataObject, num_entries: int, k: int) -> None:
    caps = data.draw(st.none() | all_caps(num_entries))
    rng = np.random.default_rng(data.draw(seeds))
    totals, order = np.round(rng.normal(size=num_entries) * 3), rng.permutation(num_entries)
    found = Finished(k, caps)
    for part in np.array_split(order, data.draw(st.integers(1, 6))):
        found.add(part, totals[part])
    assert found.entries.tolist() == greedy(totals, list(range(num_entries)), caps, k)
    assert found.totals.tolist() == totals[found.entries].tolist()


@st.composite
def requests(draw: st.DrawFn) -> tuple[Trie, EntrySet, Bonus | None, Caps | None, NDArray[np.float64]]:
    """A trie (maybe seen through a filter), what is added to its scores, caps, and that bonus per entry."""
    whole = draw(tries())
    n = whole.num_entries
    rng = np.random.default_rng(draw(seeds))
    mask = rng.random(n) < draw(st.sampled_from([0.3, 1.0]))
    mask[rng.integers(n)] = True
    eligible = EntrySet.of_mask(mask)
    parts: list[Bonus] = []
    added = np.zeros(n)
    if draw(st.booleans()):
        bids = np.exp(np.round(rng.normal(0, 3, n)))
        parts.append(Bids(bids).bonus(draw(st.sampled_from([0.0, 1.0, 50.0]))))
    if draw(st.booleans()):
        parts.append(Prior(np.round(rng.normal(0, 2, n))))
    for part in parts:
        added = added + part.best(np.arange(n), np.arange(1, n + 1))
    bonus = None if not parts else parts[0] if len(parts) == 1 else Sum(parts)
    if bonus is not None and draw(st.booleans()):
        bonus = Compact(bonus, eligible)
    caps = draw(st.none() | all_caps(n))
    return whole if mask.all() else EligibleTrie(whole, eligible), eligible, bonus, caps, added


def all_totals(scorer: HashScorer, trie: Trie, added: NDArray[np.float64]) -> NDArray[np.float64]:
    found = enumerate_all(copy(scorer), trie, PROMPT)
    totals = np.full(trie.num_entries, -np.inf)
    totals[found.entries] = found.scores + added[found.entries]
    return totals


@given(requests(), scorers(), costs, prefers, st.integers(1, 12), st.data())
@settings(max_examples=300, deadline=None)
def test_exact_equals_brute_force(
    request: tuple[Trie, EntrySet, Bonus | None, Caps | None, NDArray[np.float64]],
    scorer: HashScorer,
    cost: RowCost,
    prefer: Any,
    k: int,
    data: st.DataObject,
) -> None:
    trie, eligible, bonus, caps, added = request
    members = eligible.members()
    totals = all_totals(scorer, trie, added)
    guesses = data.draw(st.none() | st.lists(st.sampled_from(members.tolist()), max_size=5))
    expected = greedy(totals, members.tolist(), caps, k)
    k = min(k, members.size)
    found = exact(scorer, trie, PROMPT, k, cost, seeds=guesses, prior=bonus, prefer=prefer, caps=caps)
    assert found.entries.tolist() == expected
    assert found.scores.tolist() == totals[expected].tolist()
    assert found.gap == 0.0
    most = {"auto": 1024, "rows": 8, "forwards": 1024}[prefer]
    assert max(scorer.calls[1:], default=0) <= most


@given(requests(), scorers(), costs, prefers, st.integers(1, 12), st.integers(1, 30))
@settings(max_examples=150, deadline=None)
def test_the_gap_is_truthful_at_any_budget(
    request: tuple[Trie, EntrySet, Bonus | None, Caps | None, NDArray[np.float64]],
    scorer: HashScorer,
    cost: RowCost,
    prefer: Any,
    k: int,
    max_rows: int,
) -> None:
    trie, eligible, bonus, caps, added = request
    members = eligible.members()
    totals = all_totals(scorer, trie, added)
    best = greedy(totals, members.tolist(), caps, min(k, members.size))
    possible = min(k, members.size) if caps is None else caps.num_possible(k, eligible)
    found = exact(scorer, trie, PROMPT, possible, cost, max_rows, prior=bonus, prefer=prefer, caps=caps)
    assert found.rows <= max_rows
    assert found.scores.tolist() == totals[found.entries].tolist()
    assert len(best) == possible
    if found.entries.size < possible:
        assert found.gap == np.inf
    else:
        assert (totals[best] >= found.scores).all()
        assert totals[best[-1]] <= found.scores[-1] + found.gap
    if found.gap == 0.0:
        assert totals[best].tolist() == found.scores.tolist()


def test_fewer_groups_than_asked_for_is_a_proven_short_answer() -> None:
    trie = make_trie([[a, b] for a in range(6) for b in range(6)])
    caps = Caps((np.arange(36) % 3).astype(np.int32), 1)
    found = exact(HashScorer(), trie, PROMPT, 10, RowCost.kneed(1), caps=caps)
    assert found.entries.size == 3 and found.gap == 0.0
    assert sorted(caps.groups[found.entries].tolist()) == [0, 1, 2]


def test_a_full_group_saves_rows() -> None:
    """One group holds all but two entries; the rest of it is not looked into once one is found."""
    trie = keyword_trie(1_000)
    groups = np.zeros(1_000, np.int32)
    groups[[7, 500]] = [1, 2]
    scorer = HashScorer(2, sigma=4.0, leak=1.0)
    totals = all_totals(scorer, trie, np.zeros(1_000))
    caps = Caps(groups, 1)
    found = exact(scorer, trie, PROMPT, 3, RowCost.kneed(8), 65_536, caps=caps)
    assert found.entries.tolist() == greedy(totals, list(range(1_000)), caps, 3) and found.gap == 0.0
    assert found.rows < trie.num_rows(0, 1_000, 0)[0]


@pytest.mark.parametrize(
    "bad",
    [Caps(np.zeros(2, np.int32), 1), Caps(np.zeros(3, np.int32), 0), {"a": 1}, 1, "1:advertiser"],
    ids=str,
)
def test_caps_that_do_not_fit(bad: Any) -> None:
    scorer = HashScorer()
    with pytest.raises(InputError, match="caps: expected"):
        exact(scorer, make_trie([[1, 2], [1, 3], [4]]), PROMPT, 1, RowCost.flat(), caps=bad)
    assert scorer.calls == []


def test_settings_save_what_they_say() -> None:
    trie = keyword_trie(2_000)
    found: dict[str, list[SearchResult]] = {"auto": [], "rows": [], "forwards": []}
    for query in range(4):
        for prefer, results in found.items():
            scorer = HashScorer(query, sigma=4.0, leak=1.0)
            results.append(exact(scorer, trie, PROMPT, 10, RowCost.kneed(8), 65_536, prefer=prefer))  # type: ignore[arg-type]
    rows = {prefer: sum(result.rows for result in results) for prefer, results in found.items()}
    forwards = {prefer: sum(result.forwards for result in results) for prefer, results in found.items()}
    assert rows["rows"] <= rows["auto"] <= rows["forwards"]
    assert forwards["forwards"] <= min(forwards["auto"], forwards["rows"])


@pytest.mark.parametrize("bad", ["fast", None, 1, "Rows"])
def test_bad_settings(bad: Any) -> None:
    with pytest.raises(InputError, match="prefer: expected one of auto, rows, forwards"):
        exact(HashScorer(), make_trie([[1]]), PROMPT, 1, RowCost.flat(), prefer=bad)
