"""What `adtrie demo` shows of compression: the demonstrated model made smaller, asked the same questions."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adtrie.api import Model, load_model
from adtrie.compress.settings import preset
from adtrie.compression import Job, compress
from adtrie.evaluate import Pair, percentiles
from adtrie.request import Hits

Ask = Callable[[Model, str], Hits]


@dataclass(frozen=True)
class Compressed:
    """A model compressed by a preset, and the one it was made from as it was served.

    top1_agreement, perplexities: next tokens of held-out texts, against the weights before compression.
    p50_ms: of the same requests asked of both in turn. seconds: what compressing took.
    """

    preset: str
    bits_per_weight: float
    num_bytes: int
    full_bytes: int
    top1_agreement: float
    perplexity: float
    full_perplexity: float
    p50_ms: float
    full_p50_ms: float
    seconds: float

    @property
    def speed_up(self) -> float:
        """Of the medians."""
        return self.full_p50_ms / self.p50_ms


def demonstrate(
    full: Model,
    name: str,
    adapter: str | None,
    preset_name: str,
    rows: Sequence[Pair],
    num_timed: int,
    ask: Ask,
    progress: Callable[[str, float], None] | None = None,
) -> tuple[Compressed, list[Hits]]:
    """Compresses model `name` with `adapter`, asks it all `rows`, and the first `num_timed` of `full` too.

    Returns its figures and its answers. The packed checkpoint is deleted again.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="adtrie-demo-") as folder:
        out = Path(folder) / "packed"
        report = compress(Job(name, out, adapter), preset(preset_name), progress)
        seconds = time.perf_counter() - started
        small = load_model(out)
        small.warm()
        for model in (small, full):
            ask(model, rows[0].query)  # not counted
        answers, before = list[Hits](), list[float]()
        for number, row in enumerate(rows):
            if number < num_timed:
                before.append(ask(full, row.query).ms)
            answers.append(ask(small, row.query))
        size = small.engine.weight_bytes
        small.close()
    (p50,) = percentiles([hits.ms for hits in answers[:num_timed]], (50.0,))
    (full_p50,) = percentiles(before, (50.0,))
    found = report.divergence
    return Compressed(
        preset=preset_name,
        bits_per_weight=round(8 * report.num_bytes / report.num_weights, 3),
        num_bytes=size,
        full_bytes=full.engine.weight_bytes,
        top1_agreement=round(found.top1_agreement, 4),
        perplexity=round(found.perplexity, 4),
        full_perplexity=round(found.reference_perplexity, 4),
        p50_ms=round(p50, 2),
        full_p50_ms=round(full_p50, 2),
        seconds=round(seconds, 1),
    ), answers
