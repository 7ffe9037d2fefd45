"""The common ground of the search benchmarks: model, catalogue, prompt and real queries. Measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adtrie.api import Model, load_model
from adtrie.catalogue import Catalogue, Neighbours
from adtrie.engine import Session
from adtrie.evaluate import load_task
from adtrie.models import shipped_adapters
from adtrie.prompt import PromptTemplate, normalise_query

TASK = "pricerunner"
GUESSED = "exact k=1 guessed"  # the entry of nearest text is scored in the first forward


@dataclass(frozen=True)
class Setting:
    """A loaded model, the adapter merged into it (None: untuned), one catalogue and the test queries."""

    model: Model
    catalogue: Catalogue
    queries: Sequence[str]
    adapter: str | None = None

    @property
    def template(self) -> PromptTemplate:
        """The prompt the model was tuned with, or the default of untuned ones."""
        return self.model.template

    def session(self, score: str = "raw", max_rows: int = 16_384) -> Session:
        """A session whose prefix (the template before the query) is computed."""
        prefix = self.template.prefix_tokens(self.model.tokenizer)
        return self.model.engine.session(prefix, score=score, max_rows=max_rows)

    def prompt(self, query: str) -> NDArray[np.int32]:
        """Tokens int32[T] after the prefix."""
        return self.template.query_tokens(normalise_query(query), self.model.tokenizer)

    def guesses(self) -> Callable[[str], NDArray[np.int64]]:
        """From a query to the entry of nearest text, int64[0 or 1]; the index of texts is made now."""
        likely = Neighbours(self.catalogue, count=1)
        return lambda query: likely.of(normalise_query(query))

    def whole_prompt(self, query: str) -> list[int]:
        """All prompt tokens, prefix included, for engines without a prefix cache."""
        prefix = self.template.prefix_tokens(self.model.tokenizer)
        return [*prefix.tolist(), *self.prompt(query).tolist()]


def adapter_named(name: str) -> str | None:
    """A shipped adapter or folder; None for "none", or where "pricerunner" is asked for and does not ship."""
    return None if name == "none" or (name == TASK and TASK not in shipped_adapters()) else name


def load(
    num_queries: int,
    num_keywords: int | None = None,
    weights: str = "auto",
    adapter: str | None = None,
    split: str = "test",
) -> Setting:
    """SmolLM2-135M, the PriceRunner keywords (the first `num_keywords`, or all) and listings of a split."""
    task = load_task(TASK)
    model = load_model("smollm2-135m", adapter=adapter, weights=weights)
    keywords = task.keywords if num_keywords is None else task.keywords[:num_keywords]
    catalogue = Catalogue.build(keywords, model.tokenizer)
    return Setting(model, catalogue, [row.query for row in task.sample(split, num_queries)], adapter)
