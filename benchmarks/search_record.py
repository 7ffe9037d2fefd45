"""Real queries with all rows that any search needs, in a folder: a run that is stopped goes on from there.

`search_replay` says why one recording serves all searches.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from adtrie.catalogue.trie import Trie
from adtrie.config import RowCost, cache_dir
from adtrie.engine import Session
from adtrie.search.exact import exact
from adtrie.search.scorer import SearchResult
from benchmarks.search_replay import Replay, Rows
from benchmarks.search_setting import Setting

K = 10
MOST_ROWS = 40_000  # of the truth of one query


@dataclass(frozen=True, eq=False)
class Recorded:
    """One query with its rows, and the true K best entries."""

    query: str
    rows: Rows
    truth: SearchResult


class Recording:
    """A folder of recorded queries of one setting."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        engine = setting.model.engine
        name = f"{engine.fingerprint}:{setting.catalogue.num_entries}:{setting.template}"
        self.folder = cache_dir() / "recorded" / hashlib.sha256(name.encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._session: Session | None = None

    @property
    def trie(self) -> Trie:
        """The trie of the keywords."""
        return self.setting.catalogue.trie

    def queries(self, label: str) -> Iterator[Recorded]:
        """The queries of the setting with their truth; new ones are scored and kept."""
        cost = RowCost.kneed(16)
        for query in track(self.setting.queries, label):
            path = self.folder / f"{hashlib.sha256(query.encode()).hexdigest()[:24]}.npz"
            rows = Rows(self.setting.prompt(query), self._fresh)
            rows.load(path)
            truth = exact(Replay(rows, cost), self.trie, rows.prompt, K, cost, MOST_ROWS)
            if truth.gap:
                raise SystemExit(f"{query!r}: the true top {K} takes more than {MOST_ROWS:,} rows")
            if rows.num_new:
                rows.save(path)
            yield Recorded(query, rows, truth)
            if rows.num_new:
                rows.save(path)

    def _fresh(self) -> Session:
        if self._session is None:
            self._session = self.setting.session(max_rows=65_536)
        self._session.reset()
        return self._session


class Kept:
    """Results by query in a file of JSON lines; what is there is not computed again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.found: dict[str, Any] = {}
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            self.found = dict(json.loads(line) for line in lines if line.endswith("]"))

    def add(self, query: str, result: Any) -> None:
        """Keeps one result."""
        self.found[query] = result
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([query, result]) + "\n")


def recall(found: SearchResult, truth: SearchResult) -> float:
    """Part of the true entries that were found."""
    return float(np.isin(truth.entries, found.entries).mean())
