"""Learning a fusion with a loaded model: what resemblance to a query is worth, on dev rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adtrie.cli.terminal import progress

if TYPE_CHECKING:
    from adtrie.api import Model
    from adtrie.catalogue import Catalogue, Fusion, Neighbours
    from adtrie.evaluate.questions import Questions
    from adtrie.prompt import PromptTemplate


def learned(
    model: Model,
    catalogue: Catalogue,
    neighbours: Neighbours,
    dev: Questions,
    template: PromptTemplate | None,
) -> Fusion:
    """The fusion for `neighbours`, from what a beam of 10 finds for the dev questions, and the neighbours.

    Raises InputError where the rows do not tell.
    """
    from adtrie.api import TargetOptions
    from adtrie.catalogue import EntrySet
    from adtrie.evaluate.fusing import learn_fusion, scored_candidates

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

    rows = [question for group in dev.groups.values() for question in group]
    with progress("learning a fusion on dev rows") as advance:
        queries = scored_candidates(rows, texts, neighbours, find, score, advance)
    about = {
        "model": model.name,
        "weights": model.checkpoint.fingerprint,
        "entries": catalogue.num_entries,
        "past_queries": len(dev.train),
        "neighbours": neighbours.count,
    }
    return learn_fusion(queries, about)
