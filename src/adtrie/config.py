"""What all parts share: frozen dataclasses and the place of the cache. Imports nothing of ours but errors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adtrie.errors import InputError

OUTER_LINEARS = ("embed", "head")  # those outside the blocks
_PRICED_ROWS = 8_193  # rows whose prices are looked up once


@dataclass(frozen=True)
class RopeScaling:
    """Llama-3 frequency scaling of rotary embeddings (arXiv 2407.21783)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int


@dataclass(frozen=True)
class ModelSpec:
    """Shape of a decoder-only transformer with RMSNorm, grouped-query attention, rope and SwiGLU.

    q and k rows are always in the rotate-half order of Hugging Face Llama; readers permute other orders.
    """

    family: str  # "llama" | "qwen2" | "qwen3" | "ernie4_5"
    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_size: int
    vocab_size: int
    max_positions: int
    rope_base: float
    rms_epsilon: float
    tied_head: bool
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: bool = False
    rope_scaling: RopeScaling | None = None


@dataclass(frozen=True)
class QuantizedMatrix:
    """Canonical row-major codes of a linear [N, K]; packing only permutes them.

    value[n, k] = scale * code + min   where `mins` is given,
                = scale * (code - zero)   else, zero = 2**(bits-1).
    codes uint8[N, K] (< 2**bits), scales and mins float16[N, K/group].
    """

    codes: NDArray[np.uint8]
    scales: NDArray[np.float16]
    mins: NDArray[np.float16] | None
    bits: int  # 4 | 8
    group: int

    @property
    def shape(self) -> tuple[int, int]:
        """(N outputs, K inputs)."""
        return self.codes.shape[0], self.codes.shape[1]

    def dequantize(self) -> NDArray[np.float32]:
        """Values float32[N, K]."""
        num_rows, num_cols = self.codes.shape
        grouped = self.codes.reshape(num_rows, num_cols // self.group, self.group).astype(np.float32)
        scales = self.scales.astype(np.float32)[:, :, None]
        if self.mins is None:
            values = (grouped - np.float32(1 << (self.bits - 1))) * scales
        else:
            values = grouped * scales + self.mins.astype(np.float32)[:, :, None]
        return values.reshape(num_rows, num_cols)


@dataclass(frozen=True, eq=False)
class RowCost:
    """Milliseconds of a forward by rows: table_rows int64[n] ascending, table_ms float64[n] never falling.

    Raises InputError for a table that is empty, not finite, not positive or not monotone.
    """

    table_rows: NDArray[np.int64]
    table_ms: NDArray[np.float64]

    def __post_init__(self) -> None:
        rows, ms = self.table_rows, self.table_ms
        sound = (
            rows.ndim == 1
            and rows.shape == ms.shape
            and rows.size > 0
            and rows[0] >= 1
            and bool(np.all(np.diff(rows) > 0))
            and bool(np.all(np.isfinite(ms)))
            and ms[0] > 0
            and bool(np.all(np.diff(ms) >= 0))
        )
        if not sound:
            raise InputError(
                "row cost: expected ascending rows >= 1 with positive, never falling milliseconds, got "
                f"rows {rows.ravel()[:8].tolist()} and ms {ms.ravel()[:8].tolist()}; measure the table again"
            )

    @classmethod
    def measured(cls, rows: Sequence[int], ms: Sequence[float]) -> RowCost:
        """Table of measurements in any order; a smaller time at more rows is noise and is raised."""
        try:
            at, times = np.asarray(rows, dtype=np.int64), np.asarray(ms, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"row cost: expected two lists of numbers; {error}") from None
        if at.shape == times.shape and at.ndim == 1:
            order = np.argsort(at, kind="stable")
            at, times = at[order], np.maximum.accumulate(times[order])
        return cls(at, times)

    @classmethod
    def flat(cls, ms: float = 1.0) -> RowCost:
        """Every forward costs `ms`: a machine on which rows are free."""
        return cls.measured([1, 2], [ms, ms])

    @classmethod
    def kneed(cls, knee: int, ms: float = 1.0) -> RowCost:
        """`ms` up to `knee` rows, in proportion to the rows beyond: weight traffic, then arithmetic."""
        return cls.measured([knee, 2 * knee], [ms, 2 * ms])

    def ms(self, rows: float) -> float:
        """Milliseconds of one forward of `rows` rows: interpolated, the last slope extended, 0.0 for none."""
        return float(self.ms_of(rows))

    def ms_of(self, rows: ArrayLike) -> NDArray[np.float64]:
        """`ms` of each of many row counts, float64 of the same shape."""
        at = np.asarray(rows, dtype=np.float64)
        cost = np.interp(at, self.table_rows, self.table_ms)
        if self.table_rows.size > 1:
            run = float(self.table_rows[-1] - self.table_rows[-2])
            slope = (self.table_ms[-1] - self.table_ms[-2]) / run
            cost = cost + slope * np.maximum(at - float(self.table_rows[-1]), 0.0)
        return np.asarray(np.where(at > 0, cost, 0.0))

    def first(self, count: int) -> NDArray[np.float64]:
        """`ms` of 0, 1, ... count - 1 rows, float64[count], read-only."""
        return self._first[:count] if count <= self._first.size else self.ms_of(np.arange(count))

    @cached_property
    def _first(self) -> NDArray[np.float64]:
        # Searches price each forward among a thousand: looking them up anew took longer than choosing.
        ms = self.ms_of(np.arange(_PRICED_ROWS))
        ms.flags.writeable = False
        return ms


def cache_dir() -> Path:
    """The folder adtrie caches in: $ADTRIE_CACHE, else $XDG_CACHE_HOME/adtrie, else ~/.cache/adtrie."""
    chosen = os.environ.get("ADTRIE_CACHE")
    if chosen:
        return Path(chosen)
    # The XDG rules say to ignore a relative path.
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "adtrie"
