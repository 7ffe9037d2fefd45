"""Recovering a tiny packed model: what must not change, what must not get worse, failures that are clear."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="needs the extra [train]", exc_type=ImportError)

import adtrie
from adtrie.cli import app
from adtrie.compress.pack import nearest_linear, pack_nearest
from adtrie.compress.plan import Choice
from adtrie.errors import AdtrieError, InputError
from adtrie.format.codes import DENSE, CompressedLinear, num_panels
from adtrie.format.reader import PackedFolder
from adtrie.format.tensors import dense_values
from adtrie.models import Checkpoint, open_checkpoint
from adtrie.models.adapter import open_tuned
from adtrie.train.batches import in_order
from adtrie.train.coded_linear import SCALE_UNIT, CodedLinears, CodedMatrix
from adtrie.train.decoder import Decoder
from adtrie.train.distill import Distillation, relative_error
from adtrie.train.packed_pair import coded
from adtrie.train.pairs import file_data
from adtrie.train.recipe import Recipe
from adtrie.train.reconstruct import Fit, Place, Reconstruction
from adtrie.train.recover import Job, RecoverResult, recover
from adtrie.train.run import Position, Run
from adtrie.train.save import STATE_FILE
from adtrie.train.tune import Job as TuneJob
from adtrie.train.tune import tune

BLOCK_STEPS = 40  # enough for codes to reach the next ones
RECIPE = Recipe(
    template="{query} =>",
    learning_rate=2e-2,
    weight_decay=0.0,
    epochs=1000.0,
    minutes=None,
    steps=16,
    batch_tokens=256,
    max_tokens=64,
    evaluate_every=5,
    patience=100,
)
MLP = tuple(f"layers.1.{part}." for part in ("gate", "up", "down", "mlp_norm"))
WEIGHTS = "model.safetensors"


def quiet(position: Position) -> None:
    pass


def mixed(name: str, shape: tuple[int, int]) -> Choice:
    """All patterns in turn, two groups; 8 bits for embedding and head."""
    panels = num_panels(shape[0])
    if name in ("embed", "head"):
        return Choice(name, 8, shape[1], (DENSE,) * panels)
    group = 32 if shape[1] % 32 == 0 else shape[1]
    return Choice(name, 4, group, tuple(np.resize([2, 1, DENSE], panels).tolist()))


def eight_bits(name: str, shape: tuple[int, int]) -> Choice:
    """Dense everywhere."""
    return Choice(name, 8, shape[1], (DENSE,) * num_panels(shape[0]))


@pytest.fixture(scope="module")
def packed(models: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden llama, packed without any care."""
    out = tmp_path_factory.mktemp("packed") / "packed"
    with open_checkpoint(models("llama")) as source:
        pack_nearest(source, out, mixed, RECIPE.template)
    return out


@pytest.fixture
def job(models: Callable[[str], Path], packed: Path, pairs_file: Path, tmp_path: Path) -> Job:
    return Job(str(packed), tmp_path / "out", str(models("llama")), None, pairs_file, BLOCK_STEPS, threads=1)


@pytest.fixture(scope="module")
def whole(
    models: Callable[[str], Path], packed: Path, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> RecoverResult:
    """A run from beginning to end."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return recover(
        Job(str(packed), out, str(models("llama")), None, pairs_file, BLOCK_STEPS, threads=1),
        RECIPE,
        False,
        quiet,
    )


def test_it_diverges_less_in_the_same_bytes(whole: RecoverResult, packed: Path) -> None:
    assert whole.after < 0.9 * whole.before
    assert (whole.out / WEIGHTS).stat().st_size == (packed / WEIGHTS).stat().st_size
    assert not whole.out.with_name("out.work").exists()
    with open_checkpoint(packed) as old, open_checkpoint(whole.out) as new:
        assert old.manifest is not None and new.manifest is not None
        assert new.manifest.linears == old.manifest.linears
        assert new.manifest.origin == old.manifest.origin
        assert new.manifest.summary["recovered"]["dev_kl_after"] == whole.after
        changed = 0
        for name in old.manifest.linears:
            before, after = coded(old, name), coded(new, name)
            np.testing.assert_array_equal(before.mask, after.mask)
            np.testing.assert_array_equal(before.kept, after.kept)
            changed += int((before.values.codes != after.values.codes).sum())
    assert changed > 0
    with adtrie.load_model(whole.out) as model:
        assert model.template.text == RECIPE.template


def test_the_file_is_what_was_trained(
    whole: RecoverResult, models: Callable[[str], Path], pairs_file: Path
) -> None:
    assert divergence(whole.out, models("llama"), pairs_file) == pytest.approx(whole.after, rel=1e-3)


def test_it_is_never_worse_than_before(job: Job, models: Callable[[str], Path], tmp_path: Path) -> None:
    """A file next to lossless and updates far too large: every one does harm, and none is in the result."""
    fine = tmp_path / "fine"
    with open_checkpoint(models("llama")) as source:
        pack_nearest(source, fine, eight_bits, RECIPE.template)
    wild = replace(RECIPE, learning_rate=1.0, steps=3, evaluate_every=1)
    result = recover(replace(job, packed=str(fine), block_steps=0), wild, False, quiet)
    assert all(loss > result.before for _, loss in result.position.dev_curve[1:])
    assert result.position.best_step == 0 and result.after == result.before
    assert (result.out / WEIGHTS).read_bytes() == (fine / WEIGHTS).read_bytes()


@pytest.mark.parametrize("at", ["attention", 1, 7])
def test_resumed_is_uninterrupted(job: Job, whole: RecoverResult, at: int | str) -> None:
    def interrupt(position: Position) -> None:
        if position.step == at:
            os.kill(os.getpid(), signal.SIGINT)

    def interrupt_blocks(place: Place, num_blocks: int, fit: Fit) -> None:
        if place == (1, at):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recover(job, RECIPE, False, interrupt, interrupt_blocks)
    assert not job.out.exists()
    with pytest.raises(InputError, match="unfinished"):
        recover(job, RECIPE, False, quiet)
    result = recover(job, RECIPE, True, quiet)
    assert result.position.dev_curve == whole.position.dev_curve
    assert (result.before, result.after_blocks, result.fits) == (
        whole.before,
        whole.after_blocks,
        whole.fits,
    )
    assert (job.out / WEIGHTS).read_bytes() == (whole.out / WEIGHTS).read_bytes()


def test_the_blocks_are_fitted(whole: RecoverResult) -> None:
    assert len(whole.fits) == 4
    assert all(fit.after <= fit.before for fit in whole.fits)
    assert sum(fit.after for fit in whole.fits) < sum(fit.before for fit in whole.fits)
    assert whole.after_blocks < whole.before


def test_a_half_is_fitted_to_the_teachers_states(
    models: Callable[[str], Path], packed: Path, pairs_file: Path
) -> None:
    """The error that is reported is that of the states, and only its own half changes."""
    with open_checkpoint(models("llama")) as one, open_checkpoint(packed) as other:
        teacher = Decoder(one, None)
        student = Decoder(other, None, build=lambda names: coded_linears(other, one, names))
        student.train_norms()
        batches = in_order(file_data(pairs_file, one.tokenizer, RECIPE).dev, 256)[:1]
    before = {name: each.detach().clone() for name, each in student.named_parameters()}
    parts = Reconstruction(student, teacher, batches, rate=0.05)
    for place in parts.places():
        if place != (1, "mlp"):
            continue
        fit = parts.fit(place, 40)
        fitted = set(parts.parameters(place))
    assert fit.after < 0.9 * fit.before
    tokens, real = torch.from_numpy(batches[0].tokens), torch.from_numpy(batches[0].real)
    with torch.no_grad():
        x, y = (list(decoder.block_outputs(tokens))[-1][real] for decoder in (student, teacher))
    assert float(relative_error(x, y)) == pytest.approx(fit.after, rel=1e-4)
    assert fitted == {name for name in before if name.startswith(MLP)}
    for name, each in student.named_parameters():
        assert torch.equal(each, before[name]) == (name not in fitted), name


def test_a_time_budget(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adtrie.train.run.CALIBRATION_STEPS", 2)
    recipe = replace(RECIPE, steps=None, minutes=0.05)
    result = recover(replace(job, block_steps=None), recipe, False, quiet)
    assert 0 < result.position.step <= result.position.total


@pytest.mark.parametrize("bits", [4, 8])
def test_straight_through(bits: int) -> None:
    """Value, and gradients as if rounding were the identity and the scale were not rounded."""
    name, (linear, original) = "layers.0.o", small_linear(bits)
    matrix = CodedMatrix(name, linear, original, torch.device("cpu"))
    np.testing.assert_array_equal(matrix.values().detach().numpy(), linear.dequantize())
    linears = CodedLinears([matrix])
    with torch.no_grad():
        matrix.masters += 0.7 * torch.randn(matrix.masters.shape) * matrix.mask
        matrix.changes += torch.randn(matrix.changes.shape)
    linears.merge()
    x, upstream = torch.randn(2, 5, 64, requires_grad=True), torch.randn(2, 5, 32)
    (linears(x) * upstream).sum().backward()

    masters, changes = (each.detach().clone().requires_grad_() for each in (matrix.masters, matrix.changes))
    wanted = matrix.start * (1 + SCALE_UNIT * changes)
    scales = wanted + (wanted.half().float() - wanted).detach()
    integers = masters * matrix.mask + (masters.round() - masters * matrix.mask).detach()
    value = integers * scales.repeat_interleave(linear.values.group, dim=1)
    torch.testing.assert_close(linears.weight, value.detach())
    x2 = x.detach().clone().requires_grad_()
    (x2 @ value.T * upstream).sum().backward()
    for found, defined in ((x, x2), (matrix.masters, masters), (matrix.changes, changes)):
        torch.testing.assert_close(found.grad, defined.grad, rtol=1e-3, atol=1e-5)
    assert not matrix.masters.grad[~matrix.mask].any()


def test_masters_stay_inside_and_the_pruned_stay_zero() -> None:
    name, (linear, original) = "layers.0.o", small_linear(4)
    linears = CodedLinears([CodedMatrix(name, linear, original, torch.device("cpu"))])
    (matrix,) = linears.parts
    optimizer = torch.optim.Adam([p for _, p in linears.named_parameters()], lr=3.0)
    for _ in range(5):
        linears(torch.randn(7, 64)).square().sum().backward()
        optimizer.step()
        linears.merge()
    values = {key: each.detach().numpy() for key, each in linears.named_parameters()}
    found = matrix.compressed(values)  # refuses codes of pruned inputs
    np.testing.assert_array_equal(found.dequantize(), linears.weight.numpy())
    np.testing.assert_array_equal(found.mask, linear.mask)
    assert found.num_bytes == linear.num_bytes


def test_the_loss(models: Callable[[str], Path], packed: Path, pairs_file: Path) -> None:
    with open_checkpoint(models("llama")) as one, open_checkpoint(packed) as other:
        teacher, student = Decoder(one, None), Decoder(other, None)
        batch = in_order(file_data(pairs_file, one.tokenizer, RECIPE).dev, 256)[0]
    loss = Distillation(teacher)
    with torch.no_grad():
        assert float(loss(teacher, batch, "mean")) == pytest.approx(0, abs=1e-6)
        assert float(loss(teacher, batch, "sum")) == pytest.approx(0, abs=1e-5)
        tokens, rows = torch.from_numpy(batch.tokens), torch.from_numpy(batch.rows)
        p, q = (d.logits(d.hidden(tokens).flatten(0, 1)[rows]).softmax(dim=1) for d in (teacher, student))
        divergence = float((p * (p / q).log()).sum())
        assert float(loss(student, batch, "sum")) == pytest.approx(divergence, rel=1e-3)
        real = torch.from_numpy(batch.real)
        errors = [
            float(relative_error(x[real], y[real]))
            for x, y in zip(student.block_outputs(tokens), teacher.block_outputs(tokens), strict=True)
        ]
        wanted = divergence / len(batch.labels) + sum(errors) / len(errors)
        assert float(loss(student, batch, "mean")) == pytest.approx(wanted, rel=1e-3)


def test_a_tuned_teacher(job: Job, models: Callable[[str], Path], pairs_file: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    short = replace(RECIPE, steps=3)
    tune(TuneJob(str(models("llama")), pairs_file, adapter, threads=1), replace(short, rank=2), False, quiet)
    source, template = open_tuned(models("llama"), adapter)
    with source:
        pack_nearest(source, tmp_path / "packed", mixed, template)
    job = replace(job, packed=str(tmp_path / "packed"), adapter=str(adapter), block_steps=1)
    with pytest.raises(InputError, match=r"other weights.*with adapter adapter"):
        recover(replace(job, adapter=None), short, False, quiet)
    result = recover(job, short, False, quiet)
    assert result.after <= result.before
    manifest = PackedFolder(result.out).manifest
    assert manifest.origin.adapter == "adapter" and manifest.template == template


def test_files_that_do_not_belong_together(job: Job, models: Callable[[str], Path]) -> None:
    with pytest.raises(InputError, match="another shape"):
        recover(replace(job, teacher=str(models("qwen2"))), RECIPE, False, quiet)
    with pytest.raises(InputError, match="no packed checkpoint"):
        recover(replace(job, packed=str(models("llama"))), RECIPE, False, quiet)
    with pytest.raises(InputError, match="no unfinished run"):
        recover(job, RECIPE, True, quiet)
    with pytest.raises(InputError, match="unknown"):
        recover(replace(job, source="pricerunnr"), RECIPE, False, quiet)
    assert not job.out.exists() and not job.work.exists()


def test_resume_refuses_other_settings(job: Job) -> None:
    def interrupt(place: Place, num_blocks: int, fit: Fit) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recover(job, RECIPE, False, quiet, interrupt)
    with pytest.raises(InputError, match="seed"):
        recover(job, replace(RECIPE, seed=3), True, quiet)
    with pytest.raises(InputError, match="block_steps"):
        recover(replace(job, block_steps=9), RECIPE, True, quiet)


def test_nan_keeps_the_last_good_state(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Run._loss

    def broken(self: Run, batch: object, reduction: str) -> torch.Tensor:
        loss = plain(self, batch, reduction)  # type: ignore[arg-type]
        return loss * float("nan") if self.position.step == 4 and reduction == "mean" else loss

    monkeypatch.setattr(Run, "_loss", broken)
    with pytest.raises(AdtrieError, match=r"step 4.*lower --lr"):
        recover(job, RECIPE, False, quiet)
    assert (job.work / STATE_FILE).exists() and not job.out.exists()
    monkeypatch.setattr(Run, "_loss", plain)
    result = recover(job, RECIPE, True, quiet)
    assert result.after <= result.before


def test_command_line(job: Job, pairs_file: Path, tmp_path: Path) -> None:
    words = ["recover", job.packed, job.out, "--teacher", job.teacher, "--task", pairs_file]
    words += ["--steps", 2, "--block-steps", 2, "--json", "--threads", 1]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["steps"] == 2 and len(found["blocks"]) == 4
    assert found["dev_kl_after"] <= found["dev_kl_before"]
    assert "block 2/2 mlp" in done.stderr
    broken = shutil.copytree(job.packed, tmp_path / "broken")
    (broken / "manifest.json").write_text("{}")
    words[1], words[2] = broken, tmp_path / "c"
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 1 and "Traceback" not in done.output


def small_linear(bits: int) -> tuple[CompressedLinear, np.ndarray]:
    """A linear [32, 64], 2:4 and dense in 4 bits, and the weights it was made from."""
    torch.manual_seed(0)
    original = np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32)
    kept = (2, DENSE) if bits == 4 else (DENSE, DENSE)
    return nearest_linear(original, Choice("x", bits, 32, kept)), original


def coded_linears(packed: Checkpoint, teacher: Checkpoint, names: Sequence[str]) -> CodedLinears:
    """As `recover` builds them."""
    device = torch.device("cpu")
    return CodedLinears(
        [CodedMatrix(n, coded(packed, n), dense_values(teacher.matrix(n)), device) for n in names]
    )


def divergence(student: Path, teacher: Path, pairs: Path) -> float:
    """Nats per completion token of the dev rows, from the files."""
    with open_checkpoint(teacher) as one, open_checkpoint(student) as other:
        loss, decoder = Distillation(Decoder(one, None)), Decoder(other, None)
        batches = in_order(file_data(pairs, one.tokenizer, RECIPE).dev, 512)
    with torch.no_grad():
        total = sum(float(loss(decoder, batch, "sum")) for batch in batches)
    return total / sum(len(batch.labels) for batch in batches)
