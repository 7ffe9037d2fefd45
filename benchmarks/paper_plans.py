"""A recipe to a plan for every linear, and the run that makes its codes: one calibration serves all of them.

Knows recipes and measurements; no task and no clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from adtrie.compress.block import float_matrix
from adtrie.compress.linear import Method
from adtrie.compress.measurements import Measurements, Option, Override, packed_panel_bytes
from adtrie.compress.pipeline import Compression
from adtrie.compress.plan import Choice, Frontier, Plan
from adtrie.compress.settings import Settings
from adtrie.compress.ways import Allowed
from adtrie.config import OUTER_LINEARS
from adtrie.engine.source import WeightSource
from adtrie.errors import InputError
from adtrie.format.codes import DENSE, CompressedLinear, allowed_groups, mix_panels, num_panels, pattern_name
from adtrie.models.packed import canonical_shapes
from benchmarks.paper_rows import GROUP, MixRecipe, Order, Recipe, RefinedRecipe, Uniform

# What is measured for plans; of embedding and head INT8 only, the mix replaces it afterwards.
SETTINGS = Settings(
    linears=Allowed(bits=(4,)), embedding=Allowed(bits=(8,), patterns=(4,), groups=(GROUP,)), max_tokens=8_192
)
Shapes = Mapping[str, tuple[int, int]]


class PanelRun(Compression):
    """A compression whose mixed linears are put together from uniform ones: rows do not affect each other."""

    def solved(self, choice: Choice) -> CompressedLinear:
        """The codes of one linear; each of its patterns is solved once for all plans."""
        patterns = set(choice.kept)
        if len(patterns) == 1:
            return super().solved(choice)
        panels = len(choice.kept)
        whole = {kept: super(PanelRun, self).solved(_filled(choice, kept, panels)) for kept in patterns}
        return mix_panels(whole, np.array(choice.kept, np.uint8))

    def use(self, method: Method) -> None:
        """Solves with `method` from now on; pieces carry its name, and statistics do not depend on it."""
        self.settings = replace(self.settings, method=method)


def _filled(choice: Choice, kept: int, panels: int) -> Choice:
    return replace(choice, kept=(kept,) * panels)


def linear_shapes(source: WeightSource) -> dict[str, tuple[int, int]]:
    """(N outputs, K inputs) of every linear, in the order of plans."""
    shapes = canonical_shapes(source.spec)
    blocks = [name for name in shapes if len(shapes[name]) == 2 and name not in OUTER_LINEARS]
    blocks.sort(key=lambda name: int(name.split(".")[1]))
    return {
        name: (shapes[name][0], shapes[name][1])
        for name in (*(o for o in OUTER_LINEARS if o in shapes), *blocks)
    }


def make_plan(recipe: Recipe, run: PanelRun) -> Plan:
    """The plan of a recipe, never more than its bytes; measures only where there is something to choose."""
    source, found = run.source, linear_shapes(run.source)
    shapes = {name: found[name] for name in run.names()}
    if recipe.uniform is not None:
        return _as_plan(uniform_choices(recipe.uniform, shapes), shapes, source)
    budget = sum(share * uniform_bytes(uniform, shapes) for share, uniform in recipe.bytes_of)
    if isinstance(recipe, MixRecipe):
        choices = _with_enough_sparsest(recipe, run.measure(), budget, shapes)
        return _as_plan(_with_embedding(choices, recipe.embedding_group), shapes, source)
    if recipe.order == "plan":
        frontier = Frontier(run.measure(), "bytes", _overrides(recipe))
        plan = frontier.plan(budget)
        if isinstance(recipe, RefinedRecipe):
            run.settings = replace(run.settings, refine_trials=recipe.trials)
            plan, _ = run.refine(frontier, plan, budget)
        return plan
    order = linear_order(recipe.order, source, shapes)
    return _as_plan(ordered_choices(recipe.patterns, order, shapes, budget), shapes, source)


def _with_enough_sparsest(
    recipe: MixRecipe, table: Measurements, budget: float, shapes: Shapes
) -> Sequence[Choice]:
    """The choices of least predicted error in which 2:4 has to look just so bad that 1:4 has its share."""
    for percent in range(100, 300):
        plan = Frontier(_with_worse_half(table, percent / 100), "bytes", _overrides(recipe)).plan(budget)
        if sparsest_share(plan.choices, shapes) >= recipe.least_sparsest:
            return plan.choices
    raise InputError(f"plan: {budget:g} bytes do not make {recipe.least_sparsest:.0%} of sparse weights 1:4")


def _with_worse_half(table: Measurements, factor: float) -> Measurements:
    """`table` with `factor` times the errors of 2:4."""

    def option(one: Option) -> Option:
        return replace(one, errors=tuple(factor * error for error in one.errors)) if one.kept == 2 else one

    linears = tuple(replace(each, options=tuple(map(option, each.options))) for each in table.linears)
    return replace(table, linears=linears)


def sparsest_share(choices: Sequence[Choice], shapes: Shapes) -> float:
    """Of the weights in sparse panels, the share in panels of 1:4; 0.0 where none is sparse."""
    counts = {1: 0, 2: 0, DENSE: 0}
    for choice in choices:
        for kept in choice.kept:
            counts[kept] += shapes[choice.name][1]
    return counts[1] / max(counts[1] + counts[2], 1)


def _with_embedding(choices: Sequence[Choice], group: int) -> list[Choice]:
    """`choices` with embedding and head in 4 bits."""
    return [replace(one, bits=4, group=group) if one.name in OUTER_LINEARS else one for one in choices]


def uniform_choices(uniform: Uniform, shapes: Shapes) -> list[Choice]:
    """One grid and pattern for all linears of the blocks."""
    return [_choice(name, shape, uniform) for name, shape in shapes.items()]


def uniform_bytes(uniform: Uniform, shapes: Shapes) -> int:
    """Packed bytes of `uniform_choices`."""
    return sum(choice_bytes(choice, shapes[choice.name]) for choice in uniform_choices(uniform, shapes))


def choice_bytes(choice: Choice, shape: tuple[int, int]) -> int:
    """Packed bytes of one linear."""
    return sum(packed_panel_bytes(shape[1], choice.bits, choice.group, kept) for kept in choice.kept)


def linear_order(order: Order, source: WeightSource, shapes: Shapes) -> list[str]:
    """Linears of the blocks, first those that are to stay dense longest."""
    blocks = [name for name in shapes if name not in OUTER_LINEARS]
    if order == "late":
        return blocks
    if order == "early":
        return blocks[::-1]
    size = {name: float(np.abs(float_matrix(source, name)).mean()) for name in blocks}
    return sorted(blocks, key=lambda name: -size[name])


def ordered_choices(
    patterns: Sequence[int], order: Sequence[str], shapes: Shapes, budget: float
) -> list[Choice]:
    """All at the sparsest pattern, then linears in `order` at the densest while the budget lasts."""
    dense, sparse = max(patterns), min(patterns)
    choices = {name: _choice(name, shape, Uniform(GROUP, sparse)) for name, shape in shapes.items()}
    left = budget - sum(choice_bytes(choice, shapes[name]) for name, choice in choices.items())
    for name in order:
        choice, num_inputs = choices[name], shapes[name][1]
        sizes = {
            kept: packed_panel_bytes(num_inputs, choice.bits, choice.group, kept) for kept in (dense, sparse)
        }
        paid = min(len(choice.kept), int(max(left, 0) // (sizes[dense] - sizes[sparse])))
        choices[name] = replace(choice, kept=(dense,) * paid + (sparse,) * (len(choice.kept) - paid))
        left -= paid * (sizes[dense] - sizes[sparse])
    return list(choices.values())


def _choice(name: str, shape: tuple[int, int], uniform: Uniform) -> Choice:
    num_outputs, num_inputs = shape
    outer = name in OUTER_LINEARS
    kept = 4 if outer else uniform.kept
    wanted = GROUP if outer else uniform.group or num_inputs
    fitting = allowed_groups(num_inputs, kept)
    if not fitting:
        raise InputError(f"{name}: no group of {pattern_name(kept)} divides its {num_inputs} inputs")
    group = wanted if wanted in fitting else min(fitting, key=lambda size: abs(size - wanted))
    return Choice(name, 8 if outer else 4, group, (kept,) * num_panels(num_outputs))


def _overrides(recipe: Recipe) -> list[Override]:
    group = "*" if recipe.group is None else str(recipe.group)
    sparse = "*" if DENSE in recipe.patterns else "?:4"
    pattern = sparse if len(recipe.patterns) > 1 else pattern_name(recipe.patterns[0])
    return [Override("layers.*", f"int4-g{group}-{pattern}")]


def _as_plan(choices: Sequence[Choice], shapes: Shapes, source: WeightSource) -> Plan:
    num_bytes = sum(choice_bytes(choice, shapes[choice.name]) for choice in choices)
    return Plan(tuple(choices), num_bytes, 0.0, 0.0, source.fingerprint)
