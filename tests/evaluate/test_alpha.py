"""Choosing alpha: the best of the grid by its definition, the smallest of equals, as the search ranks."""

from __future__ import annotations

import numpy as np
import pytest

from adtrie.catalogue import Prior
from adtrie.errors import InputError
from adtrie.evaluate import ALPHAS, Candidates, choose_alpha


def candidates(given: list[float], without: list[float], label: int) -> Candidates:
    return Candidates(np.arange(len(given)), np.array(given), np.array(without), label)


def test_no_more_is_taken_away_than_is_needed() -> None:
    """Entry 1 overtakes the familiar entry 0 where 2 - 8 alpha < 0: from 0.25 on it ties, then leads."""
    familiar = candidates([-10.0, -12.0], [-4.0, -12.0], label=1)
    assert choose_alpha([familiar]) == pytest.approx(0.3)
    assert choose_alpha([candidates([-10.0, -12.0], [-4.0, -12.0], label=0)]) == 0.0


def test_the_majority_decides_and_ties_go_to_the_smaller() -> None:
    rare, plain = candidates([-2.0, -3.0], [-1.0, -9.0], 1), candidates([-2.0, -3.0], [-1.0, -9.0], 0)
    assert choose_alpha([rare, plain]) == 0.0
    assert choose_alpha([rare, rare, plain]) == pytest.approx(0.15)


def test_a_label_that_is_no_candidate_counts_nowhere() -> None:
    assert choose_alpha([candidates([-2.0, -3.0], [-1.0, -9.0], -1)]) == 0.0


def test_it_is_the_best_of_the_grid() -> None:
    rng = np.random.default_rng(1)
    queries = []
    for _ in range(60):
        size = int(rng.integers(1, 30))
        entries = rng.permutation(1000)[:size]
        scores = np.sort(rng.normal(-15.0, 4.0, size))[::-1]
        queries.append(
            Candidates(entries, scores, np.round(rng.normal(-30, 8, size)), int(rng.choice(entries)))
        )

    def hits(alpha: float) -> int:
        count = 0
        for query in queries:
            totals = query.log_probabilities + Prior.from_unconditional(query.unconditional, alpha).values
            order = sorted(range(totals.size), key=lambda place: (-totals[place], query.entries[place]))
            count += query.entries[order[0]] == query.label
        return count

    assert choose_alpha(queries) == max(ALPHAS, key=lambda alpha: (hits(alpha), -alpha))
    assert max(map(hits, ALPHAS)) > hits(0.0)


@pytest.mark.parametrize(
    ("given", "without"),
    [([], []), ([-1.0], [-1.0, -2.0]), ([np.nan], [-1.0]), ([-1.0], [-np.inf]), ([[-1.0]], [[-1.0]])],
)
def test_arrays_that_are_refused(given: list[float], without: list[float]) -> None:
    with pytest.raises(InputError, match="candidates: expected"):
        candidates(given, without, 0)


def test_no_query_is_refused() -> None:
    with pytest.raises(InputError, match="choose_alpha"):
        choose_alpha([])
