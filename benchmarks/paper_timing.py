"""Milliseconds of rows in one process, request by request in turn, after their answers were checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adtrie.api import Model, TargetOptions
from adtrie.catalogue import Catalogue
from adtrie.creative import Drafts
from adtrie.engine import Session
from adtrie.evaluate import load_creative_task, load_task
from adtrie.evaluate.creative_tasks import templates_of
from benchmarks import decode, machine
from benchmarks.paper_rows import ALL_ROWS
from benchmarks.paper_setting import Bench

PLAIN, FAST, TOKEN = "plain", "fast", "token"
CHECKED = 3  # requests whose plain and fast answers are compared before anything is timed
Ways = Mapping[str, Callable[[str], Any]]  # name -> what answers a request


@dataclass(frozen=True)
class Timed:
    """Milliseconds of every request by row and way, and of a forward of one row, in the order measured.

    written: tokens of each answer by row where they are texts, whose time is compared per token: rows write
    different texts.
    """

    requests: Mapping[tuple[str, str], Sequence[float]]
    tokens: Mapping[str, Sequence[float]]
    written: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def summary(self, row: str, full: str) -> dict[str, Any]:
        """Medians, and speed-ups as medians of ratios of the same request; of two plain ones, and fast."""
        plain, fast = (np.array(self.requests[row, way]) for way in (PLAIN, FAST))
        base, tokens = np.array(self.requests[full, PLAIN]), np.array(self.tokens[row])
        texts: dict[str, Any] = {}
        if self.written:
            length = np.array(self.written[row])
            texts = {
                "ms_per_written": round(float(np.sum(plain) / length.sum()), 3),
                "ms_per_written_fast": round(float(np.sum(fast) / length.sum()), 3),
                "tokens_per_text": round(float(length.mean()), 1),
            }
            base = base * length / np.array(self.written[full])
        return {
            **texts,
            "ms_per_token": round(float(np.median(tokens)), 3),
            "token_speed_up": round(float(np.median(np.array(self.tokens[full]) / tokens)), 3),
            "ms_per_request": round(float(np.median(plain)), 2),
            "speed_up": round(float(np.median(base / plain)), 3),
            "ms_per_request_fast": round(float(np.median(fast)), 2),
            "speed_up_fast": round(float(np.median(base / fast)), 3),
            "requests": len(plain),
        }


def interleaved(
    requests: Sequence[str], ways: Ways, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Milliseconds of each way for each request; another way goes first each time."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for number, request in enumerate(requests):
        at = number % len(names)
        for name in names[at:] + names[:at]:
            started = clock()
            ways[name](request)
            found[name].append((clock() - started) * 1e3)
    return found


def timing(bench: Bench, paths: Mapping[str, Path | None], count: int) -> dict[str, dict[str, Any]]:
    """Summaries by row. paths: packed checkpoints; None for full precision, which must be there."""
    full = next(name for name, path in paths.items() if path is None)
    with ExitStack() as stack:
        models: dict[str, Model] = {}
        for name, path in paths.items():
            models[name] = bench.full_model() if path is None else bench.packed_model(path)
            stack.callback(models[name].close)
        prepare = _targeting if bench.scenario.name == "targeting" else _writing
        requests, ways = prepare(bench, models, count)
        for name in models:
            _check(name, requests[:CHECKED], ways)
        sessions = {name: _token_session(model) for name, model in models.items()}
        load = machine.ForeignLoad()
        written: dict[str, list[int]] = {}
        if bench.scenario.name == "creative":
            written = {name: [max(1, ways[name, PLAIN](each)[1]) for each in requests] for name in models}
        tokens: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(5):
            for name, session in sessions.items():
                tokens[name].append(1e3 * decode.sample(session, 1))
        found = interleaved(requests, {f"{name} {way}": call for (name, way), call in ways.items()})
        about = {
            "threads": models[full].engine.num_threads,
            "isa": models[full].engine.isa,
            "full_weights": models[full].engine.weights,
            "foreign_load": round(load.share(), 3),
            "together_with": sorted(paths),
        }
    timed = Timed({key: found[f"{key[0]} {key[1]}"] for key in ways}, tokens, written)
    return {name: {**timed.summary(name, full), **about} for name in paths}


def _targeting(
    bench: Bench, models: Mapping[str, Model], count: int
) -> tuple[list[str], dict[tuple[str, str], Callable[[str], Any]]]:
    """Step-wise requests and verified ones, beams of width 10."""
    task = load_task(bench.scenario.task)
    ways: dict[tuple[str, str], Callable[[str], Any]] = {}
    catalogue: Catalogue | None = None
    for name, model in models.items():
        catalogue = catalogue or Catalogue.build(list(zip(task.ids, task.keywords, strict=True)), model)
        for way, options in ((PLAIN, _options("stepwise")), (FAST, _options("verify"))):
            model.warm(options)
            ways[name, way] = _answer(model, catalogue, options)
    return [row.query for row in task.sample("test", count)], ways


def _options(mode: Any) -> TargetOptions:
    return TargetOptions(10, mode, width=10)


def _answer(model: Model, catalogue: Catalogue, options: TargetOptions) -> Callable[[str], Any]:
    return lambda query: [(hit.id, hit.score) for hit in model.answer(query, catalogue, options)]


def _writing(
    bench: Bench, models: Mapping[str, Model], count: int
) -> tuple[list[str], dict[tuple[str, str], Callable[[str], Any]]]:
    """Texts written token by token, and with guesses checked in trees."""
    task = load_creative_task(bench.scenario.task)
    past = [text for brief in task.briefs_of("train") for text in templates_of(brief)]
    ways: dict[tuple[str, str], Callable[[str], Any]] = {}
    for name, model in models.items():
        model.engine.latency()
        drafts = Drafts(past, model, model.create_template)
        for way, draft in ((PLAIN, False), (FAST, True)):
            ways[name, way] = _write(model, drafts, draft)
    return [brief.facts for brief in task.sample("test", count)], ways


def _write(model: Model, drafts: Drafts, draft: bool) -> Callable[[str], Any]:
    def write(facts: str) -> tuple[str, int]:
        made = model.create(facts, drafts=drafts, draft=draft)
        return made.text, made.tokens

    return write


def _check(name: str, requests: Sequence[str], ways: Mapping[tuple[str, str], Callable[[str], Any]]) -> None:
    """SystemExit unless the fast way answers like the plain one."""
    for request in requests:
        plain, fast = ways[name, PLAIN](request), ways[name, FAST](request)
        if not plain or plain != fast:
            label = ALL_ROWS[name].label if name in ALL_ROWS else name
            raise SystemExit(f"{label}: plain and fast answers differ on {request!r:.80}: nothing was timed")


def _token_session(model: Model) -> Session:
    return model.engine.session(decode.context_tokens(model.encode(decode.PROMPT)))
