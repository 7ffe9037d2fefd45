"""Learns what resemblance is worth beside a model's score: a logit over the candidates of dev queries.

The chance that candidate i is right is taken to be softmax(weights . (score, features))_i, where the score is
the log-probability given the query, and the one without it a feature. The weights are
those of the highest penalised likelihood, found by Newton's method. Knows no model and no catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.fusion import FEATURES, MAX_WEIGHT, Fusion
from adtrie.errors import InputError
from adtrie.evaluate.questions import Question

if TYPE_CHECKING:
    from adtrie.catalogue import Neighbours

PENALTY = 1.0  # on squared weights of columns scaled to a deviation of 1: one more dev row, about
_MAX_STEPS, _SETTLED = 100, 1e-9

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scored:
    """The M candidates of one dev query: log-probabilities float64[M] given it and without it, features
    float64[M, 5], whether they are right bool[M].
    """

    scores: Float64
    unconditional: Float64
    features: Float64
    right: NDArray[np.bool_]


def scored_candidates(
    questions: Sequence[Question],
    texts: Sequence[str],
    neighbours: Neighbours,
    find: Callable[[str], NDArray[np.int64]],
    score: Callable[[str, NDArray[np.int64]], Mapping[str, float]],
    unconditional: Float64,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> list[Scored]:
    """What a search finds for each question and its neighbours, scored by the model and by resemblance.

    `texts` of all entries; `find(query)` are the entries of a search, `score(query, entries)` the
    log-probabilities by text, `unconditional` float64[N] those without a query.
    """
    made = []
    for number, question in enumerate(questions, start=1):
        entries = np.union1d(find(question.query), neighbours.of(question.query))
        scores = score(question.query, entries)
        known = [entry for entry in entries.tolist() if texts[entry] in scores]
        if known:
            made.append(
                Scored(
                    np.array([scores[texts[entry]] for entry in known]),
                    unconditional[known],
                    neighbours.features(question.query)[known],
                    np.array([texts[entry] in question.right for entry in known]),
                )
            )
        advance(number, len(questions))
    return made


class FusedFloor:
    """Ranks entries by resemblance alone, as a fusion without a model weighs it."""

    def __init__(self, neighbours: Neighbours, texts: Sequence[str]) -> None:
        """`neighbours` with a fusion; `texts` of all entries."""
        self._neighbours, self._texts = neighbours, texts

    def rank(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """The k best entries of each query, best first; ties go to the first entry."""
        return [[self._texts[at] for at in self._best(query, k)] for query in queries]

    def _best(self, query: str, k: int) -> list[int]:
        fusion = self._neighbours.fusion
        assert fusion is not None, "a floor of neighbours without a fusion"
        scores = fusion.without_model(self._neighbours.features(query))
        return [int(at) for at in np.argsort(-scores, kind="stable")[:k]]


def without_model(questions: Sequence[Question], texts: Sequence[str], neighbours: Neighbours) -> Fusion:
    """The fusion that ranks by resemblance alone, learned on the neighbours of `questions`; it adds nothing.

    Raises InputError where no neighbour is right.
    """
    columns, right = [], []
    for question in questions:
        entries = neighbours.of(question.query)
        columns.append(neighbours.features(question.query)[entries])
        right.append(np.array([texts[entry] in question.right for entry in entries.tolist()], np.bool_))
    usable = _usable(right)
    alone = logit([columns[at] for at in usable], [right[at] for at in usable])
    return Fusion(_named(np.zeros(len(FEATURES))), 0.0, _named(alone), {})


def learn_fusion(
    queries: Sequence[Scored], alone: Mapping[str, float], learned_from: Mapping[str, Any]
) -> Fusion:
    """The fusion that makes the right candidates of `queries` likeliest; `alone` ranks without a model.

    Raises InputError where no candidate is right, or the model's score does not help: its weight, by which
    the others are divided, must be above 0.
    """
    usable = [queries[at] for at in _usable([query.right for query in queries])]
    columns = [np.column_stack((query.scores, query.unconditional, query.features)) for query in usable]
    own, *others = logit(columns, [query.right for query in usable])
    nats = np.array(others) / own if own > 0 else np.full(len(others), np.inf)
    if not np.abs(nats).max() <= MAX_WEIGHT:
        raise InputError(
            f"fusion: beside resemblance the model's score does not help on {len(usable):,} dev rows "
            f"(weight {own:.3g}); tune the model, or give more rows"
        )
    about = {**learned_from, "rows": len(queries), "usable": len(usable)}
    return Fusion(_named(nats[1:]), round(float(-nats[0]), 4), alone, about)


def _usable(right: Sequence[NDArray[np.bool_]]) -> list[int]:
    """The queries with a right and a wrong candidate; InputError without any."""
    usable = [at for at, good in enumerate(right) if good.any() and not good.all()]
    if not usable:
        raise InputError(
            f"fusion: none of the {len(right):,} dev rows has a right and a wrong candidate; give more rows"
        )
    return usable


def logit(columns: Sequence[Float64], right: Sequence[NDArray[np.bool_]]) -> Float64:
    """Weights float64[F] of a conditional logit with columns float64[M_q, F] and at least one right each."""
    table, wanted = np.concatenate(columns), np.concatenate(right).astype(np.float64)
    scale = table.std(axis=0) + 1e-9
    table = table / scale
    sizes = np.array([len(one) for one in columns])
    first = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    query = np.repeat(np.arange(sizes.size), sizes)

    def state(weights: Float64) -> tuple[float, Float64, Float64]:
        """Penalised log-likelihood; probabilities of the candidates, and among the right ones."""
        logits = table @ weights
        mass = np.exp(logits - np.maximum.reduceat(logits, first)[query])
        whole, good = np.add.reduceat(mass, first), np.add.reduceat(mass * wanted, first)
        with np.errstate(divide="ignore"):
            value = float(np.log(good).sum() - np.log(whole).sum() - 0.5 * PENALTY * weights @ weights)
        good = np.maximum(good, np.finfo(np.float64).tiny)
        return value, mass / whole[query], mass * wanted / good[query]

    weights = np.zeros(table.shape[1])
    value, share, good = state(weights)
    for _ in range(_MAX_STEPS):
        gradient = (good - share) @ table - PENALTY * weights
        mean = np.add.reduceat(table * share[:, None], first)
        # Of the log-likelihood of all candidates only: with several right ones it is not the true Hessian,
        # but always definite, so that the step goes upwards.
        curvature = (table * share[:, None]).T @ table - mean.T @ mean + PENALTY * np.eye(weights.size)
        step = np.linalg.solve(curvature, gradient)
        while True:
            value_after, share_after, good_after = state(weights + step)
            if value_after >= value or np.abs(step).max() < _SETTLED:
                break
            step = step / 2
        gain, weights = value_after - value, weights + step
        value, share, good = value_after, share_after, good_after
        if gain < _SETTLED:
            break
    return np.asarray(weights / scale, np.float64)


def _named(weights: Float64) -> dict[str, float]:
    return {name: round(float(weight), 4) for name, weight in zip(FEATURES, weights, strict=True)}
