"""Beams over fewer entries than there are beams: what a loop with fixed slots gives, and what ours gives.

Fixed slots: each step takes the best 70 of all padded candidates, invalid ones at -inf, as loops of static
shape do; nothing tells an invalid sequence from a valid one but its score. Random log-probabilities.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.search import stepwise
from benchmarks.structure_rivals import OurTrie, PaddedCsr

BEAMS, LENGTH, VOCAB = 70, 8, 2048
ENTRIES = (1, 20, 50, 69)


class RandomScorer:
    """Log-probabilities of a token from the seed and its place alone: the same for both loops."""

    renormalised = False

    def __init__(self, seed: int) -> None:
        self.table = np.log(np.random.default_rng(seed).dirichlet(np.ones(VOCAB))).astype(np.float32)

    def score(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        return self.table[child_tokens]


def fixed_slots(structure: PaddedCsr, table: NDArray[np.float32]) -> list[tuple[int, ...]]:
    """The 70 sequences of a loop of static shape over a padded structure."""
    paths: list[tuple[int, ...]] = [()] * BEAMS
    states, scores = np.zeros(BEAMS, np.int64), np.full(BEAMS, -np.inf)
    scores[0] = 0.0
    for depth in range(LENGTH):
        at = structure.indptr[states][:, None] + np.arange(structure.limits[depth])
        valid = at < structure.indptr[states + 1][:, None]
        edges = structure.packed.take(at, axis=0, mode="clip")
        total = np.where(valid, scores[:, None] + table[edges[:, :, 0]], -np.inf).ravel()
        kept = np.argsort(-total, kind="stable")[:BEAMS]
        kept = np.resize(kept, BEAMS)  # fewer candidates than slots: filled up with repeats
        edges = edges.reshape(-1, 2)[kept]
        paths = [
            (*paths[i], token) for i, token in zip(kept // valid.shape[1], edges[:, 0].tolist(), strict=True)
        ]
        states, scores = edges[:, 1].astype(np.int64), total[kept]
    return paths


def compare(seed: int = 0) -> dict[str, Any]:
    """Valid, invalid and repeated sequences of both loops for each number of entries."""
    rows = []
    for num_entries in ENTRIES:
        codes = np.random.default_rng(seed + num_entries).integers(0, VOCAB, (num_entries, LENGTH))
        codes = np.unique(codes, axis=0).astype(np.uint16)
        offsets = np.arange(0, codes.size + 1, LENGTH)
        catalogue, scorer = set(map(tuple, codes.tolist())), RandomScorer(seed)
        slots = fixed_slots(PaddedCsr(codes.ravel(), offsets, VOCAB), scorer.table)
        trie = OurTrie(codes.ravel(), offsets, VOCAB).trie
        found = stepwise(scorer, trie, np.zeros(1, np.int32), BEAMS, BEAMS)
        ours = [tuple(trie.tokens(int(entry)).tolist()) for entry in found.entries]
        if set(ours) != catalogue or len(ours) != len(catalogue):
            raise SystemExit("our beam does not give every entry once: nothing is reported")
        rows.append(
            {
                "entries": len(catalogue),
                "fixed_slots": _counts(slots, catalogue),
                "adtrie": _counts(ours, catalogue),
            }
        )
    return {"beams": BEAMS, "tokens": LENGTH, "vocabulary": VOCAB, "sets": rows}


def _counts(sequences: list[tuple[int, ...]], catalogue: set[tuple[int, ...]]) -> dict[str, int]:
    valid = [one for one in sequences if one in catalogue]
    return {
        "returned": len(sequences),
        "distinct_valid": len(set(valid)),
        "repeated": len(valid) - len(set(valid)),
        "invalid": len(sequences) - len(valid),
    }
