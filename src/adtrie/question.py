"""One query with all it is asked with, checked; any scorer of the model answers it. Knows no engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from numpy.typing import ArrayLike

from adtrie.catalogue import Bonus, Catalogue, Neighbours, Selection
from adtrie.config import RowCost
from adtrie.errors import InputError
from adtrie.lookup import NOTHING, Lookup, Run, added
from adtrie.models import Tokenizer
from adtrie.prompt import PromptTemplate, normalise_query
from adtrie.request import Hit, Hits, TargetOptions
from adtrie.search.deadline import Deadline
from adtrie.search.scorer import Scorer, SearchResult


@dataclass(frozen=True, eq=False)
class Question:
    """`query` is as it came, `text` as the model sees it; `started` is a reading of time.perf_counter."""

    query: str
    text: str
    catalogue: Catalogue
    options: TargetOptions
    template: PromptTemplate
    prior: Bonus | None
    selection: Selection | None
    seeds: Neighbours | ArrayLike | None
    tokenizer: Tokenizer
    started: float

    @classmethod
    def of(
        cls,
        query: str,
        catalogue: Catalogue,
        options: TargetOptions,
        template: PromptTemplate,
        prior: Bonus | None,
        selection: Selection | None,
        seeds: Neighbours | ArrayLike | None,
        tokenizer: Tokenizer,
    ) -> Self:
        """Raises InputError for the query or a selection of another catalogue, CatalogueError for a catalogue
        of another tokenizer."""
        text = normalise_query(query)
        catalogue.check_tokenizer(tokenizer.fingerprint)
        if selection is not None and selection.whole is not catalogue.trie:
            raise InputError("selection: made for another catalogue; make it with select() of this one")
        if selection is None:
            selection = catalogue.everything
        started = time.perf_counter()
        return cls(query, text, catalogue, options, template, prior, selection, seeds, tokenizer, started)

    def answer(
        self,
        scorer: Scorer,
        cost: Callable[[], RowCost],
        deadline: Deadline | None = None,
        observe: Callable[[Lookup], Run] | None = None,
        started: float | None = None,
    ) -> Hits:
        """What the catalogue holds for the query; `ms` is counted from `started`, by default from now.

        `observe` is given what is searched and returns what runs it.
        """
        started = time.perf_counter() if started is None else started
        prompt = self.template.query_tokens(self.text, self.tokenizer)
        asked, seeds = (self.catalogue, self.options), self.seeds
        if isinstance(seeds, Neighbours) and deadline is not None and not deadline.fits(prompt.size):
            seeds = None  # nothing will be scored: looking for them would only make the answer late
        if isinstance(seeds, Neighbours):
            prior = added(self.prior, seeds.bonus(self.text))
            lookup = Lookup.of(*asked, prior, self.selection, seeds.of(self.text))
        else:
            lookup = Lookup.of(*asked, self.prior, self.selection, seeds)
        result = NOTHING
        if lookup is not None:
            run = lookup.run if observe is None else observe(lookup)
            result = run(scorer, prompt, cost, deadline)
        hits = _hits(self.catalogue, result, self.selection)
        ms = (time.perf_counter() - started) * 1e3
        if deadline is not None:
            deadline.finish()
        return Hits(self.query, hits, float(result.gap), result.forwards, result.rows, ms)


def _hits(catalogue: Catalogue, result: SearchResult, selection: Selection | None) -> tuple[Hit, ...]:
    hits = []
    for entry, score in zip(result.entries.tolist(), result.scores.tolist(), strict=True):
        ids = tuple(catalogue.ids(entry, selection))
        hits.append(Hit(id=ids[0], text=catalogue.text(entry), score=score, ids=ids))
    return tuple(hits)
