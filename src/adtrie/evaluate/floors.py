"""The floors: what string retrieval, memory of the training queries, and popularity get without a model.

TF-IDF needs scikit-learn (the [demo] extra), imported when a floor is made. Knows no task and no metric.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import AdtrieError, InputError

MAX_TEXTS = 400_000
_QUERIES_PER_CHUNK = 64  # bounds the dense score block at 64 x num_texts float32, 100 MB at most


class Floor(Protocol):
    """What every floor does."""

    def rank(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """The k best keywords of each query, best first."""


class TfidfFloor:
    """Ranks keywords by the cosine of TF-IDF vectors of character 3- to 5-grams within words, lower-cased."""

    def __init__(
        self, keywords: Sequence[str], queries: Sequence[str] = (), titles: Sequence[str] | None = None
    ) -> None:
        """Learns document frequencies from the keywords and, where given, from (training) queries.

        `titles`: the readable text of each keyword, compared in its place (a code says nothing). Labels of
        queries are never used. Frequencies of queries matter: PriceRunner R@1 is 0.76 without and 0.80 with
        the train titles. Raises InputError if no keyword holds a character to compare, AdtrieError without
        scikit-learn.
        """
        self._keywords = list(keywords)
        self._texts = _Cosines(list(titles or keywords), queries)

    def rank(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """The k best keywords of each query, best first; ties go to the keyword that was given first."""
        _check_k(k)
        return [[self._keywords[at] for at in _best(row, k)] for row in self._texts.rows(queries)]


class NearestQueryFloor:
    """Answers with the labels of the training queries most like a query, by the same vectors."""

    def __init__(self, queries: Sequence[str], labels: Sequence[str]) -> None:
        """Raises InputError without a query that holds a character, AdtrieError without scikit-learn."""
        if len(queries) != len(labels):
            raise InputError(f"{len(queries)} queries for {len(labels)} labels; expected one label per query")
        self._labels = list(labels)
        self._texts = _Cosines(list(queries))

    def rank(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """The first k distinct labels by their nearest query; ties go to the query that was given first."""
        _check_k(k)
        return [self._distinct(_best(row, row.size), k) for row in self._texts.rows(queries)]

    def _distinct(self, order: NDArray[np.int64], k: int) -> list[str]:
        found: dict[str, None] = {}
        for at in order:
            found.setdefault(self._labels[at])
            if len(found) == k:
                break
        return list(found)


class PopularityFloor:
    """Answers every query with the most frequent labels of the training rows."""

    def __init__(self, labels: Sequence[str], keywords: Sequence[str]) -> None:
        """Ties, and keywords that no row asks for, keep the order of `keywords`."""
        count = Counter(labels)
        self._ranked = sorted(keywords, key=lambda keyword: -count[keyword])

    def rank(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """The same k keywords for each query."""
        _check_k(k)
        return [self._ranked[:k] for _ in queries]


class _Cosines:
    """Cosines of queries with fixed texts."""

    def __init__(self, texts: Sequence[str], fitted_too: Sequence[str] = ()) -> None:
        if not any(text.strip() for text in texts):
            raise InputError(f"a TF-IDF floor needs a text with characters; got {len(texts)} without")
        if len(texts) > MAX_TEXTS:
            raise InputError(
                f"a TF-IDF floor holds at most {MAX_TEXTS:,} texts, got {len(texts):,}; "
                "measure without floors (--no-floors)"
            )
        self._vectorizer = _vectorizer()
        self._vectorizer.fit([*texts, *fitted_too])
        self._matrix = self._vectorizer.transform(texts).T.tocsr()

    def rows(self, queries: Sequence[str]) -> Iterator[NDArray[np.float32]]:
        """float32[num_texts] for each query."""
        for start in range(0, len(queries), _QUERIES_PER_CHUNK):
            block = self._vectorizer.transform(list(queries[start : start + _QUERIES_PER_CHUNK]))
            yield from (block @ self._matrix).toarray()


def _check_k(k: int) -> None:
    if k < 1:
        raise InputError(f"k is {k}; expected 1 or more")


def _best(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Indices of the k largest scores, ordered by (score descending, index ascending)."""
    return np.argsort(-scores, kind="stable")[:k]


def _vectorizer() -> Any:
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError as error:
        raise AdtrieError(
            "the TF-IDF floor needs scikit-learn, which is not installed; run: pip install 'adtrie[demo]'"
        ) from error
    return TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, dtype=np.float32)
