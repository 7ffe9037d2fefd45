"""What a search asked the engine, and the tree of trie nodes that follows from it. No search knows of it.

A `Recorder` stands between a search and its scorer, so that recording costs a search nothing when it is off.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from adtrie.search.scorer import Scorer, StoppableScorer

if TYPE_CHECKING:
    from adtrie.catalogue.trie import Trie

ROOT = 0
Nodes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Forward:
    """One forward: its rows, children asked for (CSR) and their scores; when it began, its milliseconds.

    `started_ms` counts from the start of the first forward.
    """

    tokens: NDArray[np.int32]
    parents: NDArray[np.int32]
    child_ptr: NDArray[np.int64]
    scores: NDArray[np.float32]
    started_ms: float
    ms: float


@dataclass(eq=False)
class Recorder:
    """A scorer that answers as `scorer` does and keeps every forward of the one request it serves."""

    scorer: Scorer
    forwards: list[Forward] = field(default_factory=list)
    _began: float = 0.0

    @property
    def renormalised(self) -> bool:
        """As the scorer says."""
        return self.scorer.renormalised

    def score(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        """The answer of the scorer."""
        started = time.perf_counter()
        scores = self.scorer.score(tokens, parents, child_ptr, child_tokens)
        self._keep(started, (tokens, parents, child_ptr, scores))
        return scores

    def score_within(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
        ms: float,
    ) -> NDArray[np.float32] | None:
        """The answer of the scorer, which takes its time if it cannot stop; stopped forwards are not kept."""
        if not isinstance(self.scorer, StoppableScorer):
            return self.score(tokens, parents, child_ptr, child_tokens)
        started = time.perf_counter()
        scores = self.scorer.score_within(tokens, parents, child_ptr, child_tokens, ms)
        if scores is not None:
            self._keep(started, (tokens, parents, child_ptr, scores))
        return scores

    def _keep(self, started: float, forward: tuple[NDArray[Any], ...]) -> None:
        ended = time.perf_counter()
        self._began = self._began or started
        since, ms = 1e3 * (started - self._began), 1e3 * (ended - started)
        tokens, parents, child_ptr, scores = (array.copy() for array in forward)
        self.forwards.append(Forward(tokens, parents, child_ptr, scores, since, ms))


@dataclass(frozen=True, eq=False)
class Explored:
    """The nodes whose scores became known, parents before children; node 0 is the root.

    lo, hi int64[n], depth, token int32[n] (-1 for the root), parent int64[n], leaf bool[n]: as in the trie.
    score float64[n]: log-probability of the path. known, fed int64[n]: the forward that scored the node, and
    the one that fed it, -1 for never. first, count int64[n]: its children, if it was fed.
    """

    lo: NDArray[np.int64]
    hi: NDArray[np.int64]
    depth: NDArray[np.int32]
    token: NDArray[np.int32]
    parent: Nodes
    leaf: NDArray[np.bool_]
    score: NDArray[np.float64]
    known: NDArray[np.int64]
    fed: NDArray[np.int64]
    first: NDArray[np.int64]
    count: NDArray[np.int64]
    renormalised: bool

    @classmethod
    def of(cls, recorder: Recorder, trie: Trie) -> Explored:
        """The nodes of a recorded search over `trie`, the one it searched."""
        growing = _Growing(trie)
        for number, forward in enumerate(recorder.forwards):
            growing.add(number, forward)
        return cls(**growing.columns, renormalised=recorder.renormalised)

    def children(self, node: int) -> Nodes:
        """The children of a node, none if it was not fed."""
        return np.arange(self.first[node], self.first[node] + self.count[node])

    def finished(self) -> NDArray[np.bool_]:
        """Which nodes are whole entries: leaves; renormalised also an entry alone whose rest was not fed."""
        alone = (self.hi - self.lo == 1) & (self.count == 0)
        return np.asarray(self.leaf | alone if self.renormalised else self.leaf)

    def path(self, entry: int) -> list[int]:
        """The explored nodes above an entry, the root first."""
        path, node = [ROOT], ROOT
        while self.count[node]:
            below = self.children(node)
            inside = below[(self.lo[below] <= entry) & (entry < self.hi[below])]
            if not inside.size:
                break
            node = int(inside[0])
            path.append(node)
        return path


class _Growing:
    """The columns of `Explored` while forwards are added."""

    def __init__(self, trie: Trie) -> None:
        self.trie = trie
        self.node_of_row = np.zeros(0, np.int64)
        self.columns: dict[str, NDArray[Any]] = {
            "lo": np.zeros(1, np.int64),
            "hi": np.full(1, trie.num_entries, np.int64),
            "depth": np.zeros(1, np.int32),
            "token": np.full(1, -1, np.int32),
            "parent": np.full(1, -1, np.int64),
            "leaf": np.zeros(1, np.bool_),
            "score": np.zeros(1),
            "known": np.full(1, -1, np.int64),
            "fed": np.full(1, -1, np.int64),
            "first": np.zeros(1, np.int64),
            "count": np.zeros(1, np.int64),
        }

    def add(self, number: int, forward: Forward) -> None:
        """The children of the forward's rows, one wave of rows after the other: parents may be in it too."""
        counts, before = np.diff(forward.child_ptr), self.node_of_row.size
        self.node_of_row = np.concatenate((self.node_of_row, np.full(counts.size, -1)))
        if before == 0:  # the prompt: its last row is the root, the first with children
            root = int(np.flatnonzero(counts)[0])
            self.node_of_row[: root + 1] = ROOT
            self._list(number, forward, np.array([root]), np.array([ROOT]))
        while (wave := np.flatnonzero(self.node_of_row[before:] < 0)).size:
            above = self.node_of_row[forward.parents[wave]]
            wave, above = wave[above >= 0], above[above >= 0]
            fed = self._children_with(above, forward.tokens[wave])
            self.node_of_row[before + wave] = fed
            self._list(number, forward, wave, fed)

    def _children_with(self, above: Nodes, tokens: NDArray[np.int32]) -> Nodes:
        """The child of each listed node that has the token."""
        first, count, token = (self.columns[name] for name in ("first", "count", "token"))
        places = [
            np.searchsorted(token[start : start + size], wanted)
            for start, size, wanted in zip(first[above], count[above], tokens, strict=True)
        ]
        found: Nodes = first[above] + np.array(places, np.int64)
        return found

    def _list(self, number: int, forward: Forward, rows: NDArray[np.int64], fed: Nodes) -> None:
        """Adds the children of the nodes `fed`, which are these rows of the forward."""
        old = self.columns
        below = self.trie.children(old["lo"][fed], old["hi"][fed], old["depth"][fed])
        count, start = np.diff(below.ptr), old["lo"].size
        asked = np.arange(below.tokens.size) + (forward.child_ptr[rows] - below.ptr[:-1]).repeat(count)
        scores = np.minimum(forward.scores[asked], 0.0, dtype=np.float64)
        old["fed"][fed], old["first"][fed], old["count"][fed] = number, start + below.ptr[:-1], count
        new: dict[str, Any] = {
            "lo": below.lo,
            "hi": below.hi,
            "depth": (old["depth"][fed] + 1).repeat(count),
            "token": below.tokens,
            "parent": fed.repeat(count),
            "leaf": below.is_leaf,
            "score": old["score"][fed].repeat(count) + scores,
            "known": np.full(scores.size, number),
            "fed": np.full(scores.size, -1),
            "first": np.zeros(scores.size, np.int64),
            "count": np.zeros(scores.size, np.int64),
        }
        self.columns = {name: np.concatenate((column, new[name])) for name, column in old.items()}
