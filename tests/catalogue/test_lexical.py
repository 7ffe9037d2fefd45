"""The lexical index gives scikit-learn's cosines and its order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adtrie.catalogue import native
from adtrie.catalogue.lexical import LexicalIndex
from adtrie.errors import CapacityError, InputError

text_features = pytest.importorskip("sklearn.feature_extraction.text")
letters = st.text(alphabet="abcAB \t\nß字é-1", max_size=14)


def oracle(texts: list[str], more: list[str], query: str) -> Any:
    vectorizer = text_features.TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    vectorizer.fit([*texts, *more])
    return (vectorizer.transform([query]) @ vectorizer.transform(texts).T).toarray()[0]


@given(st.lists(letters, min_size=1, max_size=8), st.lists(letters, max_size=4), letters)
def test_cosines_are_those_of_scikit_learn(texts: list[str], more: list[str], query: str) -> None:
    if not any(text.strip() for text in texts):
        with pytest.raises(InputError, match="needs a text with characters"):
            LexicalIndex(texts, more)
        return
    index = LexicalIndex(texts, more)
    cosines = index.cosines(query)
    np.testing.assert_allclose(cosines, oracle(texts, more, query), atol=1e-6)
    for k in (1, 2, len(texts), 20):
        at, values = index.nearest(query, k)
        order = [i for i in np.argsort(-cosines, kind="stable") if cosines[i] > 0][:k]
        assert at.tolist() == order and values.tolist() == cosines[order].tolist()


@given(st.lists(letters, min_size=1, max_size=8), st.text(alphabet="abcAB \t\nß字é-1\ud800", max_size=60))
def test_native_cosines_equal_plain_ones(texts: list[str], query: str) -> None:
    index = LexicalIndex(["a", *texts])
    assert native.trie is not None
    assert index.cosines(query).tobytes() == index.plain_cosines(query).tobytes()


def test_native_code_refuses_an_index_that_does_not_fit_itself() -> None:
    index = LexicalIndex(["abc", "abd"])
    for damaged in ("_ptr", "_docs"):
        kept = getattr(index, damaged)
        setattr(index, damaged, kept + 1_000)
        with pytest.raises(ValueError, match="beyond"):
            index.cosines("abc abd")
        setattr(index, damaged, kept)


def test_many_texts_in_several_chunks_equal_one() -> None:
    texts = [f"item {n} of {n % 7} kinds" for n in range(9000)]
    index = LexicalIndex(texts)
    at, values = index.nearest("item 8123 of 3 kinds", 1)
    assert at.tolist() == [8123] and values[0] == pytest.approx(1, abs=1e-6)


def test_limits() -> None:
    with pytest.raises(CapacityError, match="at most 400,000 texts"):
        LexicalIndex(["a"] * 400_001)
    with pytest.raises(InputError):
        LexicalIndex([])
