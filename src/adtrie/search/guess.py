"""What a search guesses of nodes: how they will turn out, and so the chance that feeding them is of use.

Guesses decide what an answer costs, never what it is. Knows the frontier; makes no forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adtrie.search.frontier import Frontier, Nodes

if TYPE_CHECKING:
    from adtrie.catalogue.trie import Trie

Float64 = NDArray[np.float64]
LEAST_SCORE = -1e6  # stands for -inf where guesses need a difference
FIRST_TOKEN = -2.0  # nats: a node's mean score per token is taken with one more token of this score
SPREAD = 1.3  # nats per square root of a token to come: how far the best entry is from what is expected
KNOWN_VARIANCE, UNKNOWN_VARIANCE = 1.0, 9.0  # of the k-th best total: when k are finished, and before
ROWS_PER_TOKEN = 2.0  # rows fed per token of an entry that is finished in a hurry


@dataclass(frozen=True)
class Step:
    """How guesses change from a node to a child that holds the part `share` of its entries.

    The mean by `only` nats at an only child, else by several + share x log(share) + count x log(number of
    children); the variance by `variance`; the chance of being the right child is share ** power.
    """

    only: float = 0.0
    several: float = 0.0
    share: float = 0.0
    count: float = 0.0
    variance: float = 0.0
    power: float = 0.0


BEST_BELOW = Step(power=0.8)  # of the best total below a node: the children with more entries hold it
OWN_TOTAL = Step(only=-2.5, several=-3.0, share=0.5, count=-0.4, variance=12.0)  # of a node's own total


@dataclass(frozen=True, eq=False)
class Guesses:
    """Of n nodes, float64[n] each: mean and variance of what has to reach `least` for a row to be of use.

    `weight` is the chance that the node is the right one of its siblings (times its worth), `chance` that its
    row is of use.
    """

    nodes: Nodes
    mean: Float64
    variance: Float64
    weight: Float64
    chance: Float64
    least: float

    @classmethod
    def of_open(
        cls, nodes: Nodes, mean: Float64, variance: Float64, least: float, worth: Float64 | None = None
    ) -> Guesses:
        """The guesses of nodes whose own scores are known; `worth`: what a useful row of each counts."""
        weight = np.ones(nodes.size) if worth is None else worth
        return cls(nodes, mean, variance, weight, weight * _chance(mean, variance, least), least)

    def __getitem__(self, keep: NDArray[np.int64] | NDArray[np.bool_]) -> Guesses:
        mean, variance, weight, chance = (
            column[keep] for column in (self.mean, self.variance, self.weight, self.chance)
        )
        return Guesses(self.nodes[keep], mean, variance, weight, chance, self.least)

    def __add__(self, other: Guesses) -> Guesses:
        return Guesses(
            np.concatenate((self.nodes, other.nodes)),
            np.concatenate((self.mean, other.mean)),
            np.concatenate((self.variance, other.variance)),
            np.concatenate((self.weight, other.weight)),
            np.concatenate((self.chance, other.chance)),
            self.least,
        )

    def below(self, store: Frontier, step: Step) -> Guesses:
        """The guesses of all inner children of the nodes, which are listed."""
        children, count = store.children(self.nodes), store.count[self.nodes]
        owner = np.arange(self.nodes.size).repeat(count)
        size = store.hi[children] - store.lo[children]
        inner = ~store.leaf[children]
        if store.renormalised:  # a forced end needs no row
            inner &= size > 1
        children, owner, size = children[inner], owner[inner], size[inner]
        siblings = count[owner]
        share = size / (store.hi[self.nodes] - store.lo[self.nodes])[owner]
        several = step.several + step.share * np.log(share) + step.count * np.log(siblings)
        mean = self.mean[owner] + np.where(siblings == 1, step.only, several)
        variance = self.variance[owner] + step.variance
        weight = self.weight[owner] * share**step.power
        # No more than its parent's, without whose row it cannot be fed.
        chance = np.minimum(weight * _chance(mean, variance, self.least), self.chance[owner])
        return Guesses(children, mean, variance, weight, chance, self.least)


def _chance(mean: Float64, variance: Float64, least: float) -> Float64:
    """The chance float64[n] to reach `least`, by the logistic curve nearest to the normal one."""
    distance = (mean - least) / np.sqrt(variance)
    return np.asarray(1.0 / (1.0 + np.exp(-np.minimum(np.maximum(1.7 * distance, -500.0), 500.0))))


def tokens_left(nodes: Frontier, trie: Trie, ids: Nodes) -> Float64:
    """float64[n]: tokens from each node to the ends of its first and last entry, on average, at least 1."""
    lo, hi, depth = nodes.lo[ids], nodes.hi[ids], nodes.depth[ids]
    return np.asarray(np.maximum((trie.length(lo) + trie.length(hi - 1)) / 2 - depth, 1.0))


def expected_totals(nodes: Frontier, ids: Nodes, left: Float64) -> Float64:
    """float64[n]: the total that the best entry below each node is expected to have.

    The tokens to come score as those on the way here did, on average.
    """
    score = np.maximum(nodes.score[ids], LEAST_SCORE)
    per_token = (score + FIRST_TOKEN) / (nodes.depth[ids] + 1)
    return np.asarray(np.maximum(nodes.total(ids), LEAST_SCORE) + per_token * left)


def kth_best(values: Float64, k: int) -> float:
    """The k-th largest of the values, the least of them where they are fewer; never -inf."""
    at = max(values.size - k, 0)
    return max(float(np.partition(values, at)[at]), LEAST_SCORE)
