"""What a compression did, as plain numbers for terminal, JSON and page. Knows no model and no file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adtrie.compress.divergence import Divergence
from adtrie.compress.measurements import Measurements
from adtrie.compress.plan import Frontier, Plan
from adtrie.compress.refine import Refinement
from adtrie.format.codes import CompressedLinear, pattern_name
from adtrie.format.panels import PackedLinear

NUM_POINTS = 24  # of the curve


@dataclass(frozen=True)
class LinearRow:
    """One linear: shape, grid, panels by pattern, bytes, and predicted nats (None where not measured)."""

    name: str
    num_outputs: int
    num_inputs: int
    bits: int
    group: int
    panels: Mapping[str, int]
    num_bytes: int
    predicted_kl: float | None

    @property
    def bits_per_weight(self) -> float:
        """Bits of values, positions and scales per weight of the dense matrix."""
        return 8 * self.num_bytes / (self.num_outputs * self.num_inputs)

    @property
    def block(self) -> int | None:
        """The number of its block; None for embedding and head."""
        return int(self.name.split(".")[1]) if "." in self.name else None


@dataclass(frozen=True)
class Point:
    """A plan on the curve of predicted divergence against cost; ms 0.0 where it was not measured."""

    num_bytes: int
    ms: float
    predicted_kl: float


@dataclass(frozen=True)
class CompressionReport:
    """The plan that was used, what it was predicted to do and what it does on texts held out.

    setting: what was asked for. num_bytes: of all linears. ms: of their kernels with one row. seconds: by
    phase. curve: plans for other budgets from the same measurements.
    """

    setting: Mapping[str, object]
    num_bytes: int
    num_weights: int
    ms: float
    predicted_kl: float
    divergence: Divergence
    refinement: Refinement | None
    linears: tuple[LinearRow, ...]
    curve: tuple[Point, ...]
    seconds: Mapping[str, float]

    @property
    def bits_per_weight(self) -> float:
        """Bits of `num_bytes` per weight."""
        return 8 * self.num_bytes / self.num_weights

    @property
    def panels(self) -> dict[str, int]:
        """Panels by pattern, over all linears."""
        return dict(sum((Counter(row.panels) for row in self.linears), Counter()))


def linear_row(
    name: str, linear: CompressedLinear, packed: PackedLinear, table: Measurements | None
) -> LinearRow:
    """The row of a linear; predicted from `table` where its options are in it."""
    panels = dict(Counter(pattern_name(kept) for kept in linear.kept.tolist()))
    values = linear.values
    predicted = None if table is None else _predicted(name, linear, table)
    shape, num_bytes = linear.shape, packed.num_bytes
    return LinearRow(name, *shape, values.bits, values.group, panels, num_bytes, predicted)


def curve(frontier: Frontier, num_points: int = NUM_POINTS) -> tuple[Point, ...]:
    """Plans from the cheapest to the most exact, evenly spaced in cost."""
    low, high = frontier.smallest, frontier.largest
    budgets = [low + (high - low) * at / (num_points - 1) for at in range(num_points)]
    return tuple(_point(frontier.plan(min(budget, high))) for budget in budgets)


def _point(plan: Plan) -> Point:
    return Point(plan.num_bytes, plan.ms, plan.error)


def _predicted(name: str, linear: CompressedLinear, table: Measurements) -> float | None:
    measured = next((each for each in table.linears if each.name == name), None)
    if measured is None:
        return None
    grid = linear.values.bits, linear.values.group
    errors = {
        option.kept: option.errors for option in measured.options if (option.bits, option.group) == grid
    }
    if not set(linear.kept.tolist()) <= set(errors):
        return None
    return math.fsum(errors[kept][panel] for panel, kept in enumerate(linear.kept.tolist()))


def total_predicted(rows: Sequence[LinearRow]) -> float | None:
    """Sum over rows, None where one was not measured."""
    parts = [row.predicted_kl for row in rows]
    return None if None in parts else math.fsum(part for part in parts if part is not None)
