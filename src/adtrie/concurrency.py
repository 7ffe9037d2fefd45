"""Many queries at the same time: each answered as alone, their rows fed in common forwards.

Knows questions and batches; no algorithm of a search.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Self, TypeVar

from numpy.typing import ArrayLike

from adtrie.catalogue import Bonus, Catalogue, Neighbours, Selection
from adtrie.engine import Engine
from adtrie.engine.batching import Batcher, BatchScorer, Pending, cost_in_company, saturating_rows
from adtrie.engine.lanes import LaneGroup
from adtrie.errors import AdtrieError, InputError
from adtrie.models import Tokenizer
from adtrie.prompt import PromptTemplate
from adtrie.question import Question
from adtrie.request import SESSION_ROWS, Hits, Score, TargetOptions
from adtrie.search.deadline import Deadline, Pace
from adtrie.search.scorer import check_count

MAX_CONCURRENCY = 1024
T = TypeVar("T")


class Concurrent:
    """Requests of one template and kind of score: `concurrency` at the same time, and as many may wait.

    In company rows are what counts, not forwards: `prefer` auto of `exact` saves rows here. So what is proven
    (gap 0) is what `Model.target` gives, and all else what it gives with `prefer` rows; beams are the same.
    Close it, or use it in a `with` statement.
    """

    def __init__(
        self, engine: Engine, tokenizer: Tokenizer, template: PromptTemplate, score: Score, concurrency: int
    ) -> None:
        count = check_count("concurrency", concurrency, MAX_CONCURRENCY)
        self.tokenizer, self.template, self.score, self._alone = tokenizer, template, score, count == 1
        table = engine.latency()
        rows = saturating_rows(table)
        self._cost = table if self._alone else cost_in_company(table, rows)
        self._pace = Pace()
        group = LaneGroup(engine, template.prefix_tokens(tokenizer), score, count * SESSION_ROWS)
        self._batcher = Batcher(group, rows, count, queue=count)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def submit(
        self,
        query: str,
        catalogue: Catalogue,
        options: TargetOptions,
        prior: Bonus | None = None,
        selection: Selection | None = None,
        seeds: Neighbours | ArrayLike | None = None,
    ) -> Pending[Hits]:
        """Begins a request; a deadline counts from now, as `ms` of its hits does.

        Raises what `Model.answer` raises of a query, catalogue or option at once, CapacityError when too many
        wait; the rest is raised by `result()` of what is returned.
        """
        if options.score != self.score:
            raise InputError(
                f"score: expected {self.score}, as all requests of this batch, got {options.score}"
            )
        if options.prefer == "auto" and not self._alone:
            options = replace(options, prefer="rows")
        deadline = None
        if options.deadline_ms is not None:
            deadline = Deadline(options.deadline_ms, self._cost, time.perf_counter, self._pace)
        question = Question.of(
            query, catalogue, options, self.template, prior, selection, seeds, self.tokenizer
        )

        def job(scorer: BatchScorer) -> Hits:
            return question.answer(scorer, lambda: self._cost, deadline, started=question.started)

        return self._batcher.submit(job, options.session_rows)

    def close(self) -> None:
        """Cancels what has not ended and returns when every thread has."""
        self._batcher.close()


def in_order(
    items: Iterable[T], submit: Callable[[T], Pending[Hits]], window: int
) -> Iterator[tuple[T, Hits | AdtrieError]]:
    """Each item with its answer or error, in the order of `items`, of which up to `window` are on the way."""
    waiting: deque[tuple[T, Pending[Hits] | AdtrieError]] = deque()
    for item in items:
        try:
            waiting.append((item, submit(item)))
        except AdtrieError as error:
            waiting.append((item, error))
        while len(waiting) >= window:
            yield _ended(*waiting.popleft())
    while waiting:
        yield _ended(*waiting.popleft())


def _ended(item: T, answer: Pending[Hits] | AdtrieError) -> tuple[T, Hits | AdtrieError]:
    if isinstance(answer, AdtrieError):
        return item, answer
    try:
        return item, answer.result()
    except AdtrieError as error:
        return item, error
