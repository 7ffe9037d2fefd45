"""Every trie node a search has seen, with its score once it is known: the store `verify` and `exact` share.

It feeds what it is told to; which nodes are worth a row is the search's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adtrie.search.deadline import OutOfTime
from adtrie.search.scorer import Scorer, child_scores

if TYPE_CHECKING:
    from adtrie.catalogue.nodes import Children
    from adtrie.catalogue.prior import Bonus
    from adtrie.catalogue.trie import Trie

Nodes = NDArray[np.int64]  # ids into the columns of a Frontier
ROOT = 0
_COLUMNS = {
    "lo": np.int64,
    "hi": np.int64,
    "depth": np.int32,
    "token": np.int32,  # the last token of the node's path
    "parent": np.int64,
    "leaf": np.bool_,
    "row": np.int32,  # -1 until fed
    "first": np.int64,  # the children are [first, first + count), -1 until listed
    "count": np.int64,
    "score": np.float64,  # log-probability of the path; NaN until known
    "best_prior": np.float64,  # the highest prior of an entry below; 0 without a prior
}


class Frontier:
    """Nodes 0 (the root) to `size`, in columns that grow by doubling; parents come before children.

    A node is *listed* when its children are in the store, *scored* when its own score is known, *open* when
    its children's scores are not. Under renormalised scoring an only child scores as its parent, unfed.
    """

    lo: NDArray[np.int64]
    hi: NDArray[np.int64]
    depth: NDArray[np.int32]
    token: NDArray[np.int32]
    parent: NDArray[np.int64]
    leaf: NDArray[np.bool_]
    row: NDArray[np.int32]
    first: NDArray[np.int64]
    count: NDArray[np.int64]
    score: NDArray[np.float64]
    best_prior: NDArray[np.float64]

    def __init__(
        self, scorer: Scorer, trie: Trie, prompt: NDArray[np.int32], prior: Bonus | None = None
    ) -> None:
        self._scorer, self._trie, self._prompt, self._prior = scorer, trie, prompt, prior
        self.renormalised, self.prompt_size = scorer.renormalised, prompt.size
        self.forwards = self.rows = 0
        self.size = 1
        for name, dtype in _COLUMNS.items():
            setattr(self, name, np.zeros(256, dtype))
        self.hi[ROOT], self.first[ROOT], self.row[ROOT] = trie.num_entries, -1, -1
        if prior is not None:
            self.best_prior[:1] = prior.best(self.lo[:1], self.hi[:1])

    @property
    def has_prior(self) -> bool:
        """Whether totals are more than scores."""
        return self._prior is not None

    def children(self, nodes: Nodes) -> Nodes:
        """The children of listed `nodes`, node by node."""
        return _ranges(self.first[nodes], self.count[nodes])

    def total(self, nodes: Nodes) -> NDArray[np.float64]:
        """float64[n]: what `nodes` rank by, their score and best prior: no entry below has a higher total."""
        score = self.score[nodes]
        return score if self._prior is None else score + self.best_prior[nodes]

    def unlisted(self, nodes: Nodes) -> Nodes:
        """Those of `nodes` whose children are not in the store yet."""
        return nodes[self.first[nodes] < 0]

    def is_open(self, nodes: Nodes) -> NDArray[np.bool_]:
        """Which of `nodes` (leaves excluded) lack their children's scores, bool[n]."""
        first = self.first[nodes]
        return np.asarray((first < 0) | np.isnan(self.score[np.maximum(first, 0)]))

    def list_children(self, nodes: Nodes) -> Nodes:
        """Adds the children of unlisted, distinct `nodes` to the store; returns them, scores unknown."""
        if nodes.size == 0:
            return nodes
        below = self._trie.children(self.lo[nodes], self.hi[nodes], self.depth[nodes])
        count = below.ptr[1:] - below.ptr[:-1]
        start, stop = self.size, self.size + below.tokens.size
        self._reserve(stop)
        owner = nodes.repeat(count)
        self.lo[start:stop], self.hi[start:stop] = below.lo, below.hi
        self.token[start:stop], self.leaf[start:stop] = below.tokens, below.is_leaf
        self.depth[start:stop] = self.depth[owner] + 1
        self.parent[start:stop] = owner
        self.row[start:stop], self.count[start:stop] = -1, 0
        self.first[start:stop] = np.where(below.is_leaf, start, -1)
        self.score[start:stop] = np.nan
        if self._prior is not None:
            self.best_prior[start:stop] = self._prior.best(below.lo, below.hi)
        self.first[nodes], self.count[nodes] = start + below.ptr[:-1], count
        self.size = stop
        return np.arange(start, stop)

    def reveal(self, nodes: Nodes) -> None:
        """Lists the children of scored inner `nodes`; a forced token's score is known without a row."""
        self.list_children(self.unlisted(nodes))
        if self.renormalised:
            single = nodes[self.count[nodes] == 1]
            self.score[self.first[single]] = self.score[single]

    def unfed_above(self, nodes: Nodes) -> Nodes:
        """The unfed proper ancestors of `nodes`, shallow first: forced tokens that were skipped as free."""
        if not self.renormalised:
            return nodes[:0]
        above: list[Nodes] = []
        at = self.parent[nodes[nodes != ROOT]]
        while (at := np.unique(at[self.row[at] < 0])).size:
            above.append(at)
            at = self.parent[at[at != ROOT]]
        return np.unique(np.concatenate(above)) if above else nodes[:0]  # ids rise with depth

    def feed(self, levels: Sequence[Nodes]) -> None:
        """One forward for the scores of all children of `levels`; levels[0] are unfed nodes of known score.

        Nodes of a further level are children of the level before. The first forward must be that of
        the root, whose row is the prompt's last. Skipped forced tokens above levels[0] are fed along.
        Raises OutOfTime when the forward was stopped: nothing was fed then, no score is known.
        """
        asked = levels[0] if len(levels) == 1 else np.concatenate(levels)
        self.list_children(self.unlisted(asked))
        above = self.unfed_above(levels[0])
        forced = self.children(above) if above.size else above
        known = self.score[forced]
        if above.size:
            asked = np.concatenate((above, asked))
        prompt, fed = self._prompt[:0], asked
        if self.row[ROOT] < 0:
            prompt, fed = self._prompt, asked[1:]
            self.row[ROOT] = prompt.size - 1
        first_row = prompt.size or self._prompt.size + self.rows
        self.row[fed] = np.arange(first_row, first_row + fed.size)
        try:
            self._score(prompt, fed, asked)
        except OutOfTime:
            self.row[asked] = -1
            raise
        self.score[forced] = known
        for level in levels:
            below = self.children(level)
            self.score[below] += self.score[self.parent[below]]
        self.forwards += 1
        self.rows += fed.size

    def _score(self, prompt: NDArray[np.int32], fed: Nodes, asked: Nodes) -> None:
        """Feeds the prompt and `fed`; writes the scores of the children of `asked`, each its own token's."""
        tokens, parents, count = self.token[fed], self.row[self.parent[fed]], self.count[asked]
        if prompt.size:  # the root's row is the prompt's last
            tokens = np.concatenate((prompt, tokens))
            parents = np.concatenate((np.arange(-1, prompt.size - 1, dtype=np.int32), parents))
            count = np.concatenate((np.zeros(prompt.size - 1, np.int64), count))
        ptr = np.zeros(count.size + 1, np.int64)
        count.cumsum(out=ptr[1:])
        below = self.children(asked)
        self.score[below] = child_scores(self._scorer, tokens, parents, ptr, self.token[below])

    def feed_apart(
        self, tokens: NDArray[np.int32], parents: NDArray[np.int32], below: Children
    ) -> tuple[int, NDArray[np.float64]]:
        """One forward of rows that are not in the store: their first number, their children's own scores."""
        first_row = self._prompt.size + self.rows
        scores = child_scores(self._scorer, tokens, parents, below.ptr, below.tokens)
        self.forwards += 1
        self.rows += tokens.size
        return first_row, scores

    def adopt(
        self,
        lo: NDArray[np.int64],
        hi: NDArray[np.int64],
        depth: NDArray[np.int64],
        token: NDArray[np.int32],
        row: NDArray[np.int32],
        score: NDArray[np.float64],
    ) -> Nodes:
        """Adds unfed nodes of known score, without a prior; row int32[n]: those of their unknown parents."""
        above, below = self._new(lo.size), self._new(lo.size)
        self.row[above] = row
        self.lo[below], self.hi[below], self.depth[below] = lo, hi, depth
        self.token[below], self.score[below], self.parent[below] = token, score, above
        self.row[below], self.first[below] = -1, -1
        return below

    def adopt_finished(self, lo: NDArray[np.int64], score: NDArray[np.float64]) -> Nodes:
        """Adds the leaves of entries of known score."""
        added = self._new(lo.size)
        self.lo[added], self.hi[added], self.score[added] = lo, lo + 1, score
        self.leaf[added], self.first[added] = True, added
        return added

    def _new(self, count: int) -> Nodes:
        start = self.size
        self._reserve(start + count)
        self.size = start + count
        return np.arange(start, self.size)

    def _reserve(self, size: int) -> None:
        """Grows every column to at least `size` by doubling."""
        capacity = self.lo.size
        if size <= capacity:
            return
        while capacity < size:
            capacity *= 2
        for name in _COLUMNS:
            old = getattr(self, name)
            column = np.zeros(capacity, old.dtype)
            column[: self.size] = old[: self.size]
            setattr(self, name, column)


def _ranges(first: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """first[0], first[0]+1, ... (count[0] of them), then those of first[1], ..."""
    if first.size == 1:
        return np.arange(first[0], first[0] + count[0])
    stop = count.cumsum()
    ranges: Nodes = (first - stop + count).repeat(count) + np.arange(stop[-1] if stop.size else 0)
    return ranges
