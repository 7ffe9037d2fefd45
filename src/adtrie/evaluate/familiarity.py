"""The prior that takes away a model's habit of preferring familiar entries, as strong as dev rows ask for.

Knows the model as a function that answers. Test rows are never asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from adtrie.evaluate.alpha import Candidates, choose_alpha
from adtrie.evaluate.questions import Question
from adtrie.evaluate.targeting import Advance, Answer

NUM_CANDIDATES = 30  # an entry below that place cannot rise to the first


def best_alpha(
    dev: Sequence[Question],
    ask: Callable[[str], Answer],
    entry_of: Mapping[str, int],
    unconditional: NDArray[np.float64],
    advance: Advance = lambda done, total: None,
) -> float:
    """The alpha of `alpha.ALPHAS` with the best R@1 on `dev`, the smallest of equally good ones.

    `ask` answers without a prior, in raw scores, generously; `entry_of` is the entry of a text;
    `unconditional` float64[N] are log-probabilities without a query.
    """
    candidates = []
    for number, question in enumerate(dev, start=1):
        hits = ask(question.query).hits
        entries = np.array([entry_of[hit.text] for hit in hits], dtype=np.int64)
        scores = np.array([hit.score for hit in hits], dtype=np.float64)
        right = {entry_of[text] for text in question.right if text in entry_of}
        label = next((int(entry) for entry in entries if int(entry) in right), -1)
        candidates.append(Candidates(entries, scores, unconditional[entries], label))
        advance(number, len(dev))
    return choose_alpha(candidates)
