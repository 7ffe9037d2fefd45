"""Ad text measured: what a model writes from facts beside two floors, its cost, and drafted against plain.

Knows the model as a function that writes. METEOR has the stages exact and Porter stem, no synonyms.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from adtrie.creative import Creative
from adtrie.errors import CapacityError, InputError
from adtrie.evaluate.coverage import covered
from adtrie.evaluate.creative_tasks import Brief, CreativeTask, facts_text
from adtrie.evaluate.floors import NearestQueryFloor
from adtrie.evaluate.metrics import Interval, percentiles
from adtrie.evaluate.resampling import TextMetrics
from adtrie.evaluate.text_metrics import bleu_metric, distinct, mean_length

SEED = 0
OURS = "adtrie"
MAX_EXAMPLES = 6  # with all facts, and with facts missing
Advance = Callable[[int, int], None]
Write = Callable[[str, bool], Creative]  # (facts, whether to draft)


@dataclass(frozen=True)
class TextScore:
    """A method: metrics by name with their intervals, and ours minus this floor on the same facts.

    Names are those of `TextMetrics.summed`. `distinct_1` and `distinct_2` are shares of word n-grams,
    `mean_length` counts words.
    """

    method: str
    metrics: Mapping[str, Interval]
    ahead: Mapping[str, Interval]
    distinct_1: float
    distinct_2: float
    mean_length: float


@dataclass(frozen=True)
class WritingCost:
    """Texts written one way: milliseconds p50, p99 and percentiles 0..100, tokens, why the texts ended.

    `num_refused` facts did not fit the model; their text is empty.
    """

    way: str
    num_texts: int
    p50_ms: float
    p99_ms: float
    tokens: int
    tokens_per_forward: float
    finish_reasons: Mapping[str, int]
    num_refused: int
    ms_percentiles: tuple[float, ...]


@dataclass(frozen=True)
class DraftCheck:
    """Texts written with guesses and without, and how many of them are the same in text, tokens and end."""

    num_texts: int
    num_identical: int
    first_difference: str | None


@dataclass(frozen=True)
class TextExample:
    """Facts, our text, a human one, and the slots that the text does not state."""

    facts: str
    text: str
    reference: str
    missing: tuple[str, ...]


@dataclass(frozen=True)
class CreativeReport:
    """All of one evaluation; `setting` says of what, in words and numbers."""

    task: str
    setting: Mapping[str, object]
    num_briefs: int
    scores: tuple[TextScore, ...]
    costs: tuple[WritingCost, ...]
    draft_check: DraftCheck | None
    examples: tuple[TextExample, ...]
    seconds: float

    @property
    def defect(self) -> str | None:
        """The promise that was not kept: drafted texts are those of plain decoding."""
        check = self.draft_check
        if check is None or check.num_identical == check.num_texts:
            return None
        return f"drafted and plain text differ, first for {check.first_difference!r:.200}."


def measure_creative(
    task: CreativeTask,
    briefs: Sequence[Brief],
    write: Write,
    *,
    check_draft: bool = False,
    with_floors: bool = True,
    setting: Mapping[str, object] | None = None,
    way: str = "drafted",
    advance: Advance = lambda done, total: None,
) -> CreativeReport:
    """Writes a text for each brief and compares; with `check_draft` each is written plainly too.

    `way` is what the report calls the way of writing.

    Raises InputError without briefs, AdtrieError where a package is missing (before anything is written).
    """
    if not briefs:
        raise InputError(f"task {task.name!r} has no facts in this split; use another one")
    started = time.perf_counter()
    bleu_metric(task.language)
    texts_by = floor_texts(task, briefs) if with_floors else {}
    drafted, plain = _write_all(briefs, write, check_draft, advance)
    texts_by = {OURS: [made.text if made else "" for made in drafted], **texts_by}
    costs = [_cost(way, drafted)] + ([_cost("plain", plain)] if check_draft else [])
    return CreativeReport(
        task=task.name,
        setting=setting or {},
        num_briefs=len(briefs),
        scores=tuple(_scores(task, briefs, texts_by)),
        costs=tuple(costs),
        draft_check=_compared(briefs, drafted, plain) if check_draft else None,
        examples=tuple(_examples(briefs, texts_by[OURS])),
        seconds=round(time.perf_counter() - started, 1),
    )


def floor_texts(task: CreativeTask, briefs: Sequence[Brief]) -> dict[str, list[str]]:
    """Texts of the floors: the facts as they are, and a human text of the training facts most like them."""
    floors = {"the facts listed": [listed(brief) for brief in briefs]}
    train = task.briefs_of("train")
    if train:
        nearest = NearestQueryFloor(
            [brief.facts for brief in train], [brief.references[0] for brief in train]
        )
        ranked = nearest.rank([brief.facts for brief in briefs], 1)
        floors["nearest training text"] = [texts[0] for texts in ranked]
    return floors


def listed(brief: Brief) -> str:
    """One plain sentence of all facts: "Blue Spice: type pub, price range cheap."; free text as it is."""
    if not brief.slots:
        return brief.facts
    (_, name), *others = brief.slots
    return f"{name}: {', '.join(facts_text([slot]).replace(': ', ' ', 1) for slot in others)}."


def _write_all(
    briefs: Sequence[Brief], write: Write, check_draft: bool, advance: Advance
) -> tuple[list[Creative | None], list[Creative | None]]:
    """Drafted and plain texts, None where the facts do not fit; raises the refusal if none fits.

    The two ways take turns in going first, so that a machine that slows down slows both.
    """
    made: dict[bool, list[Creative | None]] = {True: [], False: []}
    refusal: Exception | None = None
    for number, brief in enumerate(briefs, start=1):
        ways = (True, False) if number % 2 else (False, True)
        for draft in ways if check_draft else (True,):
            try:
                made[draft].append(write(brief.facts, draft))
            except (InputError, CapacityError) as error:
                made[draft].append(None)
                refusal = error
        advance(number, len(briefs))
    if refusal is not None and not any(made[True]):
        raise refusal
    return made[True], made[False]


def _scores(
    task: CreativeTask, briefs: Sequence[Brief], texts_by: Mapping[str, Sequence[str]]
) -> list[TextScore]:
    references, slots = [brief.references for brief in briefs], [brief.slots for brief in briefs]
    summed = {
        method: TextMetrics(texts, references, slots, task.language).summed
        for method, texts in texts_by.items()
    }
    return [
        TextScore(
            method=method,
            metrics={name: metric.interval(SEED) for name, metric in summed[method].items()},
            ahead={
                name: metric.ahead_of(summed[method][name], SEED)
                for name, metric in summed[OURS].items()
                if method != OURS
            },
            distinct_1=distinct(texts, 1),
            distinct_2=distinct(texts, 2),
            mean_length=mean_length(texts),
        )
        for method, texts in texts_by.items()
    ]


def _cost(way: str, made: Sequence[Creative | None]) -> WritingCost:
    given = [one for one in made if one is not None]
    ms = percentiles([one.ms for one in given], list(range(101))) if given else (math.nan,) * 101
    tokens, forwards = sum(one.tokens for one in given), sum(one.forwards for one in given)
    return WritingCost(
        way=way,
        num_texts=len(given),
        p50_ms=round(ms[50], 2),
        p99_ms=round(ms[99], 2),
        tokens=tokens,
        tokens_per_forward=tokens / forwards if forwards else math.nan,
        finish_reasons=dict(Counter(one.finish_reason for one in given).most_common()),
        num_refused=len(made) - len(given),
        ms_percentiles=tuple(round(value, 2) for value in ms),
    )


def _compared(
    briefs: Sequence[Brief], drafted: Sequence[Creative | None], plain: Sequence[Creative | None]
) -> DraftCheck:
    different = [
        brief.facts
        for brief, one, other in zip(briefs, drafted, plain, strict=True)
        if _content(one) != _content(other)
    ]
    return DraftCheck(len(briefs), len(briefs) - len(different), different[0] if different else None)


def _content(made: Creative | None) -> tuple[object, ...] | None:
    return (made.text, made.tokens, made.finish_reason) if made else None


def _examples(briefs: Sequence[Brief], texts: Sequence[str]) -> list[TextExample]:
    """The first texts with all facts and the first with facts missing; none where facts have no slots.

    Tasks without slots are those whose text may not be passed on, so a report must not hold it.
    """
    made = []
    for brief, text in zip(briefs, texts, strict=True):
        stated = covered(text, brief.slots)
        missing = tuple(name for name, said in stated.items() if not said)
        if brief.slots:
            made.append(TextExample(brief.facts, text, brief.references[0], missing))
    whole = [example for example in made if not example.missing][:MAX_EXAMPLES]
    return whole + [example for example in made if example.missing][:MAX_EXAMPLES]
