"""Metrics as sums of counts: equal to their plain definitions, resampled like them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.errors import InputError
from adtrie.evaluate import bleu, coverage, meteor, rouge_l
from adtrie.evaluate.resampling import RESAMPLES, Summed, TextMetrics

WORDS = st.lists(
    st.sampled_from(["the", "eagle", "is", "cheap", "pub", "pubs", "near", ".", ","]),
    max_size=12,
)
TEXT = WORDS.map(" ".join)
PAIRS = st.lists(st.tuples(TEXT, st.lists(TEXT, min_size=1, max_size=3)), min_size=1, max_size=5)
SLOTS = (("name", "The Eagle"), ("eatType", "pub"))


@given(PAIRS)
@settings(deadline=None)
def test_values_are_those_of_the_plain_metrics(pairs: list[tuple[str, list[str]]]) -> None:
    pytest.importorskip("sacrebleu")
    texts, references = [text for text, _ in pairs], [refs for _, refs in pairs]
    slots = [SLOTS] * len(texts)
    summed = TextMetrics(texts, references, slots).summed
    facts = coverage(texts, slots)
    assert {name: metric.value for name, metric in summed.items()} == pytest.approx(
        {
            "bleu": bleu(texts, references),
            "meteor": meteor(texts, references),
            "rouge_l": rouge_l(texts, references),
            "coverage": facts.facts,
            "complete": facts.texts,
        }
    )


def test_chinese_is_tokenized_by_its_own_rule() -> None:
    pytest.importorskip("sacrebleu")
    texts, references = ["自然语言处理"], [["自然语言的处理"]]
    found = TextMetrics(texts, references, [()], "zh").summed
    assert found["bleu"].value == pytest.approx(bleu(texts, references, language="zh")) != 0
    assert set(found) == {"bleu", "meteor", "rouge_l"}


def ratio(sums: np.ndarray) -> float:  # type: ignore[type-arg]
    return float(sums[0] / sums[1])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), min_size=1, max_size=9), st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_resampling_is_that_of_the_rows(rows: list[tuple[int, int]], seed: int) -> None:
    counts = np.array(rows, dtype=np.float64)
    metric = Summed(counts, ratio)
    rng = np.random.default_rng(seed)
    expected = []
    for _ in range(RESAMPLES):
        drawn = [rows[at] for at in rng.integers(0, len(rows), len(rows))]
        expected.append(sum(top for top, _ in drawn) / sum(bottom for _, bottom in drawn))
    assert metric.resampled(seed).tolist() == pytest.approx(expected)
    interval = metric.interval(seed)
    assert interval.mean == pytest.approx(counts[:, 0].sum() / counts[:, 1].sum())
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(expected, [0.025, 0.975])))


def test_a_difference_is_paired() -> None:
    rng = np.random.default_rng(1)
    hard = rng.random(60)  # texts differ much, the two methods by a constant
    ours, theirs = (Summed(np.stack([hard + shift, np.ones(60)], axis=1), ratio) for shift in (0.1, 0.0))
    ahead = ours.ahead_of(theirs, seed=0)
    assert (ahead.mean, ahead.low, ahead.high) == pytest.approx((0.1, 0.1, 0.1))
    assert ours.interval(0).high - ours.interval(0).low > 0.1
    with pytest.raises(InputError):
        ours.ahead_of(Summed(np.ones((3, 2)), ratio), seed=0)
