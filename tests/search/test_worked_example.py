"""The numbers of docs/design/verification.md, section 5."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from search_fakes import END, PROMPT, make_trie

from adtrie.search import RowCost, exact, stepwise, verify

A, B, C, D, E = range(5)
TRIE = make_trie([[A, C], [A, D], [B, C, E]])
PROBABILITY = {
    (): {A: 0.5, B: 0.4},
    (A,): {C: 0.5, D: 0.3},
    (B,): {C: 0.9},
    (B, C): {E: 0.9},
}


class TableScorer:
    """Log-probabilities from PROBABILITY; the end token has 0.9 everywhere."""

    renormalised = False

    def __init__(self) -> None:
        self.paths: list[tuple[int, ...]] = []

    def score(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        out = np.zeros(child_tokens.size, np.float32)
        for i, (token, parent) in enumerate(zip(tokens.tolist(), parents.tolist(), strict=True)):
            in_prompt = len(self.paths) < PROMPT.size
            self.paths.append(() if in_prompt else (*self.paths[parent], token))
            for j in range(child_ptr[i], child_ptr[i + 1]):
                child = int(child_tokens[j])
                out[j] = np.log(0.9 if child == END else PROBABILITY[self.paths[-1]][child])
        return out


def test_a_narrow_beam_misses_the_best_and_says_by_how_much() -> None:
    found = stepwise(TableScorer(), TRIE, PROMPT, 1, 1)
    assert (found.entries.tolist(), found.forwards, found.rows) == ([0], 3, 2)
    assert found.gap == pytest.approx(np.log(0.4 / 0.225), abs=1e-6)


def test_a_beam_of_two_finds_both() -> None:
    found = stepwise(TableScorer(), TRIE, PROMPT, 2, 2)
    assert (found.entries.tolist(), found.forwards, found.rows, found.gap) == ([2, 0], 4, 5, 0.0)
    assert np.exp(found.scores) == pytest.approx([0.2916, 0.225], rel=1e-6)


def test_verify_takes_one_forward_where_rows_are_free() -> None:
    found = verify(TableScorer(), TRIE, PROMPT, 2, 2, RowCost.flat())
    assert (found.entries.tolist(), found.forwards, found.rows, found.gap) == ([2, 0], 1, 6, 0.0)


def test_exact_proves_the_best_with_four_rows() -> None:
    found = exact(TableScorer(), TRIE, PROMPT, 1, RowCost.kneed(1))
    assert (found.entries.tolist(), found.forwards, found.rows, found.gap) == ([2], 5, 4, 0.0)
