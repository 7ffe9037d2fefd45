"""Many queries or texts at the same time: each answered as alone, their rows fed in common forwards.

Knows questions, writers and batches; no algorithm of a search.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adtrie.catalogue import Bonus, Catalogue, Neighbours, Selection
from adtrie.creative import Creative, Drafts, Writer
from adtrie.engine import Engine
from adtrie.engine.batching import Batcher, BatchScorer, Pending, cost_in_company, saturating_rows
from adtrie.engine.lanes import LOGITS, LaneGroup
from adtrie.errors import AdtrieError, InputError
from adtrie.models import Tokenizer
from adtrie.prompt import PromptTemplate, normalise_query
from adtrie.question import Question
from adtrie.request import SESSION_ROWS, Hits, Score, TargetOptions
from adtrie.search.deadline import Deadline, Pace
from adtrie.search.scorer import check_count

MAX_CONCURRENCY = 1024
T = TypeVar("T")
R = TypeVar("R")


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
        if options.bounded:
            raise InputError("normaliser: bounded is for requests one at a time, got a batch")
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


class ConcurrentWriter:
    """Texts of one template and one way of writing: `concurrency` at the same time, and as many may wait.

    Each is what `Model.create` gives. Close it, or use it in a `with` statement.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        template: PromptTemplate,
        writer: Writer,
        drafts: Drafts | None,
        draft: bool,
        concurrency: int,
    ) -> None:
        count = check_count("concurrency", concurrency, MAX_CONCURRENCY)
        self._tokenizer, self._template, self._writer, self._drafts = tokenizer, template, writer, drafts
        self._spec, table = engine.spec, engine.latency()
        rows = saturating_rows(table)
        self._cost = (table if count == 1 else cost_in_company(table, rows)) if draft else None
        self._prefix = template.prefix_tokens(tokenizer)
        group = LaneGroup(engine, self._prefix, LOGITS, count * writer.num_rows(SESSION_ROWS))
        self._batcher = Batcher(group, rows, count, queue=count)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def submit(self, facts: str) -> Pending[Creative]:
        """Begins a text. Raises InputError for bad facts, CapacityError above the context or the queue."""
        text = normalise_query(facts, "facts")
        prompt = self._template.query_tokens(text, self._tokenizer)
        self._writer.check_context(self._prefix.size + prompt.size, self._spec.max_positions)
        tables = self._drafts.tables(text) if self._drafts and self._cost else ()

        def job(scorer: BatchScorer) -> Creative:
            model = _Logits(scorer, self._spec.vocab_size)
            return self._writer.write(model, self._tokenizer, prompt, text, tables, self._cost)

        return self._batcher.submit(job, self._writer.num_rows(prompt.size))

    def close(self) -> None:
        """Cancels what has not ended and returns when every thread has."""
        self._batcher.close()


class _Logits:
    """The logits of one text in company: as if all tokens were asked for as children."""

    def __init__(self, scorer: BatchScorer, vocab_size: int) -> None:
        self._scorer, self._vocab_size = scorer, vocab_size

    def logits(
        self, tokens: NDArray[np.int32], parents: NDArray[np.int32], first: int = 0
    ) -> NDArray[np.float32]:
        """As `Session.logits`: the same bits."""
        ptr = self._vocab_size * np.maximum(np.arange(len(tokens) + 1, dtype=np.int64) - first, 0)
        unread = np.broadcast_to(np.int32(0), int(ptr[-1]))  # takes no memory
        return self._scorer.score(tokens, parents, ptr, unread).reshape(-1, self._vocab_size)


def in_order(
    items: Iterable[T], submit: Callable[[T], Pending[R]], window: int
) -> Iterator[tuple[T, R | AdtrieError]]:
    """Each item with its answer or error, in the order of `items`, of which up to `window` are on the way."""
    waiting: deque[tuple[T, Pending[R] | AdtrieError]] = deque()
    for item in items:
        try:
            waiting.append((item, submit(item)))
        except AdtrieError as error:
            waiting.append((item, error))
        while len(waiting) >= window:
            first, answer = waiting.popleft()
            yield first, _ended(answer)
    for last, answer in waiting:
        yield last, _ended(answer)


def _ended(answer: Pending[Any] | AdtrieError) -> Any:
    if isinstance(answer, AdtrieError):
        return answer
    try:
        return answer.result()
    except AdtrieError as error:
        return error
