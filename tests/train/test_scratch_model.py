"""The small model from random weights: its start, its floor, and that what is trained is written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]", exc_type=ImportError)

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [] if str(ROOT) in sys.path else [str(ROOT)]

from benchmarks.scratch_model import DUELS, ROWS, verdicts
from benchmarks.scratch_start import SPEC, random_checkpoint, shortened, unigram_loss
from benchmarks.scratch_training import WholeDecoder, train

from adtrie.models import open_checkpoint
from adtrie.train.decoder import Decoder
from adtrie.train.pairs import file_data
from adtrie.train.recipe import Recipe

TINY = replace(
    SPEC, num_layers=2, hidden_size=64, intermediate_size=128, num_heads=2, num_kv_heads=1, head_size=32
)
TEXT = "Mixed Case text, 123 and <|im_end|>"


@pytest.fixture
def golden(models: Callable[[str], Path]) -> Path:
    return models("llama")


def test_shortened_spells_the_same_text_with_fewer_ids(golden: Path) -> None:
    with open_checkpoint(golden) as checkpoint:
        whole = checkpoint.tokenizer
        size = whole.vocab_size - 8
        short = shortened(whole, size)
    tokens = short.encode(TEXT)
    assert short.vocab_size <= size and int(tokens.max()) < size
    assert short.decode(tokens) == TEXT
    assert len(tokens) >= len(whole.encode(TEXT))
    np.testing.assert_array_equal(shortened(whole, whole.vocab_size).encode(TEXT), whole.encode(TEXT))


def test_the_start_depends_on_the_seed_alone(golden: Path) -> None:
    with open_checkpoint(golden) as checkpoint:
        spec = replace(TINY, vocab_size=checkpoint.tokenizer.vocab_size)
        one, same, other = (random_checkpoint(checkpoint.tokenizer, spec, seed) for seed in (0, 0, 1))
    for name in ("embed", "layers.1.down"):
        np.testing.assert_array_equal(one.matrix(name), same.matrix(name))
        assert not np.array_equal(one.matrix(name), other.matrix(name))
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_unigram_loss_is_the_entropy_of_what_it_counted() -> None:
    tokens = np.repeat(np.arange(4, dtype=np.int32), 10_000)
    assert unigram_loss([tokens], [tokens], 4) == pytest.approx(np.log(4))
    assert np.isfinite(unigram_loss([tokens], [np.array([7], np.int32)], 8))  # never seen


def test_what_is_trained_is_what_is_written(golden: Path, pairs_file: Path, tmp_path: Path) -> None:
    recipe = Recipe(template="Q: {query} =>", steps=6, batch_tokens=256, evaluate_every=3, warmup_steps=1)
    with open_checkpoint(golden) as checkpoint:
        start = random_checkpoint(
            checkpoint.tokenizer, replace(TINY, vocab_size=checkpoint.tokenizer.vocab_size), 0
        )
    data = file_data(pairs_file, start.tokenizer, recipe)
    train(start, data, recipe, tmp_path, lambda place: None)
    tokens = torch.from_numpy(data.dev[0].tokens[None].astype(np.int64))
    with open_checkpoint(tmp_path) as written, torch.no_grad():
        for name in ("embed", "layers.0.q", "layers.1.down"):
            assert not np.allclose(written.matrix(name), start.matrix(name), atol=1e-4)
        for name in ("final_norm", "layers.0.mlp_norm"):
            assert not np.array_equal(written.vector(name), start.vector(name))
        before, after = (Decoder(each, None).hidden(tokens) for each in (start, written))
    assert not torch.allclose(before, after, atol=1e-2)


def test_every_tensor_is_trained_and_named(golden: Path) -> None:
    with open_checkpoint(golden) as checkpoint:
        start = random_checkpoint(
            checkpoint.tokenizer, replace(TINY, vocab_size=checkpoint.tokenizer.vocab_size), 0
        )
    decoder = WholeDecoder(start)
    values = {name: each.detach().numpy() for name, each in decoder.named_parameters()}
    made = decoder.separated(values)
    assert made.keys() == {f"{name}.W" for name in start.names()}
    for name in start.names():
        untouched = start.vector(name) if "norm" in name else start.matrix(name)
        np.testing.assert_array_equal(made[f"{name}.W"], untouched)


def test_a_verdict_says_who_does_not_beat_whom() -> None:
    rows = {name: {"kl_mean": 1.0, "perplexity": 3.0} for name in ROWS}
    assert all("does not beat" in line for line in verdicts(rows, 3.0)[: len(DUELS)])
    rows["gptq"] = {"kl_mean": 0.5, "perplexity": 2.9}
    first, second, *_, last = verdicts(rows, 3.0)
    assert first.startswith(f"{ROWS['gptq']} beats") and "does not beat" in second
    assert last.endswith(f"for: {ROWS['gptq']}")
