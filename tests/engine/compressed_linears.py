"""Random compressed linears of any mixture of patterns."""

from __future__ import annotations

import numpy as np

from adtrie import _core
from adtrie.compress.sparsify import best_of_four
from adtrie.config import QuantizedMatrix
from adtrie.format.codes import CompressedLinear
from adtrie.format.panels import PackedLinear


def random_linear(
    kept: list[int], num_outputs: int, num_inputs: int, group: int, bits: int = 4, seed: int = 0
) -> CompressedLinear:
    """Panel p keeps kept[p] of four. Some codes are the extremes, where narrow sums would overflow."""
    random = np.random.default_rng(seed)
    mask = np.ones((num_outputs, num_inputs), bool)
    for panel, count in enumerate(kept):
        rows = slice(16 * panel, 16 * panel + 16)
        if count < 4:
            mask[rows] = best_of_four(random.random(mask[rows].shape).astype(np.float32), count)
    codes = random.integers(0, 2**bits, mask.shape)
    if seed % 3 == 0:
        codes = random.choice([0, 2**bits - 1], codes.shape)
    codes = np.where(mask, codes, 1 << (bits - 1)).astype(np.uint8)
    scales = (0.02 * random.normal(size=(num_outputs, num_inputs // group))).astype(np.float16)
    return CompressedLinear(QuantizedMatrix(codes, scales, None, bits, group), np.array(kept, np.uint8), mask)


def native(packed: PackedLinear) -> _core.Linear:
    """The linear on the native core."""
    return _core.Linear(
        packed.stream,
        packed.scales.view(np.uint16),
        packed.kept,
        packed.bits,
        packed.group,
        packed.num_outputs,
        packed.num_inputs,
    )
