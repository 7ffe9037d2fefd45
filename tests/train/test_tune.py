"""Tuning a tiny model: the loss falls, an interrupted run ends like a whole one, failures are clear."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="needs the extra [train]", exc_type=ImportError)

import adtrie
from adtrie.cli import app
from adtrie.errors import AdtrieError, CapacityError, FormatError, InputError
from adtrie.models import adapted_checkpoint, open_checkpoint
from adtrie.train import run as run_module
from adtrie.train.batches import in_order
from adtrie.train.decoder import Decoder
from adtrie.train.pairs import Example, file_data
from adtrie.train.recipe import TASK_TEMPLATES, Recipe
from adtrie.train.run import Position, Run
from adtrie.train.save import STATE_FILE
from adtrie.train.tune import Job, TuneResult, tune

RECIPE = Recipe(
    template="{query} =>",
    rank=4,
    alpha=8.0,
    learning_rate=1e-2,
    minutes=None,
    steps=30,
    batch_tokens=256,
    max_tokens=64,
    warmup_steps=3,
    evaluate_every=7,
    patience=100,
)
WEIGHTS = "adapter_model.safetensors"


def quiet(position: Position) -> None:
    pass


@pytest.fixture
def job(models: Callable[[str], Path], pairs_file: Path, tmp_path: Path) -> Job:
    return Job(str(models("llama")), pairs_file, tmp_path / "out", "adtrie tune ...", threads=1)


@pytest.fixture(scope="module")
def whole(
    models: Callable[[str], Path], pairs_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> TuneResult:
    """A run from beginning to end."""
    out = tmp_path_factory.mktemp("whole")
    return tune(Job(str(models("llama")), pairs_file, out, threads=1), RECIPE, False, quiet)


def test_the_loss_falls_and_the_adapter_loads(whole: TuneResult, models: Callable[[str], Path]) -> None:
    first, best = whole.position.dev_curve[0][1], whole.position.best_loss
    assert best < 0.6 * first
    assert whole.ended_by == "steps"
    assert not (whole.out / STATE_FILE).exists()
    card = json.loads((whole.out / "adtrie.json").read_text())
    assert card["finished"] and card["template"] == RECIPE.template and card["steps"] == 30
    assert (whole.out / "curve.svg").read_text().startswith("<svg")
    with adtrie.load_model(models("llama"), adapter=whole.out) as model:
        assert model.template.text == RECIPE.template


def test_the_saved_adapter_is_the_trained_one(
    whole: TuneResult, models: Callable[[str], Path], pairs_file: Path
) -> None:
    """Merged without torch, the dev loss is the one that training reported."""
    with adapted_checkpoint(open_checkpoint(models("llama")), whole.out) as adapted:
        dev = file_data(pairs_file, adapted.tokenizer, RECIPE).dev
        loss = _loss_of(Decoder(adapted, None), dev)
    assert loss == pytest.approx(whole.position.best_loss, rel=0.02)


@pytest.mark.parametrize("at", [1, 7, 12])
def test_resumed_is_uninterrupted(job: Job, whole: TuneResult, at: int) -> None:
    def interrupt(position: Position) -> None:
        if position.step == at:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        tune(job, RECIPE, False, interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    assert (job.out / STATE_FILE).exists()
    with pytest.raises(InputError, match="unfinished"):
        tune(job, RECIPE, False, quiet)
    result = tune(job, RECIPE, True, quiet)
    assert result.position.dev_curve == whole.position.dev_curve
    assert result.position.train_curve == whole.position.train_curve
    assert result.position.num_tokens == whole.position.num_tokens
    assert (job.out / WEIGHTS).read_bytes() == (whole.out / WEIGHTS).read_bytes()


def test_the_seed_matters(job: Job, whole: TuneResult) -> None:
    other = tune(job, replace(RECIPE, seed=1), False, quiet)
    assert (other.out / WEIGHTS).read_bytes() != (whole.out / WEIGHTS).read_bytes()


def test_resume_refuses_other_settings(job: Job) -> None:
    def interrupt(position: Position) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InputError, match="no unfinished run"):
        tune(job, RECIPE, True, quiet)
    with pytest.raises(KeyboardInterrupt):
        tune(job, RECIPE, False, interrupt)
    with pytest.raises(InputError, match="learning_rate"):
        tune(job, replace(RECIPE, learning_rate=0.5), True, quiet)
    state = job.out / STATE_FILE
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(FormatError, match="training state"):
        tune(job, RECIPE, True, quiet)


def test_nan_keeps_the_last_good_state(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Run._loss

    def broken(self: Run, batch: object, reduction: str) -> torch.Tensor:
        loss = plain(self, batch, reduction)  # type: ignore[arg-type]
        return loss * float("nan") if self.position.step == 9 and reduction == "mean" else loss

    monkeypatch.setattr(Run, "_loss", broken)
    with pytest.raises(AdtrieError, match=r"step 9.*lower --lr"):
        tune(job, RECIPE, False, quiet)
    monkeypatch.setattr(Run, "_loss", plain)
    result = tune(job, RECIPE, True, quiet)
    assert np.isfinite(result.position.best_loss)


def test_out_of_memory_names_the_option(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Run, batch: object, reduction: str) -> torch.Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    monkeypatch.setattr(Run, "_loss", full)
    with pytest.raises(CapacityError, match="--batch-tokens"):
        tune(job, RECIPE, False, quiet)


def test_patience_ends_a_run(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Run._loss

    def stuck(self: Run, batch: object, reduction: str) -> torch.Tensor:
        loss = plain(self, batch, reduction)  # type: ignore[arg-type]
        return loss * 0 + 1 if reduction == "sum" else loss

    monkeypatch.setattr(Run, "_loss", stuck)
    result = tune(job, replace(RECIPE, evaluate_every=2, patience=3), False, quiet)
    assert (result.position.step, result.position.best_step, result.ended_by) == (6, 0, "patience")


def test_a_time_budget_plans_the_steps(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "CALIBRATION_STEPS", 2)
    recipe = replace(RECIPE, steps=None, minutes=0.05, epochs=1.0, evaluate_every=3)
    result = tune(job, recipe, False, quiet)
    assert 0 < result.position.step <= result.position.total


def test_folders_in_the_way(job: Job, whole: TuneResult, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="already"):
        tune(replace(job, out=whole.out), RECIPE, False, quiet)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        tune(replace(job, out=tmp_path / "file"), RECIPE, False, quiet)
    with pytest.raises(InputError, match="unknown"):
        tune(replace(job, source="pricerunnr"), RECIPE, False, quiet)


@pytest.mark.parametrize("family", ["llama3", "qwen2", "qwen3"])
def test_whole_linears_become_a_model_folder(job: Job, models: Callable[[str], Path], family: str) -> None:
    """The written folder is the trained model: its dev loss is the one that training reported."""
    recipe = replace(RECIPE, full=True, steps=12, learning_rate=3e-3)
    result = tune(replace(job, model=str(models(family))), recipe, False, quiet)
    assert result.position.best_loss < 0.8 * result.position.dev_curve[0][1]
    with open_checkpoint(result.out) as written, open_checkpoint(models(family)) as base:
        assert written.spec == base.spec
        assert written.tokenizer.fingerprint == base.tokenizer.fingerprint
        decoder = Decoder(written, None)
        dev = file_data(Path(job.source), written.tokenizer, recipe).dev
        loss = _loss_of(decoder, dev)
    assert loss == pytest.approx(result.position.best_loss, rel=0.02)
    with adtrie.load_model(result.out) as model:
        assert model.template.text == RECIPE.template


def test_resumed_whole_linears(job: Job, tmp_path: Path) -> None:
    recipe = replace(RECIPE, full=True, steps=10, learning_rate=1e-3)

    def interrupt(position: Position) -> None:
        if position.step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        tune(job, recipe, False, interrupt)
    tune(job, recipe, True, quiet)
    tune(replace(job, out=tmp_path / "whole"), recipe, False, quiet)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (job.out, tmp_path / "whole")]
    assert weights[0] == weights[1]


def test_full_refuses_a_family_it_cannot_write(job: Job, models: Callable[[str], Path]) -> None:
    with pytest.raises(InputError, match="--full"):
        tune(replace(job, model=str(models("ernie4_5"))), replace(RECIPE, full=True), False, quiet)


def test_command_line(models: Callable[[str], Path], pairs_file: Path, tmp_path: Path) -> None:
    arguments = [
        "tune",
        pairs_file,
        tmp_path / "a",
        "-m",
        models("llama"),
        "--steps",
        "3",
        "--rank",
        "2",
        "--json",
    ]
    done = CliRunner().invoke(app, [str(word) for word in arguments])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 3
    assert "76 to train on" in done.stderr
    again = CliRunner().invoke(app, [str(word) for word in arguments])
    assert again.exit_code == 1 and "already" in again.stderr


@pytest.mark.parametrize(("task", "command"), [("unspsc", "target"), ("naics", "target"), ("e2e", "create")])
def test_built_in_tasks(models: Callable[[str], Path], tmp_path: Path, task: str, command: str) -> None:
    out = tmp_path / "a"
    arguments = ["tune", task, str(out), "-m", str(models("llama")), "--steps", "1", "--rank", "2"]
    arguments += ["--titles"] if command == "target" else []
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    assert f"adtrie {command} --adapter {out}" in done.stdout
    card = json.loads((out / "adtrie.json").read_text())
    assert (card["task"], card["template"]) == (task, TASK_TEMPLATES[task])
    assert card["data"]["num_train"] > 0
    assert (card["data"]["num_titles"] > 0) == (command == "target")


def _loss_of(decoder: Decoder, examples: list[Example]) -> float:
    """Nats per completion token."""
    total = count = 0.0
    with torch.no_grad():
        for batch in in_order(examples, 256):
            hidden = decoder.hidden(torch.from_numpy(batch.tokens)).flatten(0, 1)
            logits = decoder.logits(hidden[torch.from_numpy(batch.rows)])
            labels = torch.from_numpy(batch.labels)
            total += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
            count += len(batch.labels)
    return total / count
