"""The rows of one query, scored once by the model and replayed to any search on a predicted clock.

A row's scores do not depend on the rows fed with it, so every search sees what it would see live.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.config import RowCost
from adtrie.engine import Session

Tokens = tuple[int, ...]  # from the root to a node
Scores = NDArray[np.float32]
Int32 = NDArray[np.int32]


class Rows:
    """The rows of one query that any search asked for, by their tokens; the model scores a new one live."""

    def __init__(self, prompt: Int32, session: Callable[[], Session]) -> None:
        """`session` is asked for one at the start of a request once a row is not known."""
        self.prompt = prompt
        self.num_new = 0
        self._make, self._session = session, None
        self._row: dict[Tokens, int] = {}
        self._children: dict[Tokens, tuple[Int32, Scores]] = {}

    def load(self, path: Path) -> None:
        """Takes in what `save` has written; nothing where there is no file."""
        if not path.exists():
            return
        with np.load(path, allow_pickle=False) as file:
            names = ("depth", "token", "parent", "ptr", "children", "scores")
            _, token, parent, ptr, children, scores = (file[name] for name in names)
        known: list[Tokens] = []
        for row, (begin, end) in enumerate(pairwise(ptr.tolist())):
            known.append(() if row == 0 else (*known[parent[row]], int(token[row])))
            if end > begin:
                self._children[known[row]] = children[begin:end], scores[begin:end]

    def save(self, path: Path) -> None:
        """Writes all rows, those above them included; the file appears complete or not at all."""
        every = {tokens[:length] for tokens in self._children for length in range(len(tokens) + 1)} | {()}
        order = sorted(every, key=lambda tokens: (len(tokens), tokens))
        number = {tokens: row for row, tokens in enumerate(order)}
        nothing = np.zeros(0, np.int32), np.zeros(0, np.float32)
        listed = [self._children.get(tokens, nothing) for tokens in order]
        columns = {
            "depth": np.array([len(tokens) for tokens in order], np.uint8),
            "token": np.array([tokens[-1] if tokens else 0 for tokens in order], np.int32),
            "parent": np.array([number[tokens[:-1]] if tokens else 0 for tokens in order], np.int32),
            "ptr": np.cumsum([0, *(children.size for children, _ in listed)]),
            "children": np.concatenate([children for children, _ in listed]),
            "scores": np.concatenate([scores for _, scores in listed]),
        }
        part = path.with_suffix(".part.npz")
        np.savez_compressed(part, **columns)
        os.replace(part, path)
        self.num_new = 0

    def scores(self, asked: dict[Tokens, Int32]) -> list[Scores]:
        """Log-probabilities of the children of each row, one array each, in order."""
        new = {tokens: children for tokens, children in asked.items() if tokens not in self._children}
        if new:
            self._feed(new)
        found = []
        for tokens, children in asked.items():
            known, scores = self._children[tokens]
            found.append(scores if known.size == children.size else scores[known.searchsorted(children)])
        return found

    def num_above(self, least: float) -> int:
        """Rows that any proof by this bound must feed: inner nodes that score above `least`."""
        score: dict[Tokens, float] = {(): 0.0}
        for tokens in sorted(self._children, key=len)[1:]:
            children, scores = self._children[tokens[:-1]]
            at = int(children.searchsorted(tokens[-1]))
            score[tokens] = score[tokens[:-1]] + min(float(scores[at]), 0.0)
        return sum(above > least for tokens, above in score.items() if tokens)

    def _feed(self, asked: dict[Tokens, Int32]) -> None:
        """One forward of the real model for the rows and those above them that it was never fed."""
        if self._session is None:
            self._session = self._make()
        missing: dict[Tokens, None] = {}
        for tokens in asked:
            for length in range(len(tokens) + 1):
                if tokens[:length] not in self._row:
                    missing[tokens[:length]] = None
        fed: list[int] = []
        parents: list[int] = []
        listed: list[Int32] = []
        start = self._session.num_rows
        for tokens in missing:
            if not tokens:  # the root's row is the prompt's last
                fed, parents = self.prompt.tolist(), list(range(-1, self.prompt.size - 1))
                listed = [np.zeros(0, np.int32)] * (self.prompt.size - 1)
            else:
                fed.append(tokens[-1])
                parents.append(self._row[tokens[:-1]])
            self._row[tokens] = start + len(fed) - 1
            listed.append(asked.get(tokens, np.zeros(0, np.int32)))
        ptr = np.cumsum([0, *(children.size for children in listed)])
        scores = self._session.score(
            np.array(fed, np.int32), np.array(parents, np.int32), ptr, np.concatenate(listed)
        )
        for tokens, begin in zip(missing, ptr[len(listed) - len(missing) :], strict=False):
            if tokens in asked:
                self._children[tokens] = asked[tokens], scores[begin : begin + asked[tokens].size]
        self.num_new += len(missing)


class Replay:
    """A scorer for one search over `rows`, whose clock adds predicted ms of forwards and the search's own."""

    renormalised = False

    def __init__(self, rows: Rows, cost: RowCost) -> None:
        self._rows, self._cost = rows, cost
        self._tokens: list[Tokens] = []
        self._forward_s, self._inside_s = 0.0, 0.0
        self._started = time.thread_time()
        self.calls: list[int] = []

    def clock(self) -> float:
        """Seconds: of the forwards by the row cost, of the search by processor time; replaying takes none."""
        return self._forward_s + self.own_s()

    def own_s(self) -> float:
        """Processor seconds of the search itself so far."""
        return time.thread_time() - self._started - self._inside_s

    def score(self, tokens: Int32, parents: Int32, child_ptr: NDArray[np.int64], child_tokens: Int32) -> Any:
        """The scores of a search's forward (see `Scorer`)."""
        began, first = time.thread_time(), len(self._tokens)
        for token, parent in zip(tokens.tolist(), parents.tolist(), strict=True):
            in_prompt = len(self._tokens) < self._rows.prompt.size
            self._tokens.append(() if in_prompt else (*self._tokens[parent], token))
        asked = {
            self._tokens[first + i]: child_tokens[begin:end]
            for i, (begin, end) in enumerate(pairwise(child_ptr.tolist()))
            if end > begin
        }
        found = np.concatenate(self._rows.scores(asked))
        self._forward_s += self._cost.ms(tokens.size) / 1e3
        self.calls.append(tokens.size)
        self._inside_s += time.thread_time() - began
        return found
