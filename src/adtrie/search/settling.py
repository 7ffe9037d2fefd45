"""Scores of finished entries whose nodes were scored by upper bounds. Knows no budget and no open nodes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import ModelError
from adtrie.search.frontier import ROOT, Frontier, Nodes
from adtrie.search.rank import best
from adtrie.search.scorer import BoundingScorer


class Settling:
    """Log-probabilities of paths of `nodes`, from rows that `scorer` settles once each, when first needed."""

    def __init__(self, nodes: Frontier, scorer: BoundingScorer) -> None:
        self._nodes, self._scorer = nodes, scorer
        self._step = np.full(256, np.nan)  # log-probability of a node's token after its parent
        self.rows = 0

    def totals(self, leaves: Nodes) -> NDArray[np.float64]:
        """float64[n]: what `leaves` rank by, to the bit as if no score had been a bound."""
        nodes = self._nodes
        path = self._ancestors(leaves)
        self._settle(np.unique(nodes.parent[path]))
        score = np.zeros(path.size + 1)  # the last is the root's
        depth = nodes.depth[path]
        above = np.searchsorted(path, nodes.parent[path])
        above[nodes.parent[path] == ROOT] = path.size
        for level in np.unique(depth):
            here = np.flatnonzero(depth == level)
            score[here] = self._step[path[here]] + score[above[here]]
        found = score[np.searchsorted(path, leaves)]
        return np.asarray(found + nodes.best_prior[leaves] if nodes.has_prior else found)

    def _ancestors(self, leaves: Nodes) -> Nodes:
        """`leaves` and all above them but the root, ascending."""
        known, at = [leaves], leaves
        while (at := np.unique(self._nodes.parent[at[at != ROOT]])).size:
            known.append(at)
        path: Nodes = np.unique(np.concatenate(known))
        return np.asarray(path[path != ROOT])

    def _settle(self, inner: Nodes) -> None:
        """Makes the steps of all children of `inner` known."""
        nodes = self._nodes
        if self._step.size < nodes.size:
            grown = np.full(2 * nodes.size, np.nan)
            grown[: self._step.size] = self._step
            self._step = grown
        new = inner[np.isnan(self._step[nodes.first[inner]])]
        if new.size == 0:
            return
        below = nodes.children(new)
        ptr = np.zeros(new.size + 1, np.int64)
        np.cumsum(nodes.count[new], out=ptr[1:])
        steps = np.minimum(
            self._scorer.settle(nodes.row[new], ptr, nodes.token[below]), 0.0, dtype=np.float64
        )
        if not bool((steps <= 0.0).all()):
            raise ModelError(
                "scores: expected log-probabilities, got NaN; the weights are damaged or overflow"
            )
        self._step[below] = steps
        self.rows += int(new.size)


def most_likely(nodes: Frontier, leaves: Nodes, count: int) -> Nodes:
    """The `count` best of `leaves` by their bounds: what is settled first, so that few others need it."""
    return leaves[best(nodes.total(leaves), nodes.lo[leaves], count)]
