"""Any checkpoint to a packed one without calibration: magnitude masks, each weight rounded on its own.

The floor that calibrated compression is compared with. One linear is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.compress.plan import Choice
from adtrie.compress.quantize import Grid, round_to_nearest
from adtrie.compress.sparsify import best_of_four, magnitude_scores
from adtrie.errors import InputError
from adtrie.format.codes import DENSE, CompressedLinear, mix_panels, num_panels
from adtrie.format.manifest import Manifest
from adtrie.format.panels import pack
from adtrie.format.tensors import dense_values
from adtrie.models import AdaptedCheckpoint, Checkpoint, packed_writer

Choose = Callable[[str, tuple[int, int]], Choice]


def pack_nearest(
    source: Checkpoint | AdaptedCheckpoint,
    out: str | Path,
    choose: Choose,
    template: str | None = None,
    summary: Mapping[str, Any] | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Writes `source` to the folder `out`, each linear as `choose(name, shape)` says; returns the manifest.

    Raises InputError for a choice that does not fit, ModelError when `out` cannot be written.
    """
    names = source.names()
    with packed_writer(out, source, template) as writer:
        for done, (name, shape) in enumerate((name, writer.shapes[name]) for name in names):
            if advance:
                advance(done, len(names))
            if len(shape) == 1:
                writer.add_vector(name, source.vector(name))
            else:
                weights = dense_values(source.matrix(name))
                writer.add_linear(name, pack(nearest_linear(weights, choose(name, weights.shape))))
        return writer.finish(summary)


def nearest_linear(weights: NDArray[np.float32], choice: Choice) -> CompressedLinear:
    """Codes of float32[N, K]: survivors of largest magnitude, rounded. Raises InputError if they misfit."""
    if len(choice.kept) != num_panels(len(weights)):
        raise InputError(
            f"{choice.name}: expected patterns of {num_panels(len(weights))} panels, got {len(choice.kept)}"
        )
    kept = np.array(choice.kept, np.uint8)
    solutions = {pattern: _one_pattern(weights, choice, pattern) for pattern in set(choice.kept)}
    return mix_panels(solutions, kept)


def _one_pattern(weights: NDArray[np.float32], choice: Choice, kept: int) -> CompressedLinear:
    mask = np.ones(weights.shape, bool)
    if kept != DENSE:
        mask = best_of_four(magnitude_scores(weights), kept)
    importance = np.ones(weights.shape[1], np.float32)
    values = round_to_nearest(weights, Grid(choice.bits, choice.group), importance, mask)
    return CompressedLinear(values, np.full(num_panels(len(weights)), kept, np.uint8), mask)
