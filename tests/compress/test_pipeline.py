"""The whole loop on tiny models: laws, runs that are killed and continued, refusals."""

from __future__ import annotations

import errno
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from compress_models import MemorySource, make_samples, random_source

from adtrie.compress.block import float_matrix
from adtrie.compress.linear import compress_linear
from adtrie.compress.measurements import Measurements, Override
from adtrie.compress.pipeline import Compression, Texts
from adtrie.compress.plan import Plan
from adtrie.compress.quantize import Grid
from adtrie.compress.settings import Budget, Settings
from adtrie.compress.sparsify import prune
from adtrie.compress.ways import Allowed
from adtrie.errors import AdtrieError, InputError

TEXTS = Texts(make_samples(24, 1), make_samples(6, 2), make_samples(6, 3))
SETTINGS = Settings(Budget("bpw", 4.0))
Bytes = dict[str, tuple[bytes, ...]]


class Killed(Exception):
    """What a killed process leaves no trace of."""


def make_run(path: Path, settings: Settings = SETTINGS, source: MemorySource | None = None, **options):
    texts = options.pop("texts", TEXTS)
    return Compression(source or random_source(), texts, settings, path / "work", **options)


def result(run: Compression) -> Bytes:
    """Everything that is written of a run."""
    table = run.measure()
    plan, _ = run.refine(run.frontier(table), run.plan(table), run.limit(table))
    return {
        name: (linear.values.codes.tobytes(), linear.values.scales.tobytes(), linear.kept.tobytes())
        for name, linear in run.solve(plan)
    }


def test_a_budget_becomes_a_model_within_it(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    table = run.measure()
    plan = run.plan(table)
    linears = dict(run.solve(plan))
    assert sum(linear.num_bytes for linear in linears.values()) <= plan.num_bytes <= run.limit(table)
    assert {kept for linear in linears.values() for kept in linear.kept.tolist()} > {4}
    found = run.divergence(run.replaced(plan))
    assert 0 < found.kl_mean <= found.kl_p99
    assert run.divergence(run.source).kl_mean < 1e-6


def test_more_budget_never_predicts_more_error(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    frontier = run.frontier(run.measure())
    plans = [frontier.plan(budget) for budget in np.linspace(frontier.smallest, frontier.largest, 40)]
    assert all(b.error <= a.error for a, b in pairwise(plans))


def test_each_method_is_no_worse_than_the_one_before(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.calibrate()
    for name in run.names():
        weights, curvature = float_matrix(run.source, name), run.sensitivity(name).curvature
        for kept in (4, 2):
            pruned, errors = prune(weights, curvature, kept), []
            for method in ("nearest", "gptq", "polish"):
                linear = compress_linear(weights, pruned, curvature, Grid(4, 32), method)
                errors.append(curvature.row_errors(weights, linear.dequantize()).sum())
                assert (linear.mask.reshape(len(weights), -1, 4).sum(axis=2) == kept).all()
            assert errors[2] <= errors[1] <= errors[0], name


@pytest.mark.parametrize("refine_trials", [0, 3])
def test_a_run_killed_anywhere_continues_to_the_same_bytes(tmp_path: Path, refine_trials: int) -> None:
    settings = replace(SETTINGS, refine_trials=refine_trials)
    expected = result(make_run(tmp_path / "whole", settings))
    left = 0

    def kill(what: str, share: float) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    found, attempt = None, 0
    while found is None:
        left = 2 * attempt
        try:
            found = result(make_run(tmp_path / "cut", settings, resume=attempt > 0, progress=kill))
        except Killed:
            attempt += 1
    assert attempt > 1
    assert found == expected


def test_a_damaged_piece_is_made_again(tmp_path: Path) -> None:
    expected = result(make_run(tmp_path))
    for piece in (tmp_path / "work").iterdir():
        if piece.name.startswith(("solved", "measured")):
            piece.write_bytes(piece.read_bytes()[:-1])
    assert result(make_run(tmp_path, resume=True)) == expected


def test_an_unfinished_run_is_neither_overwritten_nor_mixed_up(tmp_path: Path) -> None:
    make_run(tmp_path).calibrate()
    with pytest.raises(InputError, match="--resume"):
        make_run(tmp_path)
    with pytest.raises(InputError, match="another model, texts, settings"):
        make_run(tmp_path, source=random_source(seed=5), resume=True)
    with pytest.raises(InputError, match="another model, texts, settings"):
        make_run(tmp_path, replace(SETTINGS, seed=1), resume=True)


def test_a_full_disk_keeps_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = result(make_run(tmp_path / "whole"))
    run = make_run(tmp_path)
    run.calibrate()

    def refuse(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", refuse)
        with pytest.raises(AdtrieError, match="No space left"):
            run.measure()
    assert result(make_run(tmp_path, resume=True)) == expected


def test_refinement_keeps_the_budget_and_what_is_better(tmp_path: Path) -> None:
    run = make_run(tmp_path, replace(SETTINGS, refine_trials=12))
    table = run.measure()
    plan, limit = run.plan(table), run.limit(table)
    refined, found = run.refine(run.frontier(table), plan, limit)
    assert found is not None and found.kl_after <= found.kl_before
    assert refined.num_bytes <= limit
    if refined != plan:
        assert run.divergence(run.replaced(refined)).kl_mean < run.divergence(run.replaced(plan)).kl_mean


def test_predicted_divergence_is_that_of_small_changes(tmp_path: Path) -> None:
    """Noise in one linear at a time: what is predicted is found, in the same unit for all."""
    run = make_run(tmp_path, texts=Texts(make_samples(150, 1), [], []))
    run.calibrate()
    random = np.random.default_rng(0)
    for name in run.names():
        weights, sensitivity = float_matrix(run.source, name), run.sensitivity(name)
        predicted = found = 0.0
        for _ in range(3):
            noise = random.normal(scale=0.03 * weights.std(), size=weights.shape)
            changed = weights + noise.astype(np.float32)
            predicted += float(sensitivity.row_costs(weights, changed).sum())
            tensors = {**run.source.tensors, name: changed}
            found += run.divergence(MemorySource(run.source.spec, tensors)).kl_mean
        assert 0.6 < predicted / found < 1.6, name


def test_another_models_measurements_and_plans_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    table = run.measure()
    other = Measurements.from_json(replace(table, model="f" * 64).to_json())
    with pytest.raises(InputError, match="another model"):
        run.frontier(other)
    with pytest.raises(InputError, match="not those of the model"):
        run.frontier(replace(table, linears=table.linears[1:]))
    plan = run.plan(table)
    for wrong in (
        replace(plan, model="f" * 64),
        replace(plan, choices=plan.choices[1:]),
        replace(plan, choices=(replace(plan.choices[0], group=17), *plan.choices[1:])),
        replace(plan, choices=(replace(plan.choices[0], kept=(4,)), *plan.choices[1:])),
    ):
        with pytest.raises(InputError):
            run.check_plan(wrong)
    run.check_plan(Plan.from_json(plan.to_json()))


def test_overrides_hold(tmp_path: Path) -> None:
    overrides = (Override("layers.*.down", "int8-*"), Override("layers.0.*", "*-2:4"))
    run = make_run(tmp_path, replace(SETTINGS, budget=Budget("bpw", 6.0), overrides=overrides))
    for choice in run.plan(run.measure()).choices:
        if choice.name == "layers.1.down":
            assert choice.bits == 8
        if choice.name.startswith("layers.0."):
            assert set(choice.kept) == {2}


@pytest.mark.parametrize("bpw", [0.5, 100.0])
def test_impossible_and_boundless_budgets(tmp_path: Path, bpw: float) -> None:
    run = make_run(tmp_path, replace(SETTINGS, budget=Budget("bpw", bpw)))
    table = run.measure()
    if bpw < 1:
        with pytest.raises(InputError, match="below the smallest possible"):
            run.plan(table)
    else:
        assert run.plan(table).num_bytes == run.frontier(table).largest


def test_widths_that_nothing_divides_stay_dense(tmp_path: Path) -> None:
    source = random_source(hidden_size=28, intermediate_size=90, num_heads=2, num_kv_heads=1, head_size=14)
    run = make_run(tmp_path, replace(SETTINGS, budget=Budget("bpw", 6.0)), source=source)
    found = run.replaced(run.plan(run.measure()))
    assert run.divergence(found).kl_mean > 0
    with pytest.raises(InputError, match="width of 28"):
        make_run(tmp_path / "b", replace(SETTINGS, linears=Allowed((4,), (2,))), source=source).measure()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    source = random_source()
    tensors = {**source.tensors, "layers.1.up": source.tensors["layers.1.up"].copy()}
    tensors["layers.1.up"][3, 5] = value
    with np.errstate(all="ignore"), pytest.raises(InputError, match=r"layers\.1\.up"):
        make_run(tmp_path, source=MemorySource(source.spec, tensors)).measure()


def test_dead_inputs_and_rows_of_zeros_are_compressed(tmp_path: Path) -> None:
    source = random_source()
    tensors = {name: values.copy() for name, values in source.tensors.items()}
    tensors["layers.0.attn_norm"][:5] = 0  # dead inputs of q, k, v
    tensors["layers.0.gate"][7] = 0  # and a row of zeros, so a dead input of down
    tensors["layers.1.up"][:] = 0
    run = make_run(tmp_path, source=MemorySource(source.spec, tensors))
    linears = dict(run.solve(run.plan(run.measure())))
    assert not linears["layers.1.up"].dequantize().any()
    assert np.isfinite(run.divergence(run.replaced(run.plan(run.measure()))).kl_mean)


def test_no_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no text"):
        make_run(tmp_path, texts=Texts([], [], []))
