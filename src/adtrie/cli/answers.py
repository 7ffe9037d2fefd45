"""The answers to lines of queries: one after another, or many at the same time. Prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from adtrie.cli.catalogues import Answering
from adtrie.cli.queries import QueryLine, text_of
from adtrie.errors import AdtrieError, CapacityError, InputError

if TYPE_CHECKING:
    from adtrie.api import Model
    from adtrie.catalogue import Prior
    from adtrie.engine.batching import Pending
    from adtrie.prompt import PromptTemplate
    from adtrie.request import Hits, TargetOptions

T = TypeVar("T")
Answer = tuple[QueryLine, "Hits | InputError | CapacityError"]


def answers(
    lines: Iterable[QueryLine],
    model: Model,
    answering: Answering,
    options: TargetOptions,
    template: PromptTemplate | None,
    prior: Prior | None,
    concurrency: int,
) -> Iterator[Answer]:
    """Each line with its answer, or with the error that is its own; in order. Other errors are raised."""
    if concurrency == 1:

        def answer_alone(line: QueryLine) -> Hits:
            answering.refresh()
            asked = (text_of(line), answering.catalogue, options, template, prior)
            return model.answer(*asked, answering.selection, answering.seeds)

        yield from one_by_one(lines, answer_alone)
        return
    from adtrie.concurrency import in_order

    with model.concurrent(options.score, template, concurrency) as company:

        def submit(line: QueryLine) -> Pending[Hits]:
            answering.refresh()
            asked = (text_of(line), answering.catalogue, options, prior)
            return company.submit(*asked, answering.selection, answering.seeds)

        for line, answer in in_order(lines, submit, 2 * concurrency):
            yield line, own_error(answer)


def one_by_one(
    lines: Iterable[QueryLine], ask: Callable[[QueryLine], T]
) -> Iterator[tuple[QueryLine, T | InputError | CapacityError]]:
    """Each line with what `ask` gives, or with the error that is its own."""
    for line in lines:
        try:
            yield line, ask(line)
        except (InputError, CapacityError) as error:
            yield line, error


def own_error(answer: T | AdtrieError) -> T | InputError | CapacityError:
    """The answer, or an error that is that of its line alone; raises any other."""
    if isinstance(answer, AdtrieError) and not isinstance(answer, InputError | CapacityError):
        raise answer
    return answer
