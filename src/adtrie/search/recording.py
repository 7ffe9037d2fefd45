"""What a search asked the engine, and the tree of trie nodes that follows from it. No search knows of it.

A `Recorder` stands between a search and its scorer, so that recording costs a search nothing when it is off.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adtrie.search.scorer import Scorer

if TYPE_CHECKING:
    from adtrie.catalogue.trie import Trie

ROOT = 0
Nodes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Forward:
    """One forward: its rows, the children asked for (CSR) and their scores; when it began and its milliseconds.

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
        ended = time.perf_counter()
        self._began = self._began or started
        since, ms = 1e3 * (started - self._began), 1e3 * (ended - started)
        self.forwards.append(Forward(tokens.copy(), parents.copy(), child_ptr.copy(), scores.copy(), since, ms))
        return scores


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
        return cls(*growing.columns(), renormalised=recorder.renormalised)

    def children(self, node: int) -> Nodes:
        """The children of a node, none if it was not fed."""
        return np.arange(self.first[node], self.first[node] + self.count[node])

    def finished(self) -> NDArray[np.bool_]:
        """Which nodes are whole entries with known scores: leaves; renormalised also any entry alone."""
        return np.asarray(self.leaf | (self.hi - self.lo == 1) if self.renormalised else self.leaf)

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
    """Columns while forwards are added, in the order of `Explored`."""

    def __init__(self, trie: Trie) -> None:
        self.trie, self.num_nodes = trie, 1
        self.parts: list[Sequence[NDArray[np.generic]]] = [
            (
                np.zeros(1, np.int64),
                np.full(1, trie.num_entries, np.int64),
                np.zeros(1, np.int32),
                np.full(1, -1, np.int32),
                np.full(1, -1, np.int64),
                np.zeros(1, np.bool_),
                np.zeros(1),
                np.full(1, -1, np.int64),
            )
        ]
        self.node_of_row = np.zeros(0, np.int64)
        self.events: list[tuple[Nodes, int, Nodes, NDArray[np.int64]]] = []  # nodes fed, when, their children

    def add(self, number: int, forward: Forward) -> None:
        """The children of the forward's rows, one wave of rows after the other: parents may be in it too."""
        counts, before = np.diff(forward.child_ptr), self.node_of_row.size
        rows = np.full(counts.size, -1, np.int64)
        if before == 0:  # the prompt: its last row is the root, the first with children
            root = int(np.flatnonzero(counts)[0])
            rows[: root + 1] = ROOT
            wave = np.array([root])
        else:
            wave = np.flatnonzero(forward.parents < before)
        self.node_of_row = np.concatenate((self.node_of_row, rows))
        while wave.size:
            fed = self._nodes_of(forward, wave, before)
            self.node_of_row[before + wave] = fed
            self._list(number, forward, wave, fed)
            later = np.flatnonzero(self.node_of_row[before:] < 0)
            wave = later[self.node_of_row[forward.parents[later]] >= 0]

    def _nodes_of(self, forward: Forward, wave: NDArray[np.int64], before: int) -> Nodes:
        """The nodes that rows stand for: the child of each row's parent with the row's token."""
        if before == 0 and self.num_nodes == 1:
            return np.zeros(1, np.int64)
        above = self.node_of_row[forward.parents[wave]]
        first, count = self._first_count()
        token = self._column(3)
        found = [
            int(first[node] + np.searchsorted(token[first[node] : first[node] + count[node]], wanted))
            for node, wanted in zip(above.tolist(), forward.tokens[wave].tolist(), strict=True)
        ]
        return np.array(found, np.int64)

    def _list(self, number: int, forward: Forward, wave: NDArray[np.int64], fed: Nodes) -> None:
        lo, hi, depth, score = (self._column(i)[fed] for i in (0, 1, 2, 6))
        below = self.trie.children(lo, hi, depth)
        count = np.diff(below.ptr)
        asked = forward.child_ptr[wave]
        index = asked.repeat(count) + np.arange(int(count.sum())) - below.ptr[:-1].repeat(count)
        own = np.minimum(forward.scores[index].astype(np.float64), 0.0)
        self.events.append((fed, number, self.num_nodes + below.ptr[:-1], count))
        self.parts.append(
            (
                below.lo,
                below.hi,
                (depth + 1).repeat(count).astype(np.int32),
                below.tokens,
                fed.repeat(count),
                below.is_leaf,
                score.repeat(count) + own,
                np.full(own.size, number, np.int64),
            )
        )
        self.num_nodes += own.size

    def _column(self, index: int) -> NDArray[np.generic]:
        self.parts = [tuple(np.concatenate(column) for column in zip(*self.parts, strict=True))]
        return self.parts[0][index]

    def _first_count(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        first, count = np.zeros(self.num_nodes, np.int64), np.zeros(self.num_nodes, np.int64)
        for nodes, _, start, size in self.events:
            first[nodes], count[nodes] = start, size
        return first, count

    def columns(self) -> list[NDArray[np.generic]]:
        """All columns of `Explored`."""
        fed = np.full(self.num_nodes, -1, np.int64)
        for nodes, number, _, _ in self.events:
            fed[nodes] = number
        return [*(self._column(i) for i in range(8)), fed, *self._first_count()]
