"""Corpus metrics of texts as sums of counts per text, so that an interval is a resampling of the texts.

The values are those of `text_metrics` and `coverage`. Knows no task and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import InputError
from adtrie.evaluate.coverage import covered
from adtrie.evaluate.meteor import Matches, best_matches
from adtrie.evaluate.metrics import Interval
from adtrie.evaluate.text_metrics import References, bleu_metric, rouge_l, words

RESAMPLES, LEVEL = 1000, 0.95


@dataclass(frozen=True, eq=False)
class Summed:
    """A metric: counts float64[n, c], a row for each text, and the value as a function of their sum."""

    counts: NDArray[np.float64]
    value_of: Callable[[NDArray[np.float64]], float]

    @property
    def value(self) -> float:
        """Of all texts."""
        return self.value_of(self.counts.sum(axis=0))

    def interval(self, seed: int) -> Interval:
        """The value with its percentile bootstrap."""
        return _interval(self.value, self.resampled(seed))

    def ahead_of(self, other: Summed, seed: int) -> Interval:
        """This value minus that of other texts for the same references, which are resampled together."""
        if len(self.counts) != len(other.counts):
            raise InputError(f"{len(self.counts)} and {len(other.counts)} texts; expected as many")
        return _interval(self.value - other.value, self.resampled(seed) - other.resampled(seed))

    def resampled(self, seed: int) -> NDArray[np.float64]:
        """float64[RESAMPLES] values; with the same seed, the same texts are drawn for every metric."""
        rng = np.random.default_rng(seed)
        num = len(self.counts)
        drawn = (self.counts[rng.integers(0, num, num)] for _ in range(RESAMPLES))
        return np.array([self.value_of(rows.sum(axis=0)) for rows in drawn])


@dataclass(frozen=True)
class TextMetrics:
    """The metrics of texts against their references; `slots` (name, value) of each text for coverage."""

    texts: Sequence[str]
    references: References
    slots: Sequence[Sequence[tuple[str, str]]]
    language: str = "en"

    @cached_property
    def summed(self) -> dict[str, Summed]:
        """bleu, meteor, rouge_l; coverage (share of facts) and complete (share of texts) where slots are."""
        pairs = list(zip(self.texts, self.references, strict=True))
        metric = bleu_metric(self.language)
        metrics = {
            "bleu": Summed(_rows(_bleu_counts(metric, *pair) for pair in pairs), partial(_bleu, metric)),
            "meteor": Summed(_rows(_meteor_counts(*pair) for pair in pairs), _meteor),
            "rouge_l": _mean(rouge_l([text], [refs]) for text, refs in pairs),
        }
        if any(self.slots):
            stated = [covered(*pair).values() for pair in zip(self.texts, self.slots, strict=True)]
            metrics["coverage"] = Summed(_rows([sum(facts), len(facts)] for facts in stated), _share)
            metrics["complete"] = _mean(float(all(facts)) for facts in stated)
        return metrics


def _interval(value: float, resampled: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), LEVEL)


def _bleu_counts(metric: Any, text: str, references: Sequence[str]) -> list[int]:
    """Matched and all n-grams of lengths 1 to 4, words of the text and of its nearest reference."""
    found = metric.corpus_score([text], [[reference] for reference in references])
    return [*found.counts, *found.totals, found.sys_len, found.ref_len]


def _bleu(metric: Any, counts: NDArray[np.float64]) -> float:
    *grams, text_len, reference_len = (int(count) for count in counts)
    half = len(grams) // 2
    found = metric.compute_bleu(
        correct=grams[:half],
        total=grams[half:],
        sys_len=text_len,
        ref_len=reference_len,
        smooth_method=metric.smooth_method,
    )
    return float(found.score) / 100


def _meteor_counts(text: str, references: Sequence[str]) -> list[int]:
    found = best_matches(words(text), [words(reference) for reference in references])
    return [found.exact, found.stems, found.chunks, found.text_len, found.reference_len]


def _meteor(counts: NDArray[np.float64]) -> float:
    return Matches(*(int(count) for count in counts)).score()


def _mean(values: Iterable[float]) -> Summed:
    return Summed(_rows([value, 1.0] for value in values), _share)


def _share(counts: NDArray[np.float64]) -> float:
    return float(counts[0] / counts[1]) if counts[1] else 0.0


def _rows(rows: Iterable[Sequence[float]]) -> NDArray[np.float64]:
    return np.array(list(rows), dtype=np.float64)
