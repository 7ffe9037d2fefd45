"""What machine and weights allow a request: probes that take turns with the requests. Knows no search.

The machine has phases, so a request is held against what was measured in its own turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from adtrie import _core
from adtrie.api import Model
from adtrie.config import ModelSpec
from adtrie.format.codes import DENSE, pattern_name
from adtrie.models import open_checkpoint
from adtrie.models.packed import canonical_shapes
from benchmarks.request_cost import Floor
from benchmarks.request_turns import Request
from benchmarks.undisturbed import Sample

KEPT = {pattern_name(kept): kept / DENSE for kept in (1, 2, 3, DENSE)}  # of the weights of a panel


@dataclass(frozen=True)
class Multiplied:
    """Weights that a row is multiplied with: of the blocks, survivors only, and of the head."""

    blocks: float
    head: int


def multiplied(spec: ModelSpec, kept: Mapping[str, float]) -> Multiplied:
    """Of a model of which of some linears only these shares of the weights are left."""
    blocks = {
        name: shape[0] * shape[1]
        for name, shape in canonical_shapes(spec).items()
        if len(shape) == 2 and name.startswith("layers.")
    }
    weights = sum(size * kept.get(name, 1.0) for name, size in blocks.items())
    return Multiplied(weights, spec.vocab_size * spec.hidden_size)


def kept_shares(path: Path) -> dict[str, float]:
    """The share of its weights that each linear of a packed checkpoint keeps."""
    with open_checkpoint(path) as checkpoint:
        linears = checkpoint.manifest.linears if checkpoint.manifest else {}
    return {
        name: sum(KEPT[pattern] * count for pattern, count in each.panels.items()) / sum(each.panels.values())
        for name, each in linears.items()
    }


@dataclass
class Probes:
    """Read bandwidth for the weights of each model and the INT8 peak, measured once for every query asked."""

    models: Mapping[str, Model]
    work: Mapping[str, Multiplied]
    _floors: dict[tuple[str, str], Floor] = field(default_factory=dict)  # by model and query

    def ask(self, query: str) -> Request:
        """Measures all of them now; no request."""
        threads = next(iter(self.models.values())).engine.num_threads
        operation_s = 2.0 / max(_core.int8_peak(threads, 3))
        for name, model in self.models.items():
            size, work = model.engine.weight_bytes, self.work[name]
            read_s = size / float(np.median(_core.read_bandwidth(size, threads, 7)))
            rows_s = (work.blocks + work.head) * operation_s, work.blocks * operation_s
            self._floors[name, query] = Floor(read_s, *rows_s)
        return Request(0.0, 0)

    def times_floor(
        self,
        name: str,
        samples: Sequence[Sample[Request]],
        queries: Sequence[str],
        prompt_rows: Sequence[int],
    ) -> float:
        """Median of milliseconds of the model `name` over the floor of the same request."""
        ratios = [
            sample.value.ms / self._floors[name, query].ms(rows, sample.value.forwards, sample.value.rows)
            for sample, query, rows in zip(samples, queries, prompt_rows, strict=False)
        ]
        return round(float(np.median(ratios)), 2)
