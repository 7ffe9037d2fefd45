"""Targeting measured: a model and the floors on the same questions, with intervals by resampling the rows.

Knows the model as a function that answers; every choice by chance has a fixed seed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import CapacityError, InputError
from adtrie.evaluate.floors import Floor, NearestQueryFloor, PopularityFloor, TfidfFloor
from adtrie.evaluate.metrics import Interval, mrr, paired_bootstrap, percentiles, recall_at_k
from adtrie.evaluate.questions import Counts, Question, Questions

SEED = 0
OURS, BOTH = "adtrie", "both"
MAX_EXAMPLES = 6  # right ones and wrong ones of each group
Advance = Callable[[int, int], None]


class Found(Protocol):
    """One entry of an answer."""

    @property
    def text(self) -> str: ...
    @property
    def score(self) -> float: ...


class Answer(Protocol):
    """What is read of `Hits`."""

    @property
    def hits(self) -> Sequence[Found]: ...
    @property
    def gap(self) -> float: ...
    @property
    def forwards(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def ms(self) -> float: ...


@dataclass(frozen=True)
class Score:
    """A method on a group. `recall[i]` is recall at i + 1; `mrr` counts ranks up to the last of these.

    `at_1` and `at_k` are the first and last recall with their intervals, `ahead_at_1` and `ahead_at_k` ours
    minus this floor on the same rows; `validity` the share of returned texts that are entries.
    """

    group: str
    method: str
    num_rows: int
    recall: tuple[float, ...]
    mrr: float
    validity: float | None
    at_1: Interval
    at_k: Interval
    ahead_at_1: Interval | None
    ahead_at_k: Interval | None


@dataclass(frozen=True)
class RequestCost:
    """Requests of a group: milliseconds p50, p99 and percentiles 0..100, median forwards and rows.

    `num_proven` answers had gap 0; `num_refused` queries did not fit the model and count as misses.
    """

    group: str
    num_requests: int
    p50_ms: float
    p99_ms: float
    forwards: float
    rows: float
    num_proven: int
    num_refused: int
    ms_percentiles: tuple[float, ...]


@dataclass(frozen=True)
class Example:
    """A question, the rank of its label in the answer (0: absent), and the best three as (text, score)."""

    group: str
    query: str
    label: str
    rank: int
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class TargetingReport:
    """All of one evaluation; `setting` says of what, in words and numbers."""

    task: str
    setting: Mapping[str, object]
    counts: Counts
    scores: tuple[Score, ...]
    costs: tuple[RequestCost, ...]
    examples: tuple[Example, ...]
    seconds: float

    @property
    def defect(self) -> str | None:
        """The promise that was not kept: every answer is an entry."""
        valid = all(one.validity in (None, 1.0) for one in self.scores if one.method == OURS)
        return None if valid else "some answers are no entries of the catalogue."


def measure_targeting(
    task: str,
    questions: Questions,
    ask: Callable[[str], Answer],
    k: int,
    *,
    with_floors: bool = True,
    more_floors: Mapping[str, Floor] | None = None,
    setting: Mapping[str, object] | None = None,
    advance: Advance = lambda done, total: None,
) -> TargetingReport:
    """Asks everything and compares. Floors come first, so that what they lack is known before the long part.

    Warm and cold rows are also scored together, as BOTH.

    Raises AdtrieError where a floor needs a package that is missing, and whatever `ask` raises, except for
    InputError and CapacityError of single queries: these are misses, unless all are.
    """
    started = time.perf_counter()
    floors = {**_floors(questions), **(more_floors or {})} if with_floors else {}
    ranked_by = {
        (group, name): floor.rank([row.query for row in rows], k)
        for group, rows in questions.groups.items()
        for name, floor in floors.items()
    }
    answers_by = _ask_all(questions, ask, advance)
    for group, answers in answers_by.items():
        ranked_by[group, OURS] = [[hit.text for hit in one.hits] if one else [] for one in answers]
    groups: dict[str, Sequence[Question]] = dict(questions.groups)
    if len(groups) > 1:
        groups[BOTH] = [row for rows in questions.groups.values() for row in rows]
        for name in (OURS, *floors):
            ranked_by[BOTH, name] = [texts for group in questions.groups for texts in ranked_by[group, name]]
    scores: list[Score] = []
    examples: list[Example] = []
    for group, rows in groups.items():
        places = ranks_of(ranked_by[group, OURS], rows)
        scores.append(score(group, OURS, ranked_by[group, OURS], rows, k, questions.titles))
        scores += [
            score(group, name, ranked_by[group, name], rows, k, questions.titles, places) for name in floors
        ]
        if group in answers_by:
            examples += _examples(group, rows, answers_by[group], places, questions.titles)
    return TargetingReport(
        task=task,
        setting=setting or {},
        counts=questions.counts,
        scores=tuple(scores),
        costs=tuple(_cost(group, answers) for group, answers in answers_by.items()),
        examples=tuple(examples),
        seconds=round(time.perf_counter() - started, 1),
    )


def score(
    group: str,
    method: str,
    ranked: Sequence[Sequence[str]],
    rows: Sequence[Question],
    k: int,
    entries: Container[str],
    ours: NDArray[np.int64] | None = None,
) -> Score:
    """Metrics of ranked texts; `ours` are the ranks that the method is compared with, row by row."""
    places = ranks_of(ranked, rows)
    nothing = np.zeros(len(rows))
    returned = [text for texts in ranked for text in texts]

    def within(ranks: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
        return (ranks >= 1) & (ranks <= k)

    def ahead(k: int) -> Interval | None:
        return None if ours is None else paired_bootstrap(within(ours, k), within(places, k), seed=SEED)

    return Score(
        group=group,
        method=method,
        num_rows=len(rows),
        recall=tuple(recall_at_k(places, at) for at in range(1, k + 1)),
        mrr=mrr(places),
        validity=sum(text in entries for text in returned) / len(returned) if returned else None,
        at_1=paired_bootstrap(within(places, 1), nothing, seed=SEED),
        at_k=paired_bootstrap(within(places, k), nothing, seed=SEED),
        ahead_at_1=ahead(1),
        ahead_at_k=ahead(k),
    )


def ranks_of(ranked: Sequence[Sequence[str]], rows: Sequence[Question]) -> NDArray[np.int64]:
    """int64[n]: place of the first right text in each list, from 1; 0 where none is right."""
    found = [
        next((place for place, text in enumerate(texts, start=1) if text in row.right), 0)
        for texts, row in zip(ranked, rows, strict=True)
    ]
    return np.array(found, dtype=np.int64)


def _floors(questions: Questions) -> dict[str, Floor]:
    """Floors by name; those of training rows only where there are such rows."""
    texts, queries = list(questions.titles), [query for query, _ in questions.train]
    labels = [text for _, text in questions.train]
    floors: dict[str, Floor] = {
        "TF-IDF on labels": TfidfFloor(texts, queries, list(questions.titles.values()))
    }
    if queries:
        floors["nearest training query"] = NearestQueryFloor(queries, labels)
        floors["popularity"] = PopularityFloor(labels, texts)
    return floors


def _ask_all(
    questions: Questions, ask: Callable[[str], Answer], advance: Advance
) -> dict[str, list[Answer | None]]:
    """Answers by group, None where a query does not fit the model; raises the last refusal if none fits."""
    answers: dict[str, list[Answer | None]] = {group: [] for group in questions.groups}
    refusal: Exception | None = None
    todo = [(group, row.query) for group, rows in questions.groups.items() for row in rows]
    for number, (group, query) in enumerate(todo, start=1):
        try:
            answers[group].append(ask(query))
        except (InputError, CapacityError) as error:
            answers[group].append(None)
            refusal = error
        advance(number, len(todo))
    if refusal is not None and all(answer is None for given in answers.values() for answer in given):
        raise refusal
    return answers


def _cost(group: str, answers: Sequence[Answer | None]) -> RequestCost:
    given = [answer for answer in answers if answer is not None]
    ms = percentiles([answer.ms for answer in given], list(range(101))) if given else (math.nan,) * 101
    return RequestCost(
        group=group,
        num_requests=len(given),
        p50_ms=round(ms[50], 2),
        p99_ms=round(ms[99], 2),
        forwards=float(np.median([answer.forwards for answer in given])) if given else math.nan,
        rows=float(np.median([answer.rows for answer in given])) if given else math.nan,
        num_proven=sum(answer.gap == 0 for answer in given),
        num_refused=len(answers) - len(given),
        ms_percentiles=tuple(round(value, 2) for value in ms),
    )


def _examples(
    group: str,
    rows: Sequence[Question],
    answers: Sequence[Answer | None],
    places: NDArray[np.int64],
    titles: Mapping[str, str],
) -> list[Example]:
    """The first right and the first wrong ones in the order asked, which the text of a row decides."""
    right = [at for at, place in enumerate(places) if place == 1][:MAX_EXAMPLES]
    wrong = [at for at, place in enumerate(places) if place != 1][:MAX_EXAMPLES]
    made = []
    for at in right + wrong:
        answer = answers[at]
        hits = answer.hits[:3] if answer else ()
        top = tuple((_shown(hit.text, titles), round(hit.score, 3)) for hit in hits)
        label = next((_shown(text, titles) for text in sorted(rows[at].right)), rows[at].label)
        made.append(Example(group, rows[at].query, label, int(places[at]), top))
    return made


def _shown(text: str, titles: Mapping[str, str]) -> str:
    title = titles.get(text, text)
    return text if title == text else f"{text} {title}"
