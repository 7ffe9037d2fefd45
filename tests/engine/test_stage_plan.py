"""The planner: exact against trying all combinations; working sets kept; graphs that are none refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.engine.plan import ANY, Limits, Option, Stage, fits, fitting, search
from adtrie.errors import InputError

LAYOUTS = ("rows", "heads", ANY)
Costs = dict[tuple[str, str], float]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[tuple[Stage, ...], Costs, Limits]:
    """Up to five stages, each after any of those before it, with up to four options."""
    stages, costs = [], {}
    for i in range(draw(st.integers(1, 5))):
        before = draw(st.lists(st.integers(0, i - 1), unique=True, max_size=i)) if i else []
        layout = st.sampled_from(LAYOUTS)
        options = tuple(
            Option(f"option {j}", {"x": j}, draw(st.integers(0, 20)), draw(layout), draw(layout))
            for j in range(draw(st.integers(1, 4)))
        )
        stages.append(Stage(f"stage {i}", 0.0, 0.0, options, tuple(f"stage {b}" for b in before)))
        for option in options:
            costs[f"stage {i}", option.name] = float(draw(st.integers(0, 30)))
    return tuple(stages), costs, Limits(draw(st.integers(0, 20)), 1.0, 1.0, draw(st.sampled_from([0.0, 5.0])))


def total(stages: tuple[Stage, ...], way: tuple[Option, ...], costs: Costs, meeting: float) -> float:
    taken = {stage.name: option for stage, option in zip(stages, way, strict=True)}
    seconds = 0.0
    for stage in stages:
        option = taken[stage.name]
        fused = all(fits(taken[name].gives, option.needs) for name in stage.after)
        seconds += costs[stage.name, option.name] + (0.0 if fused else meeting)
    return seconds


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_as_good_as_trying_everything(case: tuple[tuple[Stage, ...], Costs, Limits]) -> None:
    stages, costs, limits = case
    found = search(stages, lambda stage, option: costs[stage.name, option.name], limits)
    every = itertools.product(*(fitting(stage, limits) for stage in stages))
    best = min(total(stages, way, costs, limits.meeting_s) for way in every)
    assert [choice.stage for choice in found] == list(stages)
    assert sum(choice.predicted_s for choice in found) == pytest.approx(best)
    assert total(stages, tuple(c.option for c in found), costs, limits.meeting_s) == pytest.approx(best)


@settings(max_examples=50, deadline=None)
@given(graphs())
def test_working_sets_fit_where_any_does(case: tuple[tuple[Stage, ...], Costs, Limits]) -> None:
    stages, costs, limits = case
    for choice in search(stages, lambda stage, option: costs[stage.name, option.name], limits):
        least = min(option.working_set for option in choice.stage.options)
        assert choice.option.working_set <= max(limits.near_bytes, least)


def test_bound_is_the_slower_of_reading_and_computing() -> None:
    limits = Limits(0, bytes_per_s=10.0, operations_per_s=100.0, meeting_s=0.0)
    assert limits.bound_s(Stage("a", 20.0, 100.0, ())) == 2.0
    assert limits.bound_s(Stage("a", 20.0, 900.0, ())) == 9.0


OPTION = Option("only")


@pytest.mark.parametrize(
    "stages",
    [
        (Stage("a", 0, 0, ()),),
        (Stage("a", 0, 0, (OPTION,), ("b",)), Stage("b", 0, 0, (OPTION,))),
        (Stage("a", 0, 0, (OPTION,)), Stage("a", 0, 0, (OPTION,))),
        tuple(Stage(f"s{i}", 0, 0, tuple(Option(f"{j}", needs=f"{j}") for j in range(10))) for i in range(6)),
    ],
    ids=["no options", "later predecessor", "same name", "too many"],
)
def test_what_is_no_graph_is_refused(stages: tuple[Stage, ...]) -> None:
    with pytest.raises(InputError, match="plan"):
        search(stages, lambda stage, option: 1.0, Limits(0, 1.0, 1.0, 0.0))
