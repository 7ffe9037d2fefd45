"""What compressing one linear gives: integer codes, scales and survivors, row-major, before any layout.

A pattern is the number of survivors `kept` in every block of four neighbouring inputs: 4 is dense, 2 is 2:4.
Rows share it in panels of 16. Knows no solver, no file and no kernel; packing only permutes what is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from adtrie.config import QuantizedMatrix
from adtrie.errors import InputError

PANEL_ROWS = 16
BLOCK = 4  # inputs that an N:M pattern chooses among
DENSE = BLOCK  # `kept` of a panel without pruning
GROUPS = (32, 64, 96, 128, 192, 256)  # inputs per scale; the whole row is one more
_BITS = (4, 8)


@dataclass(frozen=True, eq=False)
class CompressedLinear:
    """A linear [N, K] of 4- or 8-bit codes.

    values: codes uint8[N, K] without mins; a pruned input has the code of zero.
    kept: uint8[panels of N], survivors per block of four: 1, 2, 3, or 4 for a dense panel.
    mask: bool[N, K], the survivors; one whose code is that of zero still holds a position.
    Raises InputError where these disagree.
    """

    values: QuantizedMatrix
    kept: NDArray[np.uint8]
    mask: NDArray[np.bool_]

    def __post_init__(self) -> None:
        values, (num_outputs, num_inputs) = self.values, self.values.shape
        check_grid(num_inputs, values.bits, values.group)
        if values.mins is not None or values.scales.shape != (num_outputs, num_inputs // values.group):
            raise InputError(
                f"codes: expected scales [{num_outputs}, {num_inputs // values.group}] without mins, "
                f"got scales {list(values.scales.shape)}"
            )
        if not bool(np.isfinite(values.scales).all()):
            raise InputError("codes: scales hold NaN or infinity; compress the linear again")
        if self.kept.shape != (num_panels(num_outputs),) or self.mask.shape != (num_outputs, num_inputs):
            raise InputError(
                f"codes: expected {num_panels(num_outputs)} panels and a mask [{num_outputs}, {num_inputs}], "
                f"got {list(self.kept.shape)} and {list(self.mask.shape)}"
            )
        self._check_survivors()

    def _check_survivors(self) -> None:
        per_row = np.repeat(self.kept, PANEL_ROWS)[: self.shape[0]]
        for kept in set(self.kept.tolist()):
            check_pattern(self.shape[1], kept, self.values.bits)
            rows = self.mask[per_row == kept]
            exact = rows.all() if kept == DENSE else (_blocks(rows).sum(axis=2) == kept).all()
            if not bool(exact):
                raise InputError(f"codes: a {pattern_name(kept)} panel has a block without {kept} survivors")
        if bool((self.values.codes[~self.mask] != 1 << (self.values.bits - 1)).any()):
            raise InputError("codes: a pruned input has a code other than that of zero")

    @property
    def shape(self) -> tuple[int, int]:
        """(N outputs, K inputs)."""
        return self.values.shape

    def dequantize(self) -> NDArray[np.float32]:
        """Values float32[N, K] of the stored codes and float16 scales."""
        return self.values.dequantize()

    def survivors(self, panel: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Codes and positions 0..3 inside their block, ascending, uint8[rows, K * kept / 4] of one panel."""
        rows = slice(panel * PANEL_ROWS, (panel + 1) * PANEL_ROWS)
        mask, codes = self.mask[rows], self.values.codes[rows]
        width = int(mask[0].sum())
        columns = np.nonzero(mask)[1].reshape(-1, width)
        return codes[mask].reshape(-1, width), (columns % BLOCK).astype(np.uint8)

    @property
    def num_bytes(self) -> int:
        """Bytes of values, positions and scales, without the alignment of a file."""
        num_outputs, num_inputs = self.shape
        return sum(
            panel_bytes(rows, num_inputs, self.values.bits, self.values.group, int(kept))
            for rows, kept in zip(panel_sizes(num_outputs), self.kept, strict=True)
        )

    @property
    def bits_per_weight(self) -> float:
        """Bits of `num_bytes` per weight of the dense matrix."""
        return 8 * self.num_bytes / max(1, self.values.codes.size)


def dense_linear(values: QuantizedMatrix) -> CompressedLinear:
    """`values` as a linear whose panels are all dense."""
    kept = np.full(num_panels(values.shape[0]), DENSE, np.uint8)
    return CompressedLinear(values, kept, np.ones(values.shape, bool))


def mix_panels(solutions: Mapping[int, CompressedLinear], kept: NDArray[np.uint8]) -> CompressedLinear:
    """The linear whose panel p is that of `solutions[kept[p]]`.

    Rows are independent given the second moments, so nothing is solved again. Raises InputError if a pattern
    has no solution or the solutions differ in shape, bits or group.
    """
    missing = set(kept.tolist()) - set(solutions)
    if missing or len({(s.shape, s.values.bits, s.values.group) for s in solutions.values()}) != 1:
        raise InputError(
            f"mixing panels: expected solutions of one shape, width and group for patterns "
            f"{sorted(set(kept.tolist()))}, got patterns {sorted(solutions)}"
        )
    first = next(iter(solutions.values())).values
    codes, scales, mask = np.empty_like(first.codes), np.empty_like(first.scales), np.empty(first.shape, bool)
    per_row = np.repeat(kept, PANEL_ROWS)[: first.shape[0]]
    for pattern, solution in solutions.items():
        rows = per_row == pattern
        codes[rows], scales[rows] = solution.values.codes[rows], solution.values.scales[rows]
        mask[rows] = solution.mask[rows]
    return CompressedLinear(QuantizedMatrix(codes, scales, None, first.bits, first.group), kept, mask)


def pattern_bits(bits: int, kept: int) -> Fraction:
    """Bits per dense weight of values and positions: 4 bits dense 4, 3:4 3.5, 2:4 3, 1:4 1.5.

    Two bits name a survivor; of three survivors two bits name the input that is missing.
    """
    positions = 2 * min(kept, BLOCK - kept)
    return Fraction(kept * bits + positions, BLOCK)


def panel_bytes(num_rows: int, num_inputs: int, bits: int, group: int, kept: int) -> int:
    """Bytes of `num_rows` rows of one pattern with float16 scales, values rounded up to whole bytes."""
    value_bits = num_rows * num_inputs * pattern_bits(bits, kept)
    return -int(-value_bits // 8) + 2 * num_rows * (num_inputs // group)


def num_panels(num_outputs: int) -> int:
    """Panels of 16 rows, the last one perhaps smaller."""
    return -(-num_outputs // PANEL_ROWS)


def panel_sizes(num_outputs: int) -> list[int]:
    """Rows of each panel."""
    return [min(PANEL_ROWS, num_outputs - first) for first in range(0, num_outputs, PANEL_ROWS)]


def pattern_name(kept: int) -> str:
    """ "dense", "3:4", "2:4" or "1:4"."""
    return "dense" if kept == DENSE else f"{kept}:{BLOCK}"


def allowed_groups(num_inputs: int, kept: int = DENSE) -> tuple[int, ...]:
    """Group sizes, ascending, that divide `num_inputs` and hold whole steps of the pattern's kernel.

    The whole row is always one for dense panels; a sparse pattern that does not divide the row has none.
    """
    sizes = sorted({*GROUPS, num_inputs})
    return tuple(g for g in sizes if g > 0 and num_inputs % g == 0 and g % _group_step(kept) == 0)


def check_grid(num_inputs: int, bits: int, group: int) -> None:
    """Raises InputError unless `bits` is 4 or 8 and `group` divides the inputs."""
    if bits not in _BITS:
        raise InputError(f"quantization: expected 4 or 8 bits, got {bits}")
    if num_inputs < 1 or group < 1 or num_inputs % group:
        raise InputError(
            f"quantization: group {group} does not divide {num_inputs} inputs; "
            f"choose one of {', '.join(map(str, allowed_groups(num_inputs))) or 'none'}"
        )


def check_pattern(num_inputs: int, kept: int, bits: int) -> None:
    """Raises InputError unless `kept` is 1..4, sparse only in 4 bits and in whole blocks of four."""
    if kept not in range(1, BLOCK + 1):
        raise InputError(f"sparsity: expected 1, 2, 3 or 4 of {BLOCK} kept, got {kept}")
    if kept < DENSE and (bits != 4 or num_inputs % BLOCK):
        raise InputError(
            f"sparsity: {pattern_name(kept)} needs 4-bit values and inputs in whole blocks of {BLOCK}, "
            f"got {bits} bits and {num_inputs} inputs; keep this linear dense"
        )


def _group_step(kept: int) -> int:
    """Inputs a kernel takes in one step of a pattern, all under one scale: dense any, 2:4 32, 1:4 64."""
    return {DENSE: 1, 1: 64}.get(kept, 32)


def _blocks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask.reshape(mask.shape[0], mask.shape[1] // BLOCK, BLOCK)
