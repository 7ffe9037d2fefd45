"""A budget to a choice for every linear and panel: pure arithmetic on a table of measurements.

One multiplier prices the resource everywhere. Inside a linear each panel takes the pattern of least error +
price * cost (Everett 1963); falling prices trace the convex frontier of the linear over its grids, and
merging the frontiers of all linears steepest step first solves the knapsack with its whole numbers relaxed
(Sinha and Zoltners 1979). Every state on that path is the best there is at its own cost. A plan is the last
state that fits, with one linear changed to use what is left; as the path does not depend on the budget, more
budget never predicts more error. An embedding moves in steps so large that a budget would stop before one:
each of its states has a path of its own, and the best of all paths is taken.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, product
from typing import get_args

import msgspec
import numpy as np

from adtrie.compress.measurements import (
    MeasuredLinear,
    Measurements,
    Option,
    Override,
    Resource,
    decode,
    restrict,
)
from adtrie.errors import InputError
from adtrie.format.codes import num_panels

_STEP_DOWN = 0.9  # of its cost a linear keeps at most when it is to free something
# At most so many linears with steps of at least that part of all cost are tried in every state.
_MOST_LUMPS, _LUMP = 2, 0.005


@dataclass(frozen=True)
class Choice:
    """How a linear is stored: one grid, and survivors per block of four for each panel of 16 rows."""

    name: str
    bits: int
    group: int
    kept: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """A choice for every linear, in the order of the table, and what it is predicted to take.

    num_bytes: of values, positions and scales. ms: of all panels, 0.0 where they were not measured. error: in
    the currency of the table. model: fingerprint of the weights it is for.
    """

    choices: tuple[Choice, ...]
    num_bytes: int
    ms: float
    error: float
    model: str = ""

    def to_json(self) -> bytes:
        """The file."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes, where: str = "plan") -> Plan:
        """The plan of `to_json`. Raises FormatError that starts with `where` for anything else."""
        return decode(data, cls, where)


class Frontier:
    """The plans of a table for all budgets of one resource; `smallest` and `largest` cost the ends."""

    def __init__(
        self, table: Measurements, resource: Resource = "bytes", overrides: Sequence[Override] = ()
    ) -> None:
        """Raises InputError for overrides that match nothing, or milliseconds that were not measured."""
        if resource not in get_args(Resource):
            raise InputError(
                f"plan: expected a budget of {' or '.join(get_args(Resource))}, got {resource!r:.60}"
            )
        self._resource, self._model = resource, table.model
        self._linears = [_LinearStates.of(each, resource) for each in restrict(table, overrides).linears]
        lumps = self._lumps()
        # Every way to store those, each with a path of the others.
        self._starts = [dict(zip(lumps, states, strict=True)) for states in product(*map(self._hull, lumps))]
        steps = [
            (-slope, index, step)
            for index, linear in enumerate(self._linears)
            if index not in lumps
            for step, slope in enumerate(linear.slopes())
        ]
        self._owners = np.array([index for _, index, _ in sorted(steps)], dtype=np.intp)
        self.smallest = min(self._cost(self._on_path(start, 0)) for start in self._starts)
        self.largest = max(self._cost(self._on_path(start, len(steps))) for start in self._starts)

    def plan(self, budget: float) -> Plan:
        """The plan of little predicted error that costs at most `budget` bytes or milliseconds.

        Above `largest` that is the most exact plan there is, which leaves budget over. Raises InputError
        below `smallest`.
        """
        if math.isnan(budget) or budget < self.smallest:
            raise InputError(
                f"plan: a budget of {budget:g} {self._resource} is below the smallest possible, "
                f"{self.smallest:.15g}; raise it or allow sparser options"
            )
        found = [each for start in self._starts if (each := self._last_on_path(start, budget))]
        best, least = found[0][0], math.inf
        # A plan of a path never beats its next state, so most paths need no closer look.
        for chosen, bound in sorted(found, key=lambda each: each[1]):
            if bound >= least:
                break
            better = self._use_rest(chosen, bound, budget)
            error = max(self._error(better), bound)
            if error < least:
                best, least = better, error
        return self._as_plan(best, least)

    def exchanged(self, plan: Plan, cheaper: Sequence[str], dearer: Sequence[str], budget: float) -> Plan:
        """`plan` with the linears `cheaper` one step down their frontiers and `dearer` up by what that frees.

        Costs at most `budget` if `plan` does. Raises InputError for a plan that is not of this frontier.
        """
        chosen = self._states_of(plan)
        names = {each.linear.name: index for index, each in enumerate(self._linears)}
        for name in cheaper:
            chosen[names[name]] = self._linears[names[name]].below(chosen[names[name]])
        for name in dearer:
            chosen = self._furthest(chosen, names[name], budget)
        return self._as_plan(chosen, self._error(chosen))

    def _states_of(self, plan: Plan) -> list[int]:
        if [choice.name for choice in plan.choices] != [each.linear.name for each in self._linears]:
            raise InputError("plan: its linears are not those that were measured; plan again")
        return [each.state_of(choice) for each, choice in zip(self._linears, plan.choices, strict=True)]

    def _lumps(self) -> list[int]:
        """The few linears whose steps are too large to stand in the way of all others: embeddings, mostly."""
        total = sum(linear.costs[-1] for linear in self._linears)
        largest = [linear.largest_step() for linear in self._linears]
        order = sorted(range(len(largest)), key=lambda index: -largest[index])
        return [index for index in order[:_MOST_LUMPS] if largest[index] > _LUMP * total]

    def _hull(self, index: int) -> list[int]:
        return self._linears[index].hull

    def _last_on_path(self, start: Mapping[int, int], budget: float) -> tuple[list[int], float] | None:
        """The last state of a path that fits and the error of the one after it, 0 at the end of the path.

        None where no state fits.
        """
        num_steps = len(self._owners)
        step = _last_within(budget, num_steps + 1, lambda steps: self._cost(self._on_path(start, steps)))
        chosen = self._on_path(start, step)
        if self._cost(chosen) > budget:
            return None
        return chosen, self._error(self._on_path(start, step + 1)) if step < num_steps else 0.0

    def _on_path(self, start: Mapping[int, int], num_steps: int) -> list[int]:
        """The state of each linear after some steps of the path that begins with the states of `start`."""
        vertices = np.bincount(self._owners[:num_steps], minlength=len(self._linears)).tolist()
        return [
            start.get(index, linear.hull[at])
            for index, (linear, at) in enumerate(zip(self._linears, vertices, strict=True))
        ]

    def _use_rest(self, chosen: list[int], bound: float, budget: float) -> list[int]:
        """`chosen` with the one linear changed that saves most error within the budget.

        One, and from the last state on the path only: then less rest never gives less error. A linear with
        paths of its own moves only at the end of a path.
        """
        free = [index for index in range(len(chosen)) if index not in self._starts[0] or bound == 0.0]
        return min((self._furthest(chosen, index, budget) for index in free), key=self._error)

    def _furthest(self, chosen: list[int], index: int, budget: float) -> list[int]:
        """`chosen` with linear `index` in its best state that the budget pays."""

        def changed(further: int) -> list[int]:
            return [*chosen[:index], chosen[index] + further, *chosen[index + 1 :]]

        count = len(self._linears[index].costs) - chosen[index]
        return changed(_last_within(budget, count, lambda further: self._cost(changed(further))))

    def _cost(self, chosen: list[int]) -> float:
        return math.fsum(linear.costs[at] for linear, at in zip(self._linears, chosen, strict=True))

    def _error(self, chosen: list[int]) -> float:
        return math.fsum(linear.errors[at] for linear, at in zip(self._linears, chosen, strict=True))

    def _as_plan(self, chosen: list[int], error: float) -> Plan:
        pairs = [(each, each.options_at(at)) for each, at in zip(self._linears, chosen, strict=True)]
        return Plan(
            tuple(linear.choice(options) for linear, options in pairs),
            int(sum(linear.total(options, "bytes") for linear, options in pairs)),
            math.fsum(linear.total(options, "ms") for linear, options in pairs),
            error,
            self._model,
        )


@dataclass(frozen=True, eq=False)
class _Family:
    """The states of a linear on one grid, cheapest first: step i moves panels[i] to options[i]."""

    first: list[Option]
    panels: list[int]
    options: list[Option]
    costs: list[float]  # of each state, one more than steps
    errors: list[float]
    gains: list[int]  # survivors that each step adds to a block of four


@dataclass(frozen=True, eq=False)
class _LinearStates:
    """States of a linear over all its grids, cost rising and error falling; `hull`: those of its frontier."""

    linear: MeasuredLinear
    sources: list[tuple[_Family, int]]  # the family and the state in it
    costs: list[float]
    errors: list[float]
    hull: list[int]

    @classmethod
    def of(cls, linear: MeasuredLinear, resource: Resource) -> _LinearStates:
        if resource == "ms" and not all(option.panel_ms > 0 for option in linear.options):
            raise InputError(
                f"plan: linear {linear.name!r:.80} has options without a measured time; "
                "measure the kernels or give the budget in bytes"
            )
        grids: dict[tuple[int, int], list[Option]] = defaultdict(list)
        for option in linear.options:
            grids[option.bits, option.group].append(option)
        families = [_family(linear, options, resource) for options in grids.values()]
        every = [(family, state) for family in families for state in range(len(family.costs))]
        every.sort(key=lambda source: (source[0].costs[source[1]], source[0].errors[source[1]]))
        sources: list[tuple[_Family, int]] = []
        errors: list[float] = []
        for family, state in every:
            if not errors or family.errors[state] < errors[-1]:
                sources.append((family, state))
                errors.append(family.errors[state])
        costs = [family.costs[state] for family, state in sources]
        return cls(linear, sources, costs, errors, lower_hull(costs, errors))

    def slopes(self) -> list[float]:
        """Error saved per unit of cost by each step on the hull, never rising."""
        return list(accumulate(_slopes(self.hull, self.costs, self.errors), min))

    def largest_step(self) -> float:
        """Cost of the largest step of the frontier."""
        return max((self.costs[b] - self.costs[a] for a, b in pairwise(self.hull)), default=0.0)

    def below(self, state: int) -> int:
        """The last state of the frontier that saves a tenth of the cost of `state`, else the cheapest."""
        return max((at for at in self.hull if self.costs[at] <= _STEP_DOWN * self.costs[state]), default=0)

    def state_of(self, choice: Choice) -> int:
        """The state that `choice` is. Raises InputError where it is none."""
        for state, (family, steps) in enumerate(self.sources):
            grid = family.first[0]
            if (grid.bits, grid.group) == (choice.bits, choice.group):
                # Patterns are compared only where the number of steps can be right.
                options = self.options_at(state) if _kept_sum(family, steps) == sum(choice.kept) else []
                if tuple(option.kept for option in options) == choice.kept:
                    return state
        raise InputError(f"plan: the choice of {choice.name!r:.80} is not on its frontier; plan again")

    def options_at(self, state: int) -> list[Option]:
        """The option of each panel."""
        family, steps = self.sources[state]
        options = list(family.first)
        for panel, option in zip(family.panels[:steps], family.options[:steps], strict=True):
            options[panel] = option
        return options

    def choice(self, options: list[Option]) -> Choice:
        return Choice(
            self.linear.name, options[0].bits, options[0].group, tuple(option.kept for option in options)
        )

    def total(self, options: list[Option], resource: Resource) -> float:
        costs = {option.kept: self.linear.panel_costs(option, resource) for option in options}
        return math.fsum(costs[option.kept][panel] for panel, option in enumerate(options))


def _family(linear: MeasuredLinear, options: list[Option], resource: Resource) -> _Family:
    costs = [linear.panel_costs(option, resource) for option in options]
    cheapest: list[int] = []
    steps: list[tuple[float, int, int, int]] = []  # -slope, panel, option before, option after
    for panel in range(num_panels(linear.num_outputs)):
        at_panel = [cost[panel] for cost in costs], [option.errors[panel] for option in options]
        hull = lower_hull(*at_panel)
        cheapest.append(hull[0])
        # Rounding must not let a later step of a panel overtake an earlier one; equal ones keep their order.
        slopes = accumulate(_slopes(hull, *at_panel), min)
        steps += [(-slope, panel, *pair) for slope, pair in zip(slopes, pairwise(hull), strict=True)]
    steps.sort(key=lambda step: step[:2])
    panels = [panel for _, panel, _, _ in steps]
    paid = [costs[after][panel] - costs[before][panel] for _, panel, before, after in steps]
    saved = [options[before].errors[p] - options[after].errors[p] for _, p, before, after in steps]
    start_cost = math.fsum(costs[index][panel] for panel, index in enumerate(cheapest))
    start_error = math.fsum(options[index].errors[panel] for panel, index in enumerate(cheapest))
    return _Family(
        [options[index] for index in cheapest],
        panels,
        [options[after] for _, _, _, after in steps],
        list(accumulate(paid, initial=start_cost)),
        [max(0.0, start_error - gain) for gain in accumulate(saved, initial=0.0)],
        [options[after].kept - options[before].kept for _, _, before, after in steps],
    )


def _kept_sum(family: _Family, steps: int) -> int:
    """Survivors of a block of four summed over panels, after some steps."""
    return sum(option.kept for option in family.first) + sum(family.gains[:steps])


def _last_within(budget: float, count: int, cost: Callable[[int], float]) -> int:
    """The last of 0..count-1, by rising cost, that `budget` pays; 0 where it pays none."""
    return max(0, bisect_right(range(count), budget, key=cost) - 1)


def lower_hull(costs: Sequence[float], errors: Sequence[float]) -> list[int]:
    """Indices of the points no mixture of others beats: cost rising, error falling ever more slowly."""
    hull: list[int] = []
    for index in sorted(range(len(costs)), key=lambda i: (costs[i], errors[i])):
        if hull and errors[index] >= errors[hull[-1]]:
            continue
        while len(hull) > 1 and _above(hull[-2], hull[-1], index, costs, errors):
            hull.pop()
        hull.append(index)
    return hull


def _above(one: int, middle: int, other: int, costs: Sequence[float], errors: Sequence[float]) -> bool:
    """Whether `middle` lies on or above the line from `one` to `other`."""
    left = (errors[one] - errors[middle]) * (costs[other] - costs[middle])
    return left <= (errors[middle] - errors[other]) * (costs[middle] - costs[one])


def _slopes(hull: list[int], costs: Sequence[float], errors: Sequence[float]) -> list[float]:
    """Error saved per unit of cost from each vertex to the next."""
    return [(errors[one] - errors[other]) / (costs[other] - costs[one]) for one, other in pairwise(hull)]
