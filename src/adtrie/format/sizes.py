"""What a packed checkpoint takes, by linear and by pattern, counted from the bytes of its file."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from adtrie.format.codes import PANEL_ROWS, panel_sizes, pattern_name
from adtrie.format.panels import PackedLinear
from adtrie.format.reader import PackedFolder


@dataclass(frozen=True)
class Size:
    """Bytes of some panels: `stream_bytes` of values and positions, `scale_bytes` of scales."""

    panels: int
    weights: int
    stream_bytes: int
    scale_bytes: int

    @property
    def stream_bits(self) -> float:
        """Bits of values and positions per weight of the dense matrix."""
        return 8 * self.stream_bytes / max(1, self.weights)

    @property
    def scale_bits(self) -> float:
        """Bits of scales per weight of the dense matrix."""
        return 8 * self.scale_bytes / max(1, self.weights)

    def __add__(self, other: Size) -> Size:
        return Size(
            self.panels + other.panels,
            self.weights + other.weights,
            self.stream_bytes + other.stream_bytes,
            self.scale_bytes + other.scale_bytes,
        )


def pattern_sizes(linear: PackedLinear) -> dict[str, Size]:
    """Size of the panels of each pattern, as in "int4 2:4", densest first."""
    offsets = np.diff(linear.offsets)
    rows = np.array(panel_sizes(linear.num_outputs))
    per_panel = linear.num_inputs // linear.group * PANEL_ROWS * linear.scales.itemsize
    sizes = {}
    for kept in sorted(set(linear.kept.tolist()), reverse=True):
        chosen = linear.kept == kept
        count = int(chosen.sum())
        sizes[f"int{linear.bits} {pattern_name(kept)}"] = Size(
            count, int(rows[chosen].sum()) * linear.num_inputs, int(offsets[chosen].sum()), count * per_panel
        )
    return sizes


def all_sizes(folder: PackedFolder) -> tuple[dict[str, Size], dict[str, Size]]:
    """Size of every linear by name, and of all panels of each pattern. Raises FormatError for damage."""
    by_linear: dict[str, Size] = {}
    by_pattern: dict[str, Size] = defaultdict(lambda: Size(0, 0, 0, 0))
    for name in folder.manifest.linears:
        sizes = pattern_sizes(folder.linear(name))
        by_linear[name] = sum(sizes.values(), Size(0, 0, 0, 0))
        for pattern, size in sizes.items():
            by_pattern[pattern] += size
    return by_linear, dict(sorted(by_pattern.items(), reverse=True))
