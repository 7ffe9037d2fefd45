"""The plan against exhaustive search on tiny tables; its laws; its files."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.compress.measurements import (
    MeasuredLinear,
    Measurements,
    Option,
    Override,
    Resource,
    restrict,
)
from adtrie.compress.plan import Frontier, Plan, lower_hull
from adtrie.errors import FormatError, InputError
from adtrie.format.codes import num_panels

KINDS = ((4, 64, 4), (4, 64, 2), (4, 64, 1), (4, 192, 4), (4, 192, 2), (8, 192, 4))  # bits, group, kept


@st.composite
def tables(draw: st.DrawFn, max_linears: int = 3) -> Measurements:
    """Up to three linears of one or two panels; errors of any order, with ties and zeros."""
    linears = []
    for index in range(draw(st.integers(1, max_linears))):
        num_outputs = draw(st.sampled_from([5, 16, 24]))
        kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4, unique=True))
        size = num_panels(num_outputs)
        errors = st.lists(st.integers(0, 60), min_size=size, max_size=size)
        options = tuple(
            Option(*kind, tuple(e / 4 for e in draw(errors)), draw(st.integers(1, 9)) / 8) for kind in kinds
        )
        linears.append(MeasuredLinear(f"layers.{index}.down", num_outputs, 192, options))
    return Measurements("units", tuple(linears))


def everything(table: Measurements, resource: Resource) -> np.ndarray:
    """(cost, error) of every possible plan."""
    each = []
    for linear in table.linears:
        found = []
        for grid in {(option.bits, option.group) for option in linear.options}:
            options = [option for option in linear.options if (option.bits, option.group) == grid]
            for chosen in product(options, repeat=num_panels(linear.num_outputs)):
                cost = sum(linear.panel_costs(option, resource)[p] for p, option in enumerate(chosen))
                found.append((cost, sum(option.errors[p] for p, option in enumerate(chosen))))
        each.append(found)
    return np.array([np.sum(plan, axis=0) for plan in product(*each)])


def cost_of(plan: Plan, resource: Resource) -> float:
    return plan.num_bytes if resource == "bytes" else plan.ms


@given(tables(), st.sampled_from(["bytes", "ms"]))
@settings(max_examples=60, deadline=None)
def test_against_every_plan_there_is(table: Measurements, resource: Resource) -> None:
    frontier, plans = Frontier(table, resource), everything(table, resource)
    assert frontier.smallest == plans[:, 0].min()
    best_error = frontier.plan(np.inf).error
    assert best_error == pytest.approx(plans[:, 1].min())
    assert frontier.largest == pytest.approx(plans[plans[:, 1] <= best_error + 1e-9, 0].min())
    previous = np.inf
    for budget in np.unique(plans[:, 0]):
        plan = frontier.plan(budget)
        cost = cost_of(plan, resource)
        assert cost <= budget and plan.error <= previous
        previous = plan.error
        assert plan.error >= plans[plans[:, 0] <= budget, 1].min() - 1e-9
    # The convex corners of all plans together are found exactly, and beside them no line does better.
    for corner in lower_hull(plans[:, 0].tolist(), plans[:, 1].tolist()):
        assert frontier.plan(plans[corner, 0]).error == pytest.approx(plans[corner, 1])


@given(tables(max_linears=5), st.sampled_from(["bytes", "ms"]), st.lists(st.floats(0, 1), min_size=2))
@settings(max_examples=60, deadline=None)
def test_never_over_budget_and_more_budget_never_more_error(
    table: Measurements, resource: Resource, shares: list[float]
) -> None:
    frontier = Frontier(table, resource)
    budgets = sorted(frontier.smallest + share * (frontier.largest - frontier.smallest) for share in shares)
    plans = [frontier.plan(budget) for budget in budgets]
    assert all(cost_of(plan, resource) <= budget for plan, budget in zip(plans, budgets, strict=True))
    errors = [plan.error for plan in plans]
    assert errors == sorted(errors, reverse=True)
    for plan in plans:
        check_sums(plan, table)


def test_a_larger_rest_never_saves_less() -> None:
    """Of 9 ms left, 5 save 4 in one linear and 4 save 3 in another; of 10, 10 save 5 in the first alone.

    Spending the rest twice over would be better at 9 than at 10. The two of the largest steps have paths of
    their own: fourth and fifth.
    """

    def linear(name: str, *states: tuple[float, float]) -> MeasuredLinear:
        kinds = ((4, 192, 1), (4, 192, 2), (4, 192, 4))
        options = [
            Option(*kind, (error,), 1.0 + ms) for kind, (ms, error) in zip(kinds, states, strict=False)
        ]
        return MeasuredLinear(name, 16, 192, tuple(options))

    first = linear("first", (0, 5), (5, 1), (10, 0))
    second, third = linear("second", (0, 3), (4, 0)), linear("third", (0, 999), (50, 0))
    lumps = (linear("fourth", (0, 1), (100, 0)), linear("fifth", (0, 1), (100, 0)))
    table = Measurements("units", (first, second, third, *lumps))
    frontier = Frontier(table, "ms")
    errors = [frontier.plan(frontier.smallest + rest).error for rest in range(70)]
    assert errors == sorted(errors, reverse=True)
    assert errors[:12] == [1009] * 4 + [1006] + [1005] * 5 + [1004] * 2


def check_sums(plan: Plan, table: Measurements) -> None:
    """The totals of a plan are those of its choices."""
    num_bytes = ms = error = 0.0
    for choice, linear in zip(plan.choices, table.linears, strict=True):
        assert choice.name == linear.name and len(choice.kept) == num_panels(linear.num_outputs)
        options = {(o.bits, o.group, o.kept): o for o in linear.options}
        for panel, kept in enumerate(choice.kept):
            option = options[choice.bits, choice.group, kept]
            num_bytes += linear.panel_costs(option, "bytes")[panel]
            ms, error = ms + option.panel_ms, error + option.errors[panel]
    assert plan.num_bytes == num_bytes
    assert (plan.ms, plan.error) == pytest.approx((ms, error))


def spread_table(num_linears: int = 12, num_outputs: int = 64) -> Measurements:
    """Linears and panels of very different sensitivity, errors rising as bytes fall."""
    random = np.random.default_rng(0)
    linears = []
    for index in range(num_linears):
        panels = np.exp(2 * random.normal(size=num_panels(num_outputs)) + random.normal())
        factors = {(8, 192, 4): 1e-4, (4, 64, 4): 0.01, (4, 192, 4): 0.014, (4, 64, 2): 0.03, (4, 64, 1): 0.1}
        options = tuple(
            Option(*kind, tuple((panels * factor).tolist()), 0.0) for kind, factor in factors.items()
        )
        linears.append(MeasuredLinear(f"layers.{index}.up", num_outputs, 192, options))
    return Measurements("units", tuple(linears))


def test_a_mix_beats_every_uniform_choice_of_the_same_bytes() -> None:
    table = spread_table()
    frontier = Frontier(table)
    for kind in range(1, 4):
        options = [linear.options[kind] for linear in table.linears]
        pairs = list(zip(table.linears, options, strict=True))
        budget = sum(sum(linear.panel_costs(option, "bytes")) for linear, option in pairs)
        uniform = sum(sum(option.errors) for option in options)
        plan = frontier.plan(budget)
        assert plan.num_bytes <= budget and plan.error < 0.95 * uniform
        assert plan.num_bytes > 0.99 * budget


def test_panels_of_one_linear_differ() -> None:
    frontier = Frontier(spread_table())
    plan = frontier.plan((frontier.smallest + frontier.largest) / 2)
    assert any(len(set(choice.kept)) > 1 for choice in plan.choices)
    assert len({(choice.bits, choice.group) for choice in plan.choices}) > 1


def test_budgets_beyond_the_ends() -> None:
    frontier = Frontier(spread_table())
    assert frontier.plan(frontier.smallest).num_bytes == frontier.smallest
    assert frontier.plan(1e30) == frontier.plan(frontier.largest)
    for budget in (frontier.smallest - 1, 0, -1, -np.inf, np.nan):
        with pytest.raises(InputError, match=f"smallest possible, {frontier.smallest:.0f}"):
            frontier.plan(budget)
    with pytest.raises(InputError, match="bytes or ms"):
        Frontier(spread_table(), "watts")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="without a measured time"):
        Frontier(spread_table(), "ms")


def test_overrides_narrow_what_they_name() -> None:
    table = spread_table()
    overrides = [Override("layers.*", "int4-*"), Override("layers.[03].up", "int4-g64-dense")]
    plan = Frontier(table, overrides=overrides).plan(1e9)
    for choice in plan.choices:
        assert choice.bits == 4
        if choice.name in ("layers.0.up", "layers.3.up"):
            assert (choice.group, set(choice.kept)) == (64, {4})
    with pytest.raises(InputError, match="no linear of that name"):
        restrict(table, [Override("blocks.*", "*")])
    with pytest.raises(InputError, match="choose from int8-g192-dense, int4-g64-dense"):
        restrict(table, [Override("*", "int2-*")])
    assert restrict(table, []) == table


@given(tables())
@settings(max_examples=20, deadline=None)
def test_files_give_back_what_was_written(table: Measurements) -> None:
    assert Measurements.from_json(table.to_json()) == table
    plan = Frontier(table).plan(np.inf)
    assert Plan.from_json(plan.to_json()) == plan


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_files_are_refused(data: st.DataObject) -> None:
    whole = spread_table(2, 16).to_json()
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(FormatError, match=r"^m\.json: "):
        Measurements.from_json(whole[:cut], "m.json")
    changed = bytearray(whole)
    changed[cut] = data.draw(st.integers(0, 255))
    try:
        Measurements.from_json(bytes(changed), "m.json")
    except FormatError as error:
        assert str(error).startswith("m.json: ")


def test_documents_that_are_no_measurements() -> None:
    sound = json.loads(spread_table(2, 16).to_json())

    def refused(message: str, **changes: object) -> None:
        document = json.loads(json.dumps(sound))
        linear = document["linears"][0]
        for key, value in changes.items():
            (
                document
                if key in document
                else linear["options"][0]
                if key in linear["options"][0]
                else linear
            )[key] = value
        with pytest.raises(FormatError, match=message):
            Measurements.from_json(json.dumps(document).encode(), "m.json")

    refused("0 or more", errors=[-1.0])
    refused("0 or more", errors=[1e200])
    refused("expected errors of 1 panels", errors=[1.0, 1.0])
    refused("expected errors of", num_outputs=10**15)
    refused("no weights", num_outputs=0)
    refused("does not divide", group=7)
    refused("4-bit values", kept=2)
    refused("expected 1, 2, 3 or 4", kept=9)
    refused("4 or 8 bits", bits=2)
    refused("Expected `int`", bits="4")
    refused("Expected `int`", num_inputs=1.5)
    refused("occurs twice", name="layers.1.up")
    refused("occurs twice", options=[sound["linears"][0]["options"][0]] * 2)
    refused("no linear", linears=[])
    refused("unknown fields", colour="red")
    for text in (b"[]", b"{}", b"null", b"", b'{"currency": NaN}', b"[" * 10_000):
        with pytest.raises(FormatError):
            Measurements.from_json(text)
