"""The demonstration: a real model, 12,613 keywords, quality beside a floor, time beside plain search; one ad.

Measures and returns numbers; how they are shown is the command line's business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from adtrie.api import Model, load_model
from adtrie.catalogue import Catalogue, Neighbours
from adtrie.demo.compression import Compressed, demonstrate
from adtrie.demo.writing import CREATE_TASK, AdText, write_ad
from adtrie.errors import ModelError
from adtrie.evaluate import (
    Pair,
    TfidfFloor,
    load_task,
    percentiles,
    ranks,
    recall_at_k,
)
from adtrie.models import shipped_adapters
from adtrie.request import Hits, Mode

Note = Callable[[str], None]
Progress = Callable[[str, float], None]  # what is done, the share of it
Advance = Callable[[int, int], None]
DEFAULT_MODEL, UNTUNED = "smollm2-135m", "none"
TARGET_TASK = "pricerunner"
TOLERANCE = 1e-5  # of a score: verify and stepwise ask the model the same questions


@dataclass(frozen=True)
class Plan:
    """What is measured: the model, its adapters to name entries and to write (None: untuned).

    Rows for quality, rows timed in all searches, rows for the dearest one.
    """

    model: str = DEFAULT_MODEL
    adapter: str | None = None
    writer: str | None = None
    num_listings: int = 10
    num_quality: int = 200
    num_timed: int = 40
    num_exact: int = 4
    width: int = 10
    preset: str | None = "demo"  # of compression; None: without it
    budget_s: float = 60.0  # for rows timed in every mode; a slow machine times fewer and says so


def plan_for(model: str, adapter: str | None = None, preset: str | None = "demo") -> Plan:
    """Plan with an adapter by name or folder, "none" for none; by default the shipped ones of both tasks."""
    shipped = shipped_adapters() if model == DEFAULT_MODEL and adapter != UNTUNED else []
    writer = CREATE_TASK if CREATE_TASK in shipped else None
    if adapter is None:
        return Plan(model, TARGET_TASK if TARGET_TASK in shipped else None, writer, preset=preset)
    return Plan(model, None if adapter == UNTUNED else adapter, writer, preset=preset)


@dataclass(frozen=True)
class Search:
    """One line of the speed table: a mode, how many entries it is asked for, whether a guess comes first."""

    mode: Mode
    k: int
    guessed: bool = False

    @property
    def label(self) -> str:
        """Mode and k as shown."""
        return f"{self.mode} k={self.k}" + (" guessed" if self.guessed else "")


STEPWISE, VERIFY = Search("stepwise", 10), Search("verify", 10)
EXACT_TOP, EXACT_TEN = Search("exact", 1), Search("exact", 10)
# Begun with the entry of nearest text: the same answer sooner.
EXACT_GUESSED = replace(EXACT_TOP, guessed=True)


@dataclass(frozen=True)
class Cost:
    """Milliseconds p50 and p99, median forwards and rows over `num_requests`; speed-up of the medians."""

    search: str
    p50_ms: float
    p99_ms: float
    forwards: float
    rows: float
    speed_up: float
    num_requests: int
    num_proven: int


@dataclass(frozen=True)
class Quality:
    """Share of rows whose label comes first, and among the first ten."""

    method: str
    recall_at_1: float
    recall_at_10: float
    num_rows: int


@dataclass(frozen=True)
class Answer:
    """A listing, the keyword it belongs to, and the best three entries with their scores."""

    listing: str
    label: str
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Report:
    """Everything the demonstration found; seconds by step."""

    model: str
    adapter: str | None
    isa: str
    threads: int
    num_entries: int
    answers: tuple[Answer, ...]
    quality: tuple[Quality, ...]
    costs: tuple[Cost, ...]
    compressed: Compressed | None
    num_agreeing: int
    ad_text: AdText
    seconds: dict[str, float]


def run(plan: Plan, note: Note, advance: Advance, compressing: Progress | None = None) -> Report:
    """Runs all of `plan`; raises ModelError if verify and stepwise, or drafted and plain text, disagree."""
    clock = _Clock()
    name = f"{plan.model}, {f'adapter {plan.adapter}' if plan.adapter else 'untuned'}"
    note(f"loading {name} ...")
    model = load_model(plan.model, adapter=plan.adapter)
    clock.lap("load")
    task = load_task("pricerunner")
    note(f"indexing {len(task.keywords):,} keywords ...")
    catalogue = Catalogue.build(task.keywords, model.tokenizer)
    clock.lap("index")
    note("measuring what rows cost on this machine ...")
    model.warm()
    clock.lap("latency_table")
    rows = task.sample("test", plan.num_quality)
    note(f"answering {len(rows)} test listings, up to {plan.num_timed} of them in every mode ...")
    log = _measure(model, catalogue, rows, plan, advance)
    clock.lap("requests")
    quality = [_quality(name, _texts(log[VERIFY]), rows)]
    compressed = None
    if plan.preset is not None:
        note(f"compressing it by the preset {plan.preset!r} ...")
        ask = partial(_verified, catalogue=catalogue, width=plan.width)
        compressed, smaller = demonstrate(
            model, plan.model, plan.adapter, plan.preset, rows, plan.num_timed, ask, compressing
        )
        quality.append(_quality(f"compressed, preset {plan.preset}", _texts(smaller), rows))
    clock.lap("compress")
    note("computing the TF-IDF floor ...")
    floor = TfidfFloor(task.keywords, [row.query for row in task.rows_of("train")])
    quality.append(_quality("TF-IDF floor, no model", floor.rank([row.query for row in rows], 10), rows))
    clock.lap("tfidf")
    note("writing one ad text ...")
    ad_text = write_ad(model, plan.model, plan.writer, own=plan.writer == plan.adapter)
    clock.lap("ad_text")
    return Report(
        model=plan.model,
        adapter=plan.adapter,
        isa=model.engine.isa,
        threads=model.engine.num_threads,
        num_entries=catalogue.num_entries,
        answers=tuple(map(_answer, rows[: plan.num_listings], log[VERIFY])),
        quality=tuple(quality),
        costs=_costs(log),
        compressed=compressed,
        num_agreeing=len(log[STEPWISE]),
        ad_text=ad_text,
        seconds=clock.seconds,
    )


class _Clock:
    """Seconds since the start, by step."""

    def __init__(self) -> None:
        self._started = self._last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def lap(self, step: str) -> None:
        now = time.perf_counter()
        self.seconds[step] = round(now - self._last, 2)
        self._last = now
        self.seconds["total"] = round(now - self._started, 2)


def _measure(
    model: Model, catalogue: Catalogue, rows: Sequence[Pair], plan: Plan, advance: Advance
) -> dict[Search, list[Hits]]:
    """Answers by search. All searches of one listing follow each other, in turning order, so that a machine
    that slows down slows all of them."""
    log: dict[Search, list[Hits]] = {
        search: [] for search in (STEPWISE, VERIFY, EXACT_TOP, EXACT_GUESSED, EXACT_TEN)
    }
    guess = Neighbours(catalogue, count=1)
    model.target(rows[0].query, catalogue, width=plan.width, mode="verify")  # warm-up, not counted
    started = time.perf_counter()
    for number, row in enumerate(rows):
        in_time = time.perf_counter() - started < plan.budget_s or number < plan.num_exact
        for search in _turned(_searches(number, plan) if in_time else [VERIFY], number):
            seeds = guess if search.guessed else None
            hits = model.target(row.query, catalogue, search.k, search.mode, width=plan.width, seeds=seeds)
            log[search].append(hits)
        if in_time and number < plan.num_timed:
            for proven in (EXACT_TOP, EXACT_GUESSED):
                _check_agreement(log[VERIFY][-1], log[STEPWISE][-1], log[proven][-1])
        advance(number + 1, len(rows))
    return log


def _searches(number: int, plan: Plan) -> list[Search]:
    searches = [VERIFY]
    if number < plan.num_timed:
        searches += [STEPWISE, EXACT_TOP, EXACT_GUESSED]
    if number < plan.num_exact:
        searches.append(EXACT_TEN)
    return searches


def _turned(searches: list[Search], number: int) -> list[Search]:
    turn = number % len(searches)
    return searches[turn:] + searches[:turn]


def _check_agreement(verify: Hits, stepwise: Hits, exact: Hits) -> None:
    same = [hit.text for hit in verify] == [hit.text for hit in stepwise]
    pairs = zip(verify, stepwise, strict=False)
    same = same and all(abs(fast.score - plain.score) <= TOLERANCE for fast, plain in pairs)
    best = exact.gap > 0 or exact[0].score >= stepwise[0].score - TOLERANCE
    if not (same and best):
        raise ModelError(
            f"the searches contradict each other on {stepwise.query!r}: verify {verify[:2]}, stepwise "
            f"{stepwise[:2]}, exact {exact[:1]}; no time is reported. "
            "This is a defect of adtrie: please report it with the output of 'adtrie doctor'"
        )


def _verified(model: Model, query: str, catalogue: Catalogue, width: int) -> Hits:
    return model.target(query, catalogue, VERIFY.k, VERIFY.mode, width=width)


def _texts(answered: Sequence[Hits]) -> list[list[str]]:
    return [[hit.text for hit in hits] for hits in answered]


def _answer(row: Pair, hits: Hits) -> Answer:
    return Answer(row.query, row.label, tuple((hit.text, round(hit.score, 3)) for hit in hits[:3]))


def _quality(method: str, ranked: list[list[str]], rows: Sequence[Pair]) -> Quality:
    positions = ranks(ranked, [row.label for row in rows])
    return Quality(method, recall_at_k(positions, 1), recall_at_k(positions, 10), len(rows))


def _costs(log: dict[Search, list[Hits]]) -> tuple[Cost, ...]:
    """Each search over the listings that stepwise answered too, so that speed-ups compare like with like."""
    costs = []
    for search, answered in log.items():
        pairs = list(zip(answered, log[STEPWISE], strict=False))
        p50, p99 = percentiles([hits.ms for hits, _ in pairs])
        (slow,) = percentiles([plain.ms for _, plain in pairs], (50.0,))
        costs.append(
            Cost(
                search=search.label,
                p50_ms=round(p50, 2),
                p99_ms=round(p99, 2),
                forwards=float(np.median([hits.forwards for hits, _ in pairs])),
                rows=float(np.median([hits.rows for hits, _ in pairs])),
                speed_up=round(slow / p50, 2),
                num_requests=len(pairs),
                num_proven=sum(hits.gap == 0 for hits, _ in pairs),
            )
        )
    return tuple(costs)
