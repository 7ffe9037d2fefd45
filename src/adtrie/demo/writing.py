"""The one ad text of the demonstration, written twice."""

from __future__ import annotations

from dataclasses import dataclass

from adtrie.api import Model, load_model
from adtrie.creative import Drafts
from adtrie.errors import ModelError
from adtrie.evaluate import load_creative_task
from adtrie.evaluate.creative_tasks import templates_of

CREATE_TASK = "e2e"


@dataclass(frozen=True)
class AdText:
    """One ad text from facts of the test set, the same drafted and plain; forwards of both."""

    facts: str
    text: str
    adapter: str | None
    tokens: int
    forwards: int
    plain_forwards: int

    @property
    def tokens_per_forward(self) -> float:
        """Of the drafted text."""
        return self.tokens / self.forwards


def write_ad(model: Model, name: str, adapter: str | None, own: bool) -> AdText:
    """The first facts of the sample, written with guesses from the training texts and without.

    By `model` itself where that is the one with `adapter` (own), else by model `name` with it. Raises
    ModelError if the two texts differ.
    """
    task = load_creative_task(CREATE_TASK)
    facts = task.sample("test", 1)[0].facts
    writer = model if own else load_model(name, adapter=adapter)
    past = [text for brief in task.briefs_of("train") for text in templates_of(brief)]
    drafted = writer.create(facts, drafts=Drafts(past, writer, writer.create_template))
    plain = writer.create(facts, draft=False)
    if (drafted.text, drafted.tokens) != (plain.text, plain.tokens):
        raise ModelError(
            f"drafted and plain text differ for {facts!r}: {drafted.text!r} and {plain.text!r}. "
            "This is a defect of adtrie: please report it with the output of 'adtrie doctor'"
        )
    return AdText(facts, drafted.text, adapter, drafted.tokens, drafted.forwards, plain.forwards)
