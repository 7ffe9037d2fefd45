"""Better plans of the same cost, found by the true divergence: costs of linears do not quite add up.

Each trial takes a step down one linear's frontier and gives what that frees to another; it is kept if the
divergence on the search texts falls (EvoPress, arXiv 2410.14649, with one offspring). Texts held out decide
at the end whether the search found anything. Knows no file; whoever calls makes codes and keeps verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adtrie.compress.block import Block, Floats
from adtrie.compress.divergence import Comparison, embedded, head_matrix, last_hidden
from adtrie.compress.in_order import in_order
from adtrie.compress.plan import Choice, Frontier, Plan
from adtrie.compress.replaced_source import ReplacedSource
from adtrie.compress.samples import Batch
from adtrie.engine.source import WeightSource
from adtrie.format.codes import CompressedLinear


@dataclass(frozen=True)
class Refinement:
    """What a search did. Divergences are mean nats on the search texts."""

    trials: int
    kept: int
    kl_before: float
    kl_after: float


@dataclass(frozen=True, eq=False)
class Trial:
    """A plan, its codes, the hidden states before each block and after the last one, and its mean nats."""

    plan: Plan
    linears: Mapping[str, CompressedLinear]
    states: Sequence[Sequence[Floats]]
    kl: float


class Trials:
    """Divergences of plans that differ little: blocks before the first change are not run again."""

    def __init__(
        self, source: WeightSource, batches: Sequence[Batch], solve: Callable[[Choice], CompressedLinear]
    ) -> None:
        self._source, self._batches, self._solve = source, batches, solve
        self._comparison = Comparison(source, batches)

    def first(self, plan: Plan) -> Trial:
        """The trial of a plan from scratch."""
        return self._run(plan, {choice.name: self._solve(choice) for choice in plan.choices}, None, 0)

    def beside(self, known: Trial, plan: Plan) -> Trial:
        """The trial of a plan that shares most choices with that of `known`."""
        pairs = zip(known.plan.choices, plan.choices, strict=True)
        changed = [choice for before, choice in pairs if choice != before]
        linears = {**known.linears, **{choice.name: self._solve(choice) for choice in changed}}
        first = min((self._first_block(choice.name) for choice in changed), default=0)
        start = None if any(choice.name == "embed" for choice in changed) else known
        return self._run(plan, linears, start, first)

    def _run(
        self, plan: Plan, linears: Mapping[str, CompressedLinear], known: Trial | None, first: int
    ) -> Trial:
        source = ReplacedSource(self._source, linears)
        states = [embedded(source, self._batches)] if known is None else list(known.states[: first + 1])
        for index in range(len(states) - 1, self._source.spec.num_layers):
            block = Block(source, index)
            states.append(list(in_order(block.forward, states[-1])))
        hidden = last_hidden(source, states[-1], self._batches)
        return Trial(plan, linears, states, self._comparison.of_hidden(hidden, head_matrix(source)).kl_mean)

    def _first_block(self, name: str) -> int:
        """The first block that a change of the linear reaches; a head's own comes after all."""
        return (
            self._source.spec.num_layers if name == "head" else int(name.split(".")[1]) if "." in name else 0
        )


def propose(frontier: Frontier, plan: Plan, budget: float, seed: int, trial: int) -> Plan:
    """`plan` with one or two linears cheaper and one dearer, drawn by `seed` and `trial`."""
    random = np.random.default_rng((seed, trial))
    names = [choice.name for choice in plan.choices]
    count = min(int(random.integers(2, 4)), len(names))
    drawn = [names[at] for at in random.choice(len(names), count, replace=False)]
    return frontier.exchanged(plan, drawn[1:], drawn[:1], budget)
