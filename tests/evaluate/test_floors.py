"""The floors: brute force, tie rules, quality on PriceRunner, and the message without scikit-learn."""

from __future__ import annotations

import itertools
import math
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adtrie.errors import AdtrieError, InputError
from adtrie.evaluate import TfidfFloor, load_task, ranks, recall_at_k
from adtrie.evaluate.floors import NearestQueryFloor, PopularityFloor


def test_floor_on_pricerunner_is_the_published_one() -> None:
    pytest.importorskip("sklearn")
    task = load_task("pricerunner")
    rows = task.sample("test", 500)
    floor = TfidfFloor(task.keywords, [row.query for row in task.rows_of("train")])
    found = ranks(floor.rank([row.query for row in rows], 10), [row.label for row in rows])
    assert recall_at_k(found, 1) == pytest.approx(0.80, abs=0.03)
    assert recall_at_k(found, 10) == pytest.approx(0.93, abs=0.02)


def test_ties_and_unknown_queries_keep_the_order_of_the_keywords() -> None:
    pytest.importorskip("sklearn")
    floor = TfidfFloor(["zebra", "Apple Phone", "apple phone", "bread"])
    assert floor.rank(["apple phone", "", "0000"], 3) == [
        ["Apple Phone", "apple phone", "zebra"],
        ["zebra", "Apple Phone", "apple phone"],
        ["zebra", "Apple Phone", "apple phone"],
    ]
    assert floor.rank([], 3) == []
    assert len(floor.rank(["apple"], 10)[0]) == 4


def test_bad_arguments_are_input_errors() -> None:
    pytest.importorskip("sklearn")
    with pytest.raises(InputError):
        TfidfFloor([])
    with pytest.raises(InputError):
        TfidfFloor(["", "  "])
    with pytest.raises(InputError):
        TfidfFloor(["a phone"]).rank(["a"], 0)


def test_without_scikit_learn_the_error_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    with pytest.raises(AdtrieError, match=r"pip install 'adtrie\[demo\]'"):
        TfidfFloor(["apple"])


def cosines(texts: list[str], fitted_too: list[str], query: str) -> list[float]:
    """Cosines of a query with texts from the plain definition: (1 + ln tf) * (ln((1 + n) / (1 + df)) + 1)."""

    def grams(text: str) -> Counter[str]:
        words = [f" {word} " for word in text.lower().split()]
        return Counter(
            word[at : at + n] for word in words for n in (3, 4, 5) for at in range(len(word) - n + 1)
        )

    known = [grams(text) for text in [*texts, *fitted_too]]
    df = Counter(gram for counted in known for gram in counted)

    def vector(text: str) -> dict[str, float]:
        raw = {
            gram: (1 + math.log(tf)) * (math.log((1 + len(known)) / (1 + df[gram])) + 1)
            for gram, tf in grams(text).items()
            if gram in df
        }
        norm = math.sqrt(sum(value**2 for value in raw.values())) or 1.0
        return {gram: value / norm for gram, value in raw.items()}

    asked = vector(query)
    return [sum(value * vector(text).get(gram, 0.0) for gram, value in asked.items()) for text in texts]


WORDS = ["apple phone", "bosch fridge", "green apple", "phones", "hat"]
TEXTS = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join), min_size=1, max_size=8
)


@given(TEXTS, st.sampled_from([*WORDS, "an apple a day", "hats"]), st.integers(1, 9), st.data())
def test_nearest_query_is_the_brute_force(texts: list[str], query: str, k: int, data: st.DataObject) -> None:
    pytest.importorskip("sklearn")
    labels = data.draw(st.lists(st.sampled_from("ABC"), min_size=len(texts), max_size=len(texts)))
    expected = cosines(texts, [], query)
    (ranked,) = NearestQueryFloor(texts, labels).rank([query], k)
    assert len(ranked) == len(set(ranked)) == min(k, len(set(labels)))
    best = {
        label: max(s for s, own in zip(expected, labels, strict=True) if own == label) for label in labels
    }
    shown = [best[label] for label in ranked]
    others = [best[label] for label in best if label not in ranked]
    assert (
        shown == sorted(shown, reverse=True)
        or max(later - earlier for earlier, later in itertools.pairwise(shown)) < 1e-5
    )
    assert all(value <= min(shown) + 1e-5 for value in others)


def test_nearest_query_ties_keep_the_order_given() -> None:
    pytest.importorskip("sklearn")
    floor = NearestQueryFloor(["apple phone", "Apple  phone", "bread"], ["second", "first", "third"])
    assert floor.rank(["apple phone", "0000"], 2) == [["second", "first"]] * 2


def test_titles_stand_for_their_keywords() -> None:
    pytest.importorskip("sklearn")
    floor = TfidfFloor(["4711", "4712"], ["perfumes"], titles=["soap", "perfume"])
    assert floor.rank(["perfume", "soap"], 1) == [["4712"], ["4711"]]


@given(st.lists(st.sampled_from("abcx")), st.integers(1, 6))
def test_popularity_is_the_brute_force(labels: list[str], k: int) -> None:
    expected = sorted("cab", key=lambda name: (-labels.count(name), "cab".index(name)))
    assert PopularityFloor(labels, list("cab")).rank(["q", "r"], k) == [expected[:k]] * 2


def test_too_many_texts_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr("adtrie.evaluate.floors.MAX_TEXTS", 2)
    TfidfFloor(["one", "two"])
    with pytest.raises(InputError, match="--no-floors"):
        TfidfFloor(["one", "two", "three"])


def test_bad_arguments_of_the_other_floors() -> None:
    pytest.importorskip("sklearn")
    for call in (
        lambda: NearestQueryFloor(["a"], []),
        lambda: NearestQueryFloor([], []),
        lambda: NearestQueryFloor(["a b"], ["l"]).rank(["a"], 0),
        lambda: PopularityFloor(["a"], ["a"]).rank(["a"], 0),
    ):
        with pytest.raises(InputError):
            call()
