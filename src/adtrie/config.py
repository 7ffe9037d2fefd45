"""Frozen dataclasses shared by all parts. Knows no file, no kernel and no search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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

    value[n, k] = scale * code + min   where `mins` is given, else   scale * (code - zero), zero = 2**(bits-1).
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
