"""A long array of which versions share all blocks but those they changed. Knows not what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Blocks:
    """An immutable float64[size] in blocks of 4096."""

    size: int
    blocks: tuple[Float64, ...]

    @classmethod
    def of(cls, values: Float64) -> Blocks:
        """The array in blocks that share its memory."""
        return cls(len(values), tuple(values[at : at + BLOCK] for at in range(0, len(values), BLOCK)))

    @classmethod
    def full(cls, size: int, value: float) -> Blocks:
        """`size` times the value."""
        one = np.full(BLOCK, value)
        return cls(size, tuple(one[: min(BLOCK, size - at)] for at in range(0, size, BLOCK)))

    def __getitem__(self, at: int) -> float:
        return float(self.blocks[at // BLOCK][at % BLOCK])

    def set(self, values: Mapping[int, float]) -> Blocks:
        """The array with other values at some positions."""
        blocks, own = list(self.blocks), set[int]()
        for at, value in values.items():
            block = at // BLOCK
            if block not in own:
                own.add(block)
                blocks[block] = blocks[block].copy()
            blocks[block][at % BLOCK] = value
        return Blocks(self.size, tuple(blocks))

    @cached_property
    def array(self) -> Float64:
        """The whole array; made on first use."""
        return np.concatenate([np.zeros(0), *self.blocks])
