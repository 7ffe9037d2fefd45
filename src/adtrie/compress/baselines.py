"""Plans that anybody would try first, to compare ours with: uniform, by depth, by magnitude."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from adtrie.compress.measurements import Measurements
from adtrie.compress.plan import Choice, Plan
from adtrie.errors import InputError


def uniform_plan(table: Measurements, kept: int, group: int) -> Plan:
    """INT4 of one pattern and group in all blocks, embedding and head in INT8."""
    return assigned_plan(table, dict.fromkeys(_inner(table), kept), group)


def ordered_plan(
    table: Measurements, order: Sequence[str], kept: tuple[int, int], group: int, budget: float
) -> Plan:
    """Whole linears at `kept[0]`, and in the given order at `kept[1]`, as few as the budget of bytes needs.

    Raises InputError where all of them are not enough.
    """
    patterns = dict.fromkeys(_inner(table), kept[0])
    plan = assigned_plan(table, patterns, group)
    for name in order:
        if plan.num_bytes <= budget:
            break
        patterns[name] = kept[1]
        plan = assigned_plan(table, patterns, group)
    if plan.num_bytes > budget:
        raise InputError(f"plan: {budget:.0f} bytes are below all linears at their sparser pattern")
    return plan


def assigned_plan(table: Measurements, patterns: Mapping[str, int], group: int) -> Plan:
    """INT4 with one pattern per linear, the rest in the coarsest INT8.

    Raises InputError for an option that was not measured.
    """
    pairs = []
    for linear in table.linears:
        if linear.name in patterns:
            options = [
                o for o in linear.options if (o.bits, o.group, o.kept) == (4, group, patterns[linear.name])
            ]
        else:
            options = [option for option in linear.options if option.bits == 8]
        if not options:
            raise InputError(
                f"plan: {linear.name} was not measured in INT4 with groups of {group} or not in INT8; "
                "measure it with more ways"
            )
        pairs.append((linear, max(options, key=lambda option: option.group)))
    return Plan(
        tuple(
            Choice(linear.name, option.bits, option.group, (option.kept,) * len(option.errors))
            for linear, option in pairs
        ),
        int(sum(sum(linear.panel_costs(option, "bytes")) for linear, option in pairs)),
        math.fsum(sum(linear.panel_costs(option, "ms")) for linear, option in pairs),
        math.fsum(sum(option.errors) for _, option in pairs),
        table.model,
    )


def _inner(table: Measurements) -> list[str]:
    return [linear.name for linear in table.linears if "." in linear.name]
