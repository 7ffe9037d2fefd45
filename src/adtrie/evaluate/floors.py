"""The TF-IDF floor: what plain character n-gram retrieval over the keyword strings gets without any model.

Needs scikit-learn (the [demo] extra), imported when a floor is made. Knows no task and no metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import AdtrieError, InputError

_QUERIES_PER_CHUNK = 64  # bounds the dense score block at 64 x num_keywords float32


class TfidfFloor:
    """Ranks keywords by the cosine of TF-IDF vectors of character 3- to 5-grams within words, lower-cased."""

    def __init__(self, keywords: Sequence[str], queries: Sequence[str] = ()) -> None:
        """Learns document frequencies from the keywords and, where given, from (training) queries.

        Labels are never used. Frequencies of queries matter: PriceRunner R@1 is 0.76 without and 0.80 with
        the train titles. Raises InputError if no keyword holds a character to compare, AdtrieError without
        scikit-learn.
        """
        if not any(keyword.strip() for keyword in keywords):
            raise InputError(f"the TF-IDF floor needs a keyword with text; got {len(keywords)} without")
        self._keywords = list(keywords)
        self._vectorizer = _vectorizer()
        self._vectorizer.fit([*self._keywords, *queries])
        self._matrix = self._vectorizer.transform(self._keywords).T.tocsr()

    def rank(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """The k best keywords of each query, best first; ties go to the keyword that was given first."""
        if k < 1:
            raise InputError(f"k is {k}; expected 1 or more")
        ranked: list[list[str]] = []
        for start in range(0, len(queries), _QUERIES_PER_CHUNK):
            block = self._vectorizer.transform(list(queries[start : start + _QUERIES_PER_CHUNK]))
            scores = (block @ self._matrix).toarray()
            ranked += [[self._keywords[entry] for entry in _best(row, k)] for row in scores]
        return ranked


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
