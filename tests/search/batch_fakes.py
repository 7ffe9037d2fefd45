"""Lanes made of hashes: the scores of a row depend on its path alone, as with the real ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from search_fakes import HashScorer, mix

from adtrie.engine.lanes import Rows


class FakePlaces:
    """Rows of one request in a table shared by all."""

    def __init__(self, group: FakeGroup, max_rows: int) -> None:
        self.num_rows, self._group, self._max_rows = 0, group, max_rows
        self._places = np.zeros(0, np.int32)

    def append(self, count: int) -> NDArray[np.int32]:
        with self._group.lock:
            places = np.arange(self._group.rows_in_use, self._group.rows_in_use + count, dtype=np.int32)
            self._group.rows_in_use += count
        self._places = np.concatenate((self._places, places))
        self.num_rows += count
        return places

    def of(self, parents: NDArray[np.int32]) -> NDArray[np.int32]:
        return np.where(parents < 0, -1, self._places[np.maximum(parents, 0)]).astype(np.int32)

    def close(self) -> None:
        self._group.num_closed += 1


class FakeLane:
    """Scores by `HashScorer`; keeps how many rows each request had. Token 99_999 breaks a forward."""

    def __init__(self, group: FakeGroup) -> None:
        self._group = group

    def score(self, parts: Sequence[Rows]) -> NDArray[np.float32]:
        group = self._group
        time.sleep(group.pause_s)
        if any(99_999 in part.tokens.tolist() for part in parts):
            raise ValueError("token 99_999")
        out = []
        for part in parts:
            paths = []
            for token, parent, place in zip(
                part.tokens.tolist(), part.parents.tolist(), part.places.tolist(), strict=True
            ):
                above = group.paths[parent : parent + 1] if parent >= 0 else group.root
                group.paths[place] = mix(above * np.uint64(3) + np.uint64(token + 1))[0]
                paths.append(group.paths[place])
            hashes = np.array(paths, np.uint64)
            out.append(group.model.log_probabilities(hashes, part.child_ptr, part.child_tokens))
        with group.lock:
            group.forwards.append([part.size for part in parts])
        return np.concatenate(out)


class FakeGroup:
    """`num_lanes` lanes over the model that `model` stands for."""

    def __init__(self, model: HashScorer, num_lanes: int = 2, pause_s: float = 0.0) -> None:
        self.model, self.renormalised, self.pause_s = model, model.renormalised, pause_s
        self.root = np.array([model.seed], np.uint64)
        self.paths = np.zeros(100_000, np.uint64)  # never moves: lanes write to it
        self.lock = Lock()
        self.rows_in_use = self.num_closed = 0
        self.forwards: list[list[int]] = []
        self.single = [FakeLane(self) for _ in range(num_lanes)]
        self.wide = FakeLane(self)

    def open(self, max_rows: int) -> FakePlaces:
        return FakePlaces(self, max_rows)
