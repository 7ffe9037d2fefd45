"""Learning a fusion with a loaded model: what resemblance to a query is worth, on dev rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adtrie.cli.terminal import progress

if TYPE_CHECKING:
    from adtrie.api import Model
    from adtrie.catalogue import Catalogue, Fusion, Neighbours
    from adtrie.evaluate.questions import Question, Questions
    from adtrie.prompt import PromptTemplate

NUM_ALONE, NUM_FUSED = 1_000, 150  # dev rows, warm and cold each: without the model, and scored by it


def learned(
    model: Model,
    catalogue: Catalogue,
    neighbours: Neighbours,
    dev: Callable[[int], Questions],
    template: PromptTemplate | None,
) -> Fusion:
    """The fusion for `neighbours`, which are given it, from what they and a beam of 10 find for `dev` rows.

    Raises InputError where the rows do not tell.
    """
    from adtrie.catalogue import EntrySet
    from adtrie.evaluate.fusing import learn_fusion, scored_candidates, without_model
    from adtrie.request import TargetOptions

    texts = [catalogue.text(entry) for entry in range(catalogue.num_entries)]
    entry_of = {text: entry for entry, text in enumerate(texts)}
    beam = TargetOptions(10, "verify", width=10)

    def find(query: str) -> NDArray[np.int64]:
        hits = model.answer(query, catalogue, beam, template)
        return np.array([entry_of[hit.text] for hit in hits], np.int64)

    def score(query: str, entries: NDArray[np.int64]) -> dict[str, float]:
        chosen = catalogue.select(EntrySet.of_entries(entries, catalogue.num_entries))
        options = TargetOptions(entries.size, "exact")
        hits = model.answer(query, catalogue, options, template, selection=chosen, seeds=entries)
        return {hit.text: hit.score for hit in hits}

    neighbours.fusion = without_model(_rows(dev(NUM_ALONE)), texts, neighbours)
    with progress("scoring entries without a query") as advance:
        unconditional = model.unconditional(catalogue, template, advance)
    with progress("learning a fusion on dev rows") as advance:
        queries = scored_candidates(
            _rows(dev(NUM_FUSED)), texts, neighbours, find, score, unconditional, advance
        )
    about = {
        "model": model.name,
        "weights": model.checkpoint.fingerprint,
        "entries": catalogue.num_entries,
        "past_queries": neighbours.num_past,
        "neighbours": neighbours.count,
    }
    neighbours.fusion = learn_fusion(queries, neighbours.fusion.alone, about)
    return neighbours.fusion


def _rows(dev: Questions) -> list[Question]:
    return [question for group in dev.groups.values() for question in group]
