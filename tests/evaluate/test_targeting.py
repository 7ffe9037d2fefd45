"""The targeting report: its numbers worked out by hand, its intervals by the metric's own law."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from adtrie.errors import AdtrieError, CapacityError, ModelError
from adtrie.evaluate.metrics import paired_bootstrap
from adtrie.evaluate.questions import Counts, Question, Questions
from adtrie.evaluate.targeting import BOTH, MAX_EXAMPLES, OURS, SEED, measure_targeting, score

COUNTS = Counts(asked=4, train=3, unknown_labels=1, unusable=0, train_also_asked=0, notes=())
ENTRIES = {"red hat": "red hat", "blue hat": "blue hat", "4711": "cologne water"}


@dataclass(frozen=True)
class FakeHit:
    text: str
    score: float


@dataclass(frozen=True)
class FakeAnswer:
    hits: tuple[FakeHit, ...]
    gap: float
    forwards: int
    rows: int
    ms: float


def answer(*texts: str, ms: float = 1.0, gap: float = 0.0, forwards: int = 3) -> FakeAnswer:
    hits = tuple(FakeHit(text, -float(at)) for at, text in enumerate(texts, start=1))
    return FakeAnswer(hits, gap, forwards, 10 * forwards, ms)


def question(query: str, label: str, *right: str) -> Question:
    return Question(query, label, frozenset(right))


QUESTIONS = Questions(
    groups={
        "warm": (
            question("a red hat", "red hat", "red hat"),
            question("a blue one", "b", "blue hat", "red hat"),
            question("cologne", "4711", "4711"),
        ),
        "cold": (question("beret", "beret"),),
    },
    train=(("hat red", "red hat"), ("perfume", "4711"), ("hats red", "red hat")),
    titles=ENTRIES,
    counts=COUNTS,
)
ANSWERS = {
    "a red hat": answer("red hat", "blue hat", ms=4.0),
    "a blue one": answer("4711", "blue hat", "red hat", ms=2.0, gap=1.0, forwards=5),
    "cologne": answer("red hat", "invented", ms=3.0, gap=math.inf, forwards=4),
    "beret": answer("red hat", ms=9.0),
}


def test_the_numbers_by_hand() -> None:
    pytest.importorskip("sklearn")
    seen: list[tuple[int, int]] = []
    report = measure_targeting(
        "t", QUESTIONS, ANSWERS.__getitem__, 3, setting={"k": 3}, advance=lambda *at: seen.append(at)
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (report.task, report.setting, report.counts) == ("t", {"k": 3}, COUNTS)
    by_method = {(one.group, one.method): one for one in report.scores}
    assert [name for group, name in by_method if group == "warm"] == [
        OURS,
        "TF-IDF on labels",
        "nearest training query",
        "popularity",
    ]
    ours = by_method["warm", OURS]
    assert ours.recall == pytest.approx((1 / 3, 2 / 3, 2 / 3))
    assert ours.mrr == pytest.approx((1 + 1 / 2) / 3)
    assert ours.validity == pytest.approx(6 / 7)
    assert ours.num_rows == 3 and ours.ahead_at_1 is None
    assert ours.at_1 == paired_bootstrap([1, 0, 0], [0, 0, 0], seed=SEED)
    popular = by_method["warm", "popularity"]  # red hat, 4711, blue hat for every query
    assert popular.recall == pytest.approx((2 / 3, 1.0, 1.0))
    assert popular.ahead_at_1 == paired_bootstrap([1, 0, 0], [1, 1, 0], seed=SEED)
    assert popular.ahead_at_k == paired_bootstrap([1, 1, 0], [1, 1, 1], seed=SEED)
    assert by_method["warm", "TF-IDF on labels"].recall == (1.0, 1.0, 1.0)  # 4711 by its title
    unknown = by_method["cold", OURS]
    assert (unknown.recall, unknown.mrr, unknown.validity) == ((0.0, 0.0, 0.0), 0.0, 1.0)
    both = by_method[BOTH, OURS]
    assert both.num_rows == 4 and both.recall == pytest.approx((1 / 4, 2 / 4, 2 / 4))
    assert by_method[BOTH, "popularity"].ahead_at_1 == paired_bootstrap([1, 0, 0, 0], [1, 1, 0, 0], seed=SEED)
    warm, cold = report.costs
    assert (warm.p50_ms, warm.p99_ms, warm.forwards, warm.rows) == (3.0, 4.0, 4.0, 40.0)
    assert (warm.num_requests, warm.num_proven, warm.num_refused) == (3, 1, 0)
    assert (warm.ms_percentiles[0], warm.ms_percentiles[100], len(warm.ms_percentiles)) == (2.0, 4.0, 101)
    assert cold.group == "cold" and cold.p50_ms == 9.0


def test_examples_are_the_first_right_and_the_first_wrong() -> None:
    report = measure_targeting("t", QUESTIONS, ANSWERS.__getitem__, 3, with_floors=False)
    assert [(one.group, one.method) for one in report.scores] == [
        ("warm", OURS),
        ("cold", OURS),
        (BOTH, OURS),
    ]
    assert [(one.query, one.rank) for one in report.examples] == [
        ("a red hat", 1),
        ("a blue one", 2),
        ("cologne", 0),
        ("beret", 0),
    ]
    blue, cologne, beret = report.examples[1:]
    assert blue.label == "blue hat" and cologne.label == "4711 cologne water" and beret.label == "beret"
    assert blue.top == (("4711 cologne water", -1.0), ("blue hat", -2.0), ("red hat", -3.0))
    many = tuple(question(str(at), "red hat", "red hat") for at in range(20))
    asked = Questions({"all": many}, (), ENTRIES, COUNTS)
    shown = measure_targeting("t", asked, lambda query: ANSWERS["beret"], 3, with_floors=False).examples
    assert [one.query for one in shown] == [str(at) for at in range(MAX_EXAMPLES)]


def test_queries_that_do_not_fit_are_misses() -> None:
    def ask(query: str) -> FakeAnswer:
        if query in ("a red hat", "beret"):
            raise CapacityError("too long")
        return ANSWERS[query]

    report = measure_targeting("t", QUESTIONS, ask, 3, with_floors=False)
    assert report.scores[0].recall == pytest.approx((0.0, 1 / 3, 1 / 3))
    assert [(one.num_requests, one.num_refused) for one in report.costs] == [(2, 1), (0, 1)]
    assert math.isnan(report.costs[1].p50_ms) and report.scores[1].validity is None


@pytest.mark.parametrize("error", [CapacityError("too long"), ModelError("broken")])
def test_a_model_that_answers_nothing_ends_it(error: AdtrieError) -> None:
    def ask(query: str) -> FakeAnswer:
        raise error

    with pytest.raises(type(error), match=str(error)):
        measure_targeting("t", QUESTIONS, ask, 3, with_floors=False)


def test_an_interval_holds_its_value_and_equal_methods_have_no_difference() -> None:
    rng = np.random.default_rng(0)
    rows = [question(str(at), "red hat", "red hat") for at in range(200)]
    ranked = [["red hat"] if good else ["blue hat"] for good in rng.random(200) < 0.7]
    ours = score("all", OURS, ranked, rows, 1, ENTRIES)
    assert ours.at_1.low < ours.recall[0] == ours.at_1.mean < ours.at_1.high
    assert ours.at_1.high - ours.at_1.low == pytest.approx(2 * 1.96 * math.sqrt(0.7 * 0.3 / 200), rel=0.2)
    places = np.array([1 if texts == ["red hat"] else 0 for texts in ranked])
    same = score("all", "same", ranked, rows, 1, ENTRIES, places)
    assert same.ahead_at_1 is not None and (same.ahead_at_1.low, same.ahead_at_1.high) == (0.0, 0.0)
