"""The cheapest way through a graph of stages, given what each way costs: the search behind an execution plan.

Knows no machine, no kernel and no model: stages with options go in, one option per stage comes out. A CPU
offers splits over threads and tiles, a GPU would offer fused kernels and shared memory; both are options.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from adtrie.errors import InputError

MOST_COMBINATIONS = 100_000
ANY = "any"  # a layout that every other can read, and that can be read as every other


@dataclass(frozen=True)
class Option:
    """One way to carry out a stage.

    settings: what the backend is told. working_set: bytes that must stay in the near memory meanwhile.
    needs, gives: how inputs and outputs lie over the workers ("rows", "heads", ...); where a stage gives
    what the next one needs, they are fused: the workers need not meet between them.
    """

    name: str
    settings: Mapping[str, int] = field(default_factory=dict)
    working_set: int = 0
    needs: str = ANY
    gives: str = ANY


@dataclass(frozen=True)
class Stage:
    """A node of the dependency graph: what it reads, computes, must wait for and may be carried out as."""

    name: str
    bytes_read: float
    operations: float
    options: tuple[Option, ...]
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """What a machine allows: bytes near a worker, bytes and operations per second, seconds of a meeting."""

    near_bytes: int
    bytes_per_s: float
    operations_per_s: float
    meeting_s: float

    def bound_s(self, stage: Stage) -> float:
        """Seconds below which no way of carrying out `stage` can get."""
        return max(stage.bytes_read / self.bytes_per_s, stage.operations / self.operations_per_s)


@dataclass(frozen=True)
class Choice:
    """The option of one stage and its predicted seconds, a meeting before it included."""

    stage: Stage
    option: Option
    predicted_s: float
    fused: bool  # with all stages before it


def fitting(stage: Stage, limits: Limits) -> tuple[Option, ...]:
    """Options whose working set fits; if none does, those of the smallest."""
    fit = tuple(o for o in stage.options if o.working_set <= limits.near_bytes)
    if fit:
        return fit
    least = min(option.working_set for option in stage.options)
    return tuple(o for o in stage.options if o.working_set == least)


def search(
    stages: Sequence[Stage], cost: Callable[[Stage, Option], float], limits: Limits
) -> tuple[Choice, ...]:
    """One option per stage such that the whole is predicted to be fastest; stages in the order given.

    cost(stage, option): seconds of the stage alone, asked once per fitting option. Exact: for each pair of
    layouts only the cheapest option can win, and all combinations of those are compared. Raises InputError
    for a graph that is none: unknown or later predecessors, a stage without options, too many combinations.
    """
    _check(stages)
    cheapest = [_cheapest_by_layout(stage, cost, limits) for stage in stages]
    if math.prod(map(len, cheapest)) > MOST_COMBINATIONS:
        raise InputError(
            f"plan: expected at most {MOST_COMBINATIONS} combinations of layouts, got "
            f"{math.prod(map(len, cheapest))}; give stages fewer layouts"
        )
    place = {stage.name: index for index, stage in enumerate(stages)}
    before = [[place[name] for name in stage.after] for stage in stages]
    meeting = limits.meeting_s

    def total(way: tuple[tuple[Option, float], ...]) -> float:
        return sum(
            seconds + (0.0 if _fused(way, before[i], option) else meeting)
            for i, (option, seconds) in enumerate(way)
        )

    best = min(itertools.product(*cheapest), key=total)
    return tuple(
        Choice(stage, option, seconds + (0.0 if fused else meeting), fused)
        for i, (stage, (option, seconds)) in enumerate(zip(stages, best, strict=True))
        for fused in [_fused(best, before[i], option)]
    )


def _fused(way: tuple[tuple[Option, float], ...], before: list[int], option: Option) -> bool:
    return all(fits(way[p][0].gives, option.needs) for p in before)


def fits(gives: str, needs: str) -> bool:
    """Whether what one stage gives is where the next one needs it."""
    return ANY in (gives, needs) or gives == needs


def _cheapest_by_layout(
    stage: Stage, cost: Callable[[Stage, Option], float], limits: Limits
) -> list[tuple[Option, float]]:
    best: dict[tuple[str, str], tuple[Option, float]] = {}
    for option in fitting(stage, limits):
        seconds, layout = cost(stage, option), (option.needs, option.gives)
        if layout not in best or seconds < best[layout][1]:
            best[layout] = (option, seconds)
    return list(best.values())


def _check(stages: Sequence[Stage]) -> None:
    known: set[str] = set()
    for stage in stages:
        if not stage.options:
            raise InputError(f"plan: stage {stage.name!r} has no options")
        if stage.name in known or not set(stage.after) <= known:
            raise InputError(
                f"plan: stage {stage.name!r} must have a name of its own and come after {list(stage.after)}"
            )
        known.add(stage.name)
