"""Texts most like a query: cosines of TF-IDF vectors of character 3- to 5-grams within words.

The definition is scikit-learn's TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True);
tests compare. Knows strings and numbers, no catalogue and no model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue import native
from adtrie.errors import CapacityError, InputError

MAX_TEXTS = 400_000
MAX_GRAMS = 100_000_000  # of all texts together, repeated ones of a text once: 2 GB while the index is built
_SIZES = (3, 4, 5)
_FACTOR = 0x9E3779B97F4A7C15  # odd, so that a step of the hash loses nothing
_CHUNK = 4096  # texts counted at a time

Hashes = NDArray[np.uint64]


class LexicalIndex:
    """Texts by their grams, each known by a 64-bit hash: of 10^7 two agree by chance in one index of 10^5."""

    def __init__(self, texts: Sequence[str], more: Sequence[str] = ()) -> None:
        """`more` texts count in how rare a gram is, and are never found.

        Raises InputError if no text holds a character, CapacityError above MAX_TEXTS or MAX_GRAMS.
        """
        self.num_texts = len(texts)
        num_docs = len(texts) + len(more)
        if num_docs > MAX_TEXTS:
            raise CapacityError(f"a lexical index holds at most {MAX_TEXTS:,} texts, got {num_docs:,}")
        docs, grams, counts = _counted([*texts, *more])
        if not docs.size or docs[0] >= len(texts):
            raise InputError(f"a lexical index needs a text with characters; got {len(texts):,} without")
        order = np.argsort(grams, kind="stable")  # texts stay ascending under a gram
        grams, docs, counts = grams[order], docs[order], counts[order]
        self._grams, first = np.unique(grams, return_index=True)
        frequency = np.diff(first, append=grams.size)
        self._rarity = np.log((1 + num_docs) / (1 + frequency)) + 1
        weights = (1 + np.log(counts)) * np.repeat(self._rarity, frequency)
        norms = np.sqrt(np.bincount(docs, weights * weights, minlength=num_docs))
        found = docs < len(texts)
        self._docs = docs[found].astype(np.int32)
        self._weights = (weights / norms[docs])[found].astype(np.float32)
        kept = np.add.reduceat(found.astype(np.int64), first)
        self._ptr = np.concatenate(([0], np.cumsum(kept)))

    def cosines(self, query: str) -> NDArray[np.float32]:
        """float32[num_texts], 0 to 1; all 0 where the query shares no gram with any text."""
        if native.trie is None:
            return self.plain_cosines(query)
        letters = _letters(_words(query))
        of_count = 1 + np.log(np.arange(1, letters.size + 1))
        index = self._grams, self._rarity, self._ptr, self._docs, self._weights, self.num_texts
        return native.trie.cosines(letters, of_count, *index)

    def plain_cosines(self, query: str) -> NDArray[np.float32]:
        """`cosines` without native code, which gives the same to the bit."""
        _, grams, counts = _counted([query])
        place = np.searchsorted(self._grams, grams)
        place[place == self._grams.size] = 0
        known = self._grams[place] == grams
        place, weights = place[known], 1 + np.log(counts[known])
        weights *= self._rarity[place]
        first, count = self._ptr[place], np.diff(self._ptr)[place]
        postings = np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())
        length = np.sqrt((weights * weights).cumsum()[-1]) if weights.size else 1.0
        shared = np.repeat(weights / length, count) * self._weights[postings]
        return np.bincount(self._docs[postings], shared, minlength=self.num_texts).astype(np.float32)

    def nearest(self, query: str, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """At most k texts int64[m] that share a gram, and their cosines, best first; ties by position."""
        cosines = self.cosines(query)
        least = cosines.max() if k == 1 else np.partition(cosines, -k)[-k] if k < cosines.size else 0.0
        # All that tie with the last must be seen before position decides.
        near = np.flatnonzero((cosines >= least) & (cosines > 0))
        near = near[(-cosines[near]).argsort(kind="stable")][:k]
        return near, cosines[near]


def _counted(texts: Sequence[str]) -> tuple[NDArray[np.int64], Hashes, NDArray[np.int64]]:
    """(text, gram, times) of every gram of every text, ascending by text."""
    parts, total = [], 0
    for start in range(0, len(texts), _CHUNK):
        docs, grams, counts = _counted_chunk(texts[start : start + _CHUNK])
        total += docs.size
        if total > MAX_GRAMS:
            raise CapacityError(
                f"a lexical index holds at most {MAX_GRAMS:,} grams; give fewer or shorter texts"
            )
        parts.append((docs + start, grams, counts))
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.int64)
    doc, gram, count = (np.concatenate(column) for column in zip(*parts, strict=True))
    return doc, gram, count


def _words(text: str) -> list[str]:
    return [f" {word} " for word in text.lower().split()]


def _letters(words: Sequence[str]) -> NDArray[np.uint32]:
    """Code points of all words, one after the other."""
    return np.frombuffer("".join(words).encode("utf-32-le", "surrogatepass"), np.uint32)


def _counted_chunk(texts: Sequence[str]) -> tuple[NDArray[np.int64], Hashes, NDArray[np.int64]]:
    words = [_words(text) for text in texts]
    letters = _letters([word for row in words for word in row])
    lengths = np.array([len(word) for row in words for word in row], np.int64)
    owner = np.repeat(np.arange(len(texts)), [sum(map(len, row)) for row in words])
    room = np.repeat(np.cumsum(lengths), lengths) - np.arange(letters.size)  # letters left in the word
    docs, grams = [], []
    value = np.zeros(letters.size, np.uint64)
    for step in range(max(_SIZES)):
        value = value[: max(letters.size - step, 0)] * np.uint64(_FACTOR) + letters[step:] + np.uint64(1)
        if step + 1 in _SIZES:
            inside = room[: value.size] > step
            docs.append(owner[: value.size][inside])
            grams.append(value[inside])
    doc, gram = np.concatenate(docs), np.concatenate(grams)
    order = np.lexsort((gram, doc))
    doc, gram = doc[order], gram[order]
    new = np.ones(doc.size, bool)
    new[1:] = (doc[1:] != doc[:-1]) | (gram[1:] != gram[:-1])
    first = np.flatnonzero(new)
    return doc[first], gram[first], np.diff(first, append=doc.size)
