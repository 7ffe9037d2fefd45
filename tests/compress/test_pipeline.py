"""The whole loop on tiny models: laws, continuing a run, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compress_models import MemorySource, random_source

from adtrie.compress.pipeline import Compression, Texts
from adtrie.compress.samples import Sample
from adtrie.compress.settings import Budget, Settings
from adtrie.errors import AdtrieError, InputError


def make_samples(count: int, seed: int, vocab: int = 96) -> list[Sample]:
    random = np.random.default_rng(seed)
    lengths = random.integers(6, 20, count)
    return [
        Sample(random.integers(0, vocab, length).astype(np.int32), int(random.integers(1, length)))
        for length in lengths
    ]


TEXTS = Texts(make_samples(24, 1), make_samples(6, 2), make_samples(6, 3))


def make_run(path: Path, settings: Settings = Settings(Budget("bpw", 4.0)), **options) -> Compression:
    source = options.pop("source", None) or random_source()
    return Compression(source, options.pop("texts", TEXTS), settings, path, **options)


def test_a_budget_becomes_a_model_within_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "work")
    table = run.measure()
    plan = run.plan(table)
    linears = dict(run.solve(plan))
    num_bytes = sum(linear.num_bytes for linear in linears.values())
    assert num_bytes == plan.num_bytes <= 4.0 * table.num_weights / 8
    assert run.divergence(run.replaced(plan)).kl_mean > 0
