"""The quality of one row: bytes from the file, divergence on held-out answers, the task's own metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from adtrie.api import Model, TargetOptions
from adtrie.catalogue import Catalogue
from adtrie.config import OUTER_LINEARS
from adtrie.evaluate import load_creative_task, load_task
from adtrie.evaluate.creating import measure_creative
from adtrie.evaluate.questions import Labels, task_questions
from adtrie.evaluate.targeting import measure_targeting
from adtrie.format.codes import pattern_bits, pattern_name
from adtrie.format.panels import PackedLinear
from adtrie.models import Checkpoint
from benchmarks.paper_plans import linear_shapes
from benchmarks.paper_rows import Row
from benchmarks.paper_setting import Bench, full_format

TARGETING = TargetOptions(10, "verify", width=10)
FULL_BYTES = {"float32": 4, "float16": 2}


def quality(bench: Bench, row: Row, recovered: Path | None = None) -> dict[str, Any]:
    """Size, divergence and metrics as JSON values, of a recovered checkpoint where one is given."""
    if row.kind == "full":
        with closing(bench.full_model()) as model:
            return {**_full_size(bench), **divergence(bench, bench.source), **metrics(bench, model)}
    if row.kind == "pruned":
        source = bench.pruned(row)
        with closing(bench.float_model(source)) as model:
            return {**_pruned_size(bench, row), **divergence(bench, source), **metrics(bench, model)}
    with closing(bench.packed_model(recovered or bench.packed(row))) as model:
        assert isinstance(model.checkpoint, Checkpoint)
        size = packed_size(model.checkpoint)
        return {**size, **divergence(bench, model.checkpoint), **metrics(bench, model)}


def divergence(bench: Bench, source: Any) -> dict[str, Any]:
    """From full precision, on held-out answers, both in float32."""
    found = asdict(bench.reference.of(source))
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in found.items()}


def metrics(bench: Bench, model: Model) -> dict[str, Any]:
    """The task's metrics with their intervals, under "metrics"."""
    count = bench.sizes.sample
    if bench.scenario.name == "creative":
        task = load_creative_task(bench.scenario.task)
        briefs = task.sample("test", count)
        report = measure_creative(
            task, briefs, lambda facts, draft: model.create(facts, draft=draft), with_floors=False
        )
        return {"metrics": {name: asdict(value) for name, value in report.scores[0].metrics.items()}}
    named = load_task(bench.scenario.task)
    catalogue = Catalogue.build(list(zip(named.ids, named.keywords, strict=True)), model)
    questions = task_questions(named, Labels(catalogue), "test", count)
    found = measure_targeting(
        named.name,
        questions,
        lambda query: model.answer(query, catalogue, TARGETING),
        TARGETING.k,
        with_floors=False,
    )
    pairs = {f"{score.group} R@1": asdict(score.at_1) for score in found.scores}
    pairs |= {f"{score.group} R@{TARGETING.k}": asdict(score.at_k) for score in found.scores}
    return {"metrics": pairs}


def packed_size(checkpoint: Checkpoint) -> dict[str, Any]:
    """Bytes and bits per weight of a packed checkpoint, its panels by pattern and the share of 1:4."""
    sizes: dict[str, tuple[int, int]] = {}
    panels: Counter[str] = Counter()
    weights: Counter[int] = Counter()
    groups: Counter[str] = Counter()
    for name, shape in linear_shapes(checkpoint).items():
        linear = checkpoint.matrix(name)
        assert isinstance(linear, PackedLinear)
        sizes[name] = linear.num_bytes, shape[0] * shape[1]
        if name in OUTER_LINEARS:
            continue
        groups[str(linear.group)] += 1
        for kept, count in Counter(linear.kept.tolist()).items():
            panels[pattern_name(kept)] += count
            weights[kept] += count * shape[1]
    sparse = weights[2] + weights[1]
    return {
        **size_of(sizes),
        "panels": dict(panels),
        "groups": dict(groups),
        "one_of_four_share": weights[1] / sparse if sparse else None,
    }


def size_of(sizes: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """Bytes and bits per weight, of all and of the blocks, from (bytes, weights) of each linear by name."""
    blocks = [size for name, size in sizes.items() if name not in OUTER_LINEARS]

    def bits(parts: Sequence[tuple[int, int]]) -> float:
        return round(8 * sum(size for size, _ in parts) / sum(weights for _, weights in parts), 4)

    return {
        "bytes": sum(size for size, _ in sizes.values()),
        "bits_per_weight": bits(list(sizes.values())),
        "block_bits_per_weight": bits(blocks),
    }


def _full_size(bench: Bench) -> dict[str, Any]:
    each = FULL_BYTES.get(full_format(), 2)
    shapes = linear_shapes(bench.source)
    sizes = {name: (each * int(np.prod(shape)), int(np.prod(shape))) for name, shape in shapes.items()}
    return {**size_of(sizes), "weights": full_format()}


def _pruned_size(bench: Bench, row: Row) -> dict[str, Any]:
    """As the paper stores it: 16-bit survivors with 2-bit positions, embedding and head in 16 bits."""
    assert row.recipe is not None
    bits = pattern_bits(16, row.recipe.patterns[0])
    sizes = {
        name: (int(shape[0] * shape[1] * (16 if name in OUTER_LINEARS else bits) / 8), shape[0] * shape[1])
        for name, shape in linear_shapes(bench.source).items()
    }
    return size_of(sizes)
