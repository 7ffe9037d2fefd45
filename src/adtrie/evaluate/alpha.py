"""How much of an entry's familiarity a prior takes away: the alpha of `Prior.from_unconditional`.

Knows no model: it reorders candidates that a search found without a prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import InputError
from adtrie.search.rank import best

ALPHAS = tuple(step / 20 for step in range(21))  # 0.0 (no prior) to 1.0 (pointwise mutual information)


@dataclass(frozen=True, eq=False)
class Candidates:
    """The M best entries of one query without a prior, and the entry that is right, among them or not.

    entries int64[M]; log_probabilities float64[M] given the query, unconditional float64[M] without it. An
    entry below place M cannot rise, so M must be generous. InputError for arrays that do not fit each other.
    """

    entries: NDArray[np.int64]
    log_probabilities: NDArray[np.float64]
    unconditional: NDArray[np.float64]
    label: int

    def __post_init__(self) -> None:
        shapes = {self.entries.shape, self.log_probabilities.shape, self.unconditional.shape}
        if len(shapes) != 1 or self.entries.ndim != 1 or self.entries.size == 0:
            raise InputError(
                f"candidates: expected three arrays of one length, at least 1, got shapes {sorted(shapes)}"
            )
        if np.isnan(self.log_probabilities).any() or not np.isfinite(self.unconditional).all():
            raise InputError(
                "candidates: expected log-probabilities, got NaN or an infinite unconditional one"
            )

    def first(self, alpha: float) -> int:
        """The entry in first place under a prior of -alpha times the unconditional log-probabilities."""
        totals = self.log_probabilities + -alpha * self.unconditional
        return int(self.entries[best(totals, self.entries, 1)[0]])


def choose_alpha(queries: Sequence[Candidates]) -> float:
    """The alpha of ALPHAS that puts the label first for most queries, the smallest of equally good ones.

    Raises InputError when there is no query.
    """
    if not queries:
        raise InputError("choose_alpha: got no query, expected the candidates of at least one dev row")
    found = [sum(query.first(alpha) == query.label for query in queries) for alpha in ALPHAS]
    return ALPHAS[int(np.argmax(found))]
