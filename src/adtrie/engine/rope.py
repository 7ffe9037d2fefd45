"""Rotary frequencies of a model. Knows no weights."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from adtrie.config import ModelSpec


def rope_frequencies(spec: ModelSpec) -> NDArray[np.float32]:
    """Angle per position of each pair of a head, float32[head_size / 2], Llama-3 scaling applied."""
    exponents = np.arange(0, spec.head_size, 2, dtype=np.float32) / np.float32(spec.head_size)
    frequencies = (1.0 / (np.float32(spec.rope_base) ** exponents)).astype(np.float32)
    scaling = spec.rope_scaling
    if scaling is None:
        return frequencies
    # Long waves are slowed by `factor`, short ones kept, those between interpolated (arXiv 2407.21783).
    turns = scaling.original_max_positions / (2 * math.pi / frequencies)
    smooth = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    smooth = np.clip(smooth, 0.0, 1.0)
    return np.asarray((1 - smooth) * frequencies / scaling.factor + smooth * frequencies, dtype=np.float32)
