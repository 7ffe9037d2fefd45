"""One query's rows, scored once by the model, replayed to any number of searches on a clock of predicted ms.

A row's scores do not depend on the rows fed with it, so every search sees what it would see live.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.config import RowCost
from adtrie.engine import Session

Path = tuple[int, ...]
Scores = NDArray[np.float32]


class Rows:
    """The rows of one query that any search has asked for, by token path; the model scores a new one live."""

    def __init__(self, session: Session, prompt: NDArray[np.int32]) -> None:
        session.reset()
        self.prompt = prompt
        self._session = session
        self._row: dict[Path, int] = {}
        self._children: dict[Path, tuple[NDArray[np.int32], Scores]] = {}

    def scores(self, asked: dict[Path, NDArray[np.int32]]) -> list[Scores]:
        """Log-probabilities of the children of each path, one array each, in order."""
        new = {path: children for path, children in asked.items() if path not in self._children}
        if new:
            self._feed(new)
        found = []
        for path, children in asked.items():
            known, scores = self._children[path]
            found.append(scores if known.size == children.size else scores[known.searchsorted(children)])
        return found

    def num_above(self, least: float) -> int:
        """Rows that any proof must feed: inner nodes below the root whose own score is above `least`."""
        score: dict[Path, float] = {(): 0.0}
        for path in sorted(self._children, key=len)[1:]:
            children, scores = self._children[path[:-1]]
            at = int(children.searchsorted(path[-1]))
            score[path] = score[path[:-1]] + min(float(scores[at]), 0.0)
        return sum(above > least for path, above in score.items() if path)

    def _feed(self, asked: dict[Path, NDArray[np.int32]]) -> None:
        """One forward of the real model for the paths and those above them that were never fed."""
        missing: dict[Path, None] = {}
        for path in asked:
            for length in range(len(path) + 1):
                if path[:length] not in self._row:
                    missing[path[:length]] = None
        tokens: list[int] = []
        parents: list[int] = []
        listed: list[NDArray[np.int32]] = []
        start = self._session.num_rows
        for path in missing:
            if not path:  # the root's row is the prompt's last
                tokens, parents = self.prompt.tolist(), list(range(-1, self.prompt.size - 1))
                listed = [np.zeros(0, np.int32)] * (self.prompt.size - 1)
            else:
                tokens.append(path[-1])
                parents.append(self._row[path[:-1]])
            self._row[path] = start + len(tokens) - 1
            listed.append(asked.get(path, np.zeros(0, np.int32)))
        ptr = np.cumsum([0, *(children.size for children in listed)])
        scores = self._session.score(
            np.array(tokens, np.int32), np.array(parents, np.int32), ptr, np.concatenate(listed)
        )
        for path, begin in zip(missing, ptr[len(listed) - len(missing) :], strict=False):
            if path in asked:
                self._children[path] = asked[path], scores[begin : begin + asked[path].size]


class Replay:
    """A scorer for one search over `rows`. Its clock adds predicted ms of forwards to the search's own."""

    renormalised = False

    def __init__(self, rows: Rows, cost: RowCost) -> None:
        self._rows, self._cost = rows, cost
        self._paths: list[Path] = []
        self._forward_s, self._inside_s = 0.0, 0.0
        self._started = time.thread_time()
        self.calls: list[int] = []

    def clock(self) -> float:
        """Seconds: of the forwards by the row cost, of the search by processor time; replaying takes none."""
        return self._forward_s + time.thread_time() - self._started - self._inside_s

    def score(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
    ) -> Any:
        """The scores of a search's forward (see `Scorer`)."""
        began, first = time.thread_time(), len(self._paths)
        for token, parent in zip(tokens.tolist(), parents.tolist(), strict=True):
            in_prompt = len(self._paths) < self._rows.prompt.size
            self._paths.append(() if in_prompt else (*self._paths[parent], token))
        asked = {
            self._paths[first + i]: child_tokens[begin:end]
            for i, (begin, end) in enumerate(itertools.pairwise(child_ptr))
            if end > begin
        }
        found = np.concatenate(self._rows.scores(asked))
        self._forward_s += self._cost.ms(tokens.size) / 1e3
        self.calls.append(tokens.size)
        self._inside_s += time.thread_time() - began
        return found
