"""Entries a query resembles, by their own text and by the past queries they answered.

What a search takes as seeds: exact then needs fewer rows for the same answer, and the beams of verify and
stepwise cannot lose what resembles the query. With a fusion also what resemblance is worth. Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.fusion import Fusion, features_of
from adtrie.catalogue.lexical import LexicalIndex
from adtrie.errors import InputError

if TYPE_CHECKING:
    from adtrie.catalogue.catalogue import Catalogue

MAX_COUNT = 256
_QUERIES_PER_ENTRY = 8  # past queries looked at for each entry wanted: the nearest often share their entry


class Neighbours:
    """The `count` entries of nearest text, as many of nearest past query, and of the fusion's own ranking."""

    def __init__(
        self,
        catalogue: Catalogue,
        past: Iterable[tuple[str, int]] = (),
        count: int = 10,
        texts: Sequence[str] | None = None,
        fusion: Fusion | None = None,
    ) -> None:
        """`past`: queries and the entry that was right. `texts`: what is compared in place of the entries'
        own texts, one each (a code says nothing). `fusion`: what `bonus` gives for resemblance.

        Raises InputError for an entry that does not exist or a count outside 1 to 256, CapacityError for
        more texts than an index holds.
        """
        if not 1 <= count <= MAX_COUNT:
            raise InputError(f"neighbours: expected a count from 1 to {MAX_COUNT}, got {count!r:.40}")
        pairs = list(past)
        self.count, self.fusion, self.num_past = count, fusion, len(pairs)
        self._entries = np.array([entry for _, entry in pairs], np.int64)
        size = catalogue.num_entries
        if texts is not None and len(texts) != size:
            raise InputError(f"neighbours: expected {size:,} texts, one per entry, got {len(texts):,}")
        if self._entries.size and not 0 <= self._entries.min() <= self._entries.max() < size:
            raise InputError(f"neighbours: expected past queries of entries 0 to {size - 1:,}")
        queries = [query for query, _ in pairs]
        own = texts if texts is not None else [catalogue.text(entry) for entry in range(size)]
        self._texts = LexicalIndex(own, queries)
        self._queries = LexicalIndex(queries) if any(query.strip() for query in queries) else None
        self._num_past = np.bincount(self._entries, minlength=size).astype(np.float64)

    def of(self, query: str) -> NDArray[np.int64]:
        """Distinct entries int64[m], the likest first; m <= 3 * count, 0 where nothing is shared."""
        found, likeness = self._texts.nearest(query, self.count)
        if self._queries is not None:
            near, cosines = self._queries.nearest(query, self.count * _QUERIES_PER_ENTRY)
            entries = self._entries[near]
            first = _first_of_each(entries)[: self.count]
            found, likeness = np.append(found, entries[first]), np.append(likeness, cosines[first])
        found = found[np.argsort(-likeness, kind="stable")]
        if self.fusion is not None:
            alone = self.fusion.without_model(self.features(query))
            found = np.append(found, np.argsort(-alone, kind="stable")[: self.count])
        return found[_first_of_each(found)]

    def features(self, query: str) -> NDArray[np.float64]:
        """float64[N, 5]: what `Fusion` weighs, of every entry."""
        past = np.zeros(self._num_past.size)
        if self._queries is not None:
            np.maximum.at(past, self._entries, self._queries.cosines(query).astype(np.float64))
        return features_of(self._texts.cosines(query).astype(np.float64), past, self._num_past)

    def bonus(self, query: str) -> NDArray[np.float64] | None:
        """float64[N]: what the fusion adds to each entry's score for `query`; None without a fusion."""
        return None if self.fusion is None else self.fusion.bonus(self.features(query))


def _first_of_each(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each distinct value stands first, ascending."""
    return np.sort(np.unique(values, return_index=True)[1])
