"""Baseline plans, and that ours predicts no more error than any of them at equal bytes."""

from __future__ import annotations

import pytest
from compress_models import make_samples, random_source

from adtrie.compress.baselines import ordered_plan, uniform_plan
from adtrie.compress.measurements import Measurements
from adtrie.compress.pipeline import Compression, Texts
from adtrie.compress.plan import Frontier
from adtrie.compress.settings import Settings
from adtrie.errors import InputError


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Measurements:
    texts = Texts(make_samples(24, 1), [], [])
    return Compression(random_source(), texts, Settings(), tmp_path_factory.mktemp("a") / "work").measure()


def test_ours_predicts_no_more_error_at_equal_bytes(table: Measurements) -> None:
    frontier = Frontier(table)
    names = [linear.name for linear in table.linears if "." in linear.name]
    dense, sparse = uniform_plan(table, 4, 32), uniform_plan(table, 2, 32)
    half = (dense.num_bytes + sparse.num_bytes) / 2
    plans = [dense, sparse, ordered_plan(table, names, (4, 2), 32, half)]
    plans.append(ordered_plan(table, names[::-1], (4, 2), 32, half))
    for plan in plans:
        assert frontier.plan(plan.num_bytes).error <= plan.error
    assert sparse.num_bytes < plans[2].num_bytes <= half < dense.num_bytes


def test_what_was_not_measured_or_cannot_fit_is_refused(table: Measurements) -> None:
    with pytest.raises(InputError, match="not measured"):
        uniform_plan(table, 4, 48)
    with pytest.raises(InputError, match="below all"):
        ordered_plan(table, [], (4, 2), 32, 10.0)
