"""The ways in which a linear may be stored, one linear from its weights to codes or to the costs of all ways.

Knows no model and no budget. Costs of all rows are estimated by cheap one-pass methods and scaled by what the
real methods give on a part of the rows: which rows are dear is the same for both, how dear they are is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adtrie.compress.calibrate import Sensitivity
from adtrie.compress.hessian import panel_errors, row_chunks
from adtrie.compress.linear import Method, compress_linear
from adtrie.compress.measurements import MeasuredLinear, Option
from adtrie.compress.plan import Choice
from adtrie.compress.quantize import Grid, gptq, search_scales
from adtrie.compress.sparsify import Pruned, prune, sparsegpt
from adtrie.config import QuantizedMatrix
from adtrie.errors import InputError
from adtrie.format.codes import (
    DENSE,
    PANEL_ROWS,
    CompressedLinear,
    allowed_groups,
    num_panels,
)

Floats = NDArray[np.float32]
PanelMs = Callable[["Way", int, int], float]  # way, N, K -> milliseconds of a panel
SAMPLED_PANELS = 8  # one in so many is solved while measuring
FEWEST_PANELS, MOST_PANELS = 8, 64


@dataclass(frozen=True)
class Way:
    """Bits, inputs per scale, and survivors of every block of four."""

    bits: int
    group: int
    kept: int


@dataclass(frozen=True)
class Allowed:
    """What a plan may choose from.

    groups: None for every size that divides a width; else these of them, or the nearest where none does.
    """

    bits: tuple[int, ...] = (4, 8)
    patterns: tuple[int, ...] = (4, 2, 1)
    groups: tuple[int, ...] | None = None

    def ways(self, num_inputs: int) -> list[Way]:
        """Ways for a linear of `num_inputs`; INT8 is dense with the coarsest and finest allowed group.

        Raises InputError where nothing is left.
        """
        ways = []
        for bits in self.bits:
            for kept in self.patterns if bits == 4 else (DENSE,):
                groups = self._groups(allowed_groups(num_inputs, kept))
                if bits == 8 and len(groups) > 2:
                    groups = (groups[0], groups[-1])
                ways += [Way(bits, group, kept) for group in groups]
        if not ways:
            raise InputError(
                f"compression: no allowed pattern and group divides a width of {num_inputs}; "
                f"dense groups that do are {', '.join(map(str, allowed_groups(num_inputs)))}"
            )
        return ways

    def _groups(self, dividing: tuple[int, ...]) -> tuple[int, ...]:
        if self.groups is None or not dividing:
            return dividing
        wanted = self.groups
        chosen = tuple(group for group in dividing if group in wanted)
        return chosen or (min(dividing, key=lambda group: abs(group - wanted[0])),)


def measure_linear(
    name: str, weights: Floats, sensitivity: Sensitivity, ways: Sequence[Way], panel_ms: PanelMs
) -> MeasuredLinear:
    """What each way costs every panel, in nats per answered token, and the milliseconds of a panel."""
    num_outputs, num_inputs = weights.shape
    sensitivity.curvature.check_weights(weights)
    sampled = _sampled_rows(num_outputs)
    part, part_sensitivity = weights[sampled], sensitivity.rows(sampled)
    options: list[Option] = []
    for kept in sorted({way.kept for way in ways}, reverse=True):
        rough = _rough_costs(weights, sensitivity, kept)
        rough_part = float(rough[sampled].sum())
        here = [way for way in ways if way.kept == kept]
        for way, found in zip(here, _part_costs(part, part_sensitivity, here, kept), strict=True):
            errors = panel_errors(rough * (found / rough_part if rough_part > 0 else 0.0))
            ms = panel_ms(way, num_outputs, num_inputs)
            options.append(Option(way.bits, way.group, way.kept, tuple(errors.tolist()), ms))
    return MeasuredLinear(name, num_outputs, num_inputs, tuple(options))


def _part_costs(weights: Floats, sensitivity: Sensitivity, ways: Sequence[Way], kept: int) -> list[float]:
    """Nats of each way of one pattern, all rows together: GPTQ in 4 bits, rounding in 8.

    Rows are independent, so the rows of all ways go through one sweep.
    """
    curvature = sensitivity.curvature
    pruned = prune(weights, curvature, kept, exchanges=1)
    factor = curvature.by_column if kept == DENSE else curvature.by_block
    importance = factor.importance if kept == DENSE else np.diag(curvature.damped)
    steps = [
        np.repeat(
            search_scales(pruned.values, Grid(way.bits, way.group), importance, pruned.mask),
            way.group,
            axis=1,
        )
        for way in ways
    ]
    swept = [at for at, way in enumerate(ways) if way.bits == 4]
    values = {
        at: rounded(pruned, Grid(way.bits, 1), steps[at]) for at, way in enumerate(ways) if way.bits == 8
    }
    if swept:
        stacked = gptq(
            np.tile(pruned.values, (len(swept), 1)),
            factor,
            np.concatenate([steps[at] for at in swept]),
            Grid(4, 1),
            np.tile(pruned.mask, (len(swept), 1)),
        ).dequantize()
        values |= dict(zip(swept, np.split(stacked, len(swept)), strict=True))
    return [float(sensitivity.row_costs(weights, values[at]).sum()) for at in range(len(ways))]


def solve_linear(
    weights: Floats, sensitivity: Sensitivity, choice: Choice, method: Method = "polish"
) -> CompressedLinear:
    """Codes as `choice` says; each panel is solved with its own pattern only, since rows are independent."""
    num_outputs, num_inputs = weights.shape
    if len(choice.kept) != num_panels(num_outputs):
        raise InputError(
            f"plan: linear {choice.name!r:.80} has {num_panels(num_outputs)} panels, the plan "
            f"{len(choice.kept)}; it is for another model"
        )
    curvature, grid = sensitivity.curvature, Grid(choice.bits, choice.group)
    curvature.check_weights(weights)
    codes = np.empty(weights.shape, np.uint8)
    scales = np.empty((num_outputs, num_inputs // choice.group), np.float16)
    mask = np.empty(weights.shape, bool)
    per_row = np.repeat(np.array(choice.kept, np.uint8), PANEL_ROWS)[:num_outputs]
    for kept in sorted(set(choice.kept)):
        rows = np.nonzero(per_row == kept)[0]
        part = weights[rows]
        # Exchanges polish a mask, and are most of the work: not where codes are not polished either.
        pruned = prune(part, curvature, kept) if method == "polish" else prune(part, curvature, kept, 0)
        solved = compress_linear(part, pruned, curvature, grid, method)
        codes[rows], scales[rows], mask[rows] = solved.values.codes, solved.values.scales, solved.mask
    values = QuantizedMatrix(codes, scales, None, choice.bits, choice.group)
    return CompressedLinear(values, np.array(choice.kept, np.uint8), mask)


def rounded(pruned: Pruned, grid: Grid, scales: NDArray[np.float16]) -> Floats:
    """Survivors float32[n, K] rounded with one scale for each of them."""
    steps = scales.astype(np.float32)
    return np.asarray(grid.integers(pruned.values, steps) * steps * pruned.mask)


def _rough_costs(weights: Floats, sensitivity: Sensitivity, kept: int) -> NDArray[np.float64]:
    """Costs float64[N] of rounding each weight of a dense row to whole steps, or of one pruning sweep."""
    if kept < DENSE:
        values = np.empty_like(weights)
        for rows in row_chunks(len(weights)):
            values[rows], _ = sparsegpt(weights[rows], sensitivity.curvature, kept)
        return sensitivity.row_costs(weights, values)
    peaks = np.abs(weights).max(axis=1, keepdims=True) / 7
    steps = np.where(peaks > 0, peaks, 1).astype(np.float32)
    return sensitivity.row_costs(weights, np.asarray(np.rint(weights / steps) * steps))


def _sampled_rows(num_outputs: int) -> NDArray[np.intp]:
    """Rows of evenly spaced panels."""
    count = num_panels(num_outputs)
    wanted = min(count, max(FEWEST_PANELS, min(MOST_PANELS, -(-count // SAMPLED_PANELS))))
    panels = np.unique(np.linspace(0, count - 1, wanted).astype(np.intp))
    rows = (panels[:, None] * PANEL_ROWS + np.arange(PANEL_ROWS)).ravel()
    return np.asarray(rows[rows < num_outputs])
