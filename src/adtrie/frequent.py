"""Which tokens usually hold nearly all of the probability where entries of a catalogue are searched.

Only what a search costs depends on the choice: scores over these tokens are upper bounds in any case.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue import Catalogue
from adtrie.engine import Engine
from adtrie.models import Tokenizer
from adtrie.prompt import PromptTemplate

SHARE = 8  # one token of so many is frequent: `python -m benchmarks.bounded_normaliser`
NUM_ENTRIES = 48  # looked at, spread over the catalogue; each is its own query


def frequent_tokens(
    engine: Engine, tokenizer: Tokenizer, template: PromptTemplate, catalogue: Catalogue
) -> NDArray[np.int32]:
    """Tokens int32[V / SHARE], ascending: those of the highest mean probability along sampled entries.

    An entry is asked for by its own text. Those that do not fit the context are passed over.
    """
    size = engine.spec.vocab_size
    mass = np.zeros(size)
    session = engine.session(template.prefix_tokens(tokenizer), max_rows=engine.spec.max_positions)
    room = engine.spec.max_positions - session.prefix_rows
    sample = np.linspace(0, catalogue.num_entries - 1, min(NUM_ENTRIES, catalogue.num_entries)).astype(int)
    for entry in sample.tolist():
        text = catalogue.text(entry)
        prompt = template.query_tokens(text, tokenizer)
        chain = np.concatenate((prompt, tokenizer.encode(f" {text}\n")))
        if chain.size <= room:
            session.reset()
            parents = np.arange(-1, chain.size - 1, dtype=np.int32)
            logits = session.logits(chain, parents, first=prompt.size - 1)
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            mass += (odds / odds.sum(axis=1, keepdims=True)).sum(axis=0, dtype=np.float64)
    return np.sort(np.argsort(-mass, kind="stable")[: max(size // SHARE, 1)]).astype(np.int32)
