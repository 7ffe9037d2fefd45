"""Checkpoints of every family through both formats: same names, same values, one clear error otherwise."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_writers import (
    MODEL_TYPES,
    Raw,
    canonical_shapes,
    f32,
    gguf_bytes,
    gguf_metadata,
    gguf_tensors,
    interleaved,
    random_tensors,
    tiny_config,
    write_hf_folder,
)
from test_families import llama3_factors

from adtrie.config import QuantizedMatrix, RopeScaling
from adtrie.errors import AdtrieError, FormatError, InputError, ModelError, TokenizerError
from adtrie.models import Checkpoint, open_checkpoint
from adtrie.models.alias import cached_path
from adtrie.models.ggml_blocks import BLOCK_TYPES

ARCHITECTURES = ("llama", "qwen2", "qwen3", "ernie4_5")


def write_gguf(path: Path, metadata: dict[str, Any], tensors: dict[str, Raw]) -> Path:
    path.write_bytes(gguf_bytes(metadata, tensors))
    return path


def tiny_gguf(path: Path, architecture: str = "llama", tied: bool = False, **changes: Any) -> Path:
    tensors = gguf_tensors(architecture, random_tensors(canonical_shapes(architecture, tied)))
    return write_gguf(path, gguf_metadata(architecture, **changes), tensors)


def assert_tensors(checkpoint: Checkpoint, expected: dict[str, np.ndarray]) -> None:
    assert set(checkpoint.names()) == set(expected)
    for name, values in expected.items():
        read = checkpoint.vector(name) if values.ndim == 1 else checkpoint.matrix(name)
        np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_folder_of_each_family(tmp_path: Path, model_type: str, tied: bool) -> None:
    tensors = random_tensors(canonical_shapes(model_type, tied))
    folder = write_hf_folder(tmp_path, tiny_config(model_type, tie_word_embeddings=tied), tensors)
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.name == str(folder) and checkpoint.spec.tied_head == tied
        assert_tensors(checkpoint, tensors)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gguf_of_each_family(tmp_path: Path, architecture: str, tied: bool) -> None:
    tensors = random_tensors(canonical_shapes(architecture, tied))
    path = write_gguf(tmp_path / "m.gguf", gguf_metadata(architecture), gguf_tensors(architecture, tensors))
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.spec.tied_head == tied
        assert_tensors(checkpoint, tensors)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_both_formats_agree_on_spec_and_tokenizer(tmp_path: Path, architecture: str) -> None:
    tensors = random_tensors(canonical_shapes(architecture))
    write_hf_folder(tmp_path / "hf", tiny_config(architecture), tensors)
    with (
        open_checkpoint(tmp_path / "hf") as folder,
        open_checkpoint(tiny_gguf(tmp_path / "m.gguf", architecture)) as gguf,
    ):
        assert gguf.spec == folder.spec
        assert gguf.tokenizer.fingerprint == folder.tokenizer.fingerprint
        assert gguf.tokenizer.eos_token == folder.tokenizer.eos_token == 2
        assert gguf.fingerprint != folder.fingerprint


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0", "Q5_0", "Q5_1", "F16", "BF16"])
def test_quantized_gguf_rows_are_put_in_order(tmp_path: Path, kind: str) -> None:
    """Codes, scales and minima of q and k move with their rows."""
    block = next(entry for entry in BLOCK_TYPES.values() if entry.name == kind)
    tensors = gguf_tensors("llama", random_tensors(canonical_shapes("llama")))
    rng = np.random.default_rng(1)
    blocks = rng.integers(0, 100, (32 * 32 // block.elements, block.num_bytes), dtype=np.uint8)
    blocks[:, 1] = 0x3C  # float16 fields of ordinary size
    rows = blocks.reshape(32, -1)
    plain = Raw(kind, (32, 32), rows.tobytes())
    tensors |= {
        "blk.0.attn_o.weight": plain,
        "blk.0.attn_q.weight": Raw(kind, (32, 32), interleaved(rows, 4).tobytes()),
    }
    tensors["blk.0.attn_output.weight"] = tensors.pop("blk.0.attn_o.weight")
    with open_checkpoint(write_gguf(tmp_path / "m.gguf", gguf_metadata("llama"), tensors)) as checkpoint:
        query, output = checkpoint.matrix("layers.0.q"), checkpoint.matrix("layers.0.o")
    assert isinstance(query, QuantizedMatrix) == (kind in ("Q4_0", "Q4_1", "Q8_0"))
    if isinstance(query, QuantizedMatrix) and isinstance(output, QuantizedMatrix):
        query, output = query.dequantize(), output.dequantize()
    np.testing.assert_array_equal(query, output)


def test_llama3_gguf(tmp_path: Path) -> None:
    scaling = RopeScaling(8.0, 1.0, 4.0, 8192)
    tensors = gguf_tensors("llama", random_tensors(canonical_shapes("llama")))
    tensors["rope_freqs.weight"] = f32(llama3_factors(scaling, 8, 500000.0))
    path = write_gguf(tmp_path / "m.gguf", gguf_metadata("llama", **{"rope.freq_base": 500000.0}), tensors)
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.spec.rope_scaling == scaling
    tensors["rope_freqs.weight"] = f32(np.ones(3, np.float32))
    with pytest.raises(FormatError, match="rope_freqs"):
        open_checkpoint(write_gguf(path, gguf_metadata("llama"), tensors))


def test_names_are_checked(tmp_path: Path) -> None:
    with open_checkpoint(tiny_gguf(tmp_path / "m.gguf")) as checkpoint:
        for call in (
            lambda: checkpoint.matrix("layers.9.q"),
            lambda: checkpoint.matrix("final_norm"),
            lambda: checkpoint.vector("embed"),
        ):
            with pytest.raises(InputError):
                call()


def test_missing_extra_and_misshapen_tensors(tmp_path: Path) -> None:
    tensors = random_tensors(canonical_shapes("qwen2"))
    config = tiny_config("qwen2")
    without = {name: values for name, values in tensors.items() if name != "layers.1.k.bias"}
    with pytest.raises(FormatError, match=r"missing tensors: 'model.layers.1.self_attn.k_proj.bias'"):
        open_checkpoint(write_hf_folder(tmp_path, config, without))
    more = tensors | {"layers.2.q": np.ones((32, 32), np.float32)}
    with pytest.raises(FormatError, match=r"unknown tensors: 'model.layers.2.self_attn.q_proj.weight'"):
        open_checkpoint(write_hf_folder(tmp_path, config, more))
    odd = tensors | {"layers.0.up": np.ones((63, 32), np.float32)}
    with pytest.raises(FormatError, match=r"up_proj.weight' has shape \[63, 32\].*needs \[64, 32\]"):
        open_checkpoint(write_hf_folder(tmp_path, config, odd))


def test_config_larger_than_the_weights(tmp_path: Path) -> None:
    """A huge but legal shape ends at the first missing tensor, before anything of that size exists."""
    config = tiny_config("llama", num_hidden_layers=1024, hidden_size=65536, vocab_size=1 << 21)
    with pytest.raises(FormatError, match="and 9193 more"):
        open_checkpoint(write_hf_folder(tmp_path, config, random_tensors(canonical_shapes("llama"))))


def test_tied_model_may_carry_its_head(tmp_path: Path) -> None:
    tensors = random_tensors(canonical_shapes("llama"))
    folder = write_hf_folder(tmp_path, tiny_config("llama", tie_word_embeddings=True), tensors)
    with open_checkpoint(folder) as checkpoint:
        assert "head" not in checkpoint.names()


def test_tokenizer_and_embedding_must_fit(tmp_path: Path) -> None:
    for rows, match in ((287, "different models"), (20000, "different models")):
        tensors = random_tensors(canonical_shapes("llama"))
        tensors |= {name: np.zeros((rows, 32), np.float32) for name in ("embed", "head")}
        with pytest.raises(TokenizerError, match=match):
            open_checkpoint(write_hf_folder(tmp_path, tiny_config("llama", vocab_size=rows), tensors))
        with pytest.raises(TokenizerError, match=f"{rows} rows"):
            open_checkpoint(
                write_gguf(tmp_path / "m.gguf", gguf_metadata("llama"), gguf_tensors("llama", tensors))
            )


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("model", "bert", "tokenizer 'bert'"),
        ("model", ["gpt2"], "tokenizer"),
        ("model", "llama", "scores"),
        ("pre", "unheard-of", "unheard-of"),
        ("pre", ["smollm"], "smollm"),
        ("tokens", "text", "tokens"),
        ("tokens", ["a"] * 288, "twice"),
        ("token_type", np.ones(5, "<i4"), "token_type"),
        ("token_type", np.ones(288, "<f4"), "token_type"),
        ("merges", ["a b c"], "merges"),
        ("merges", ["zz yy"], "damaged"),
        ("merges", np.ones(3, "<i4"), "merges"),
        ("eos_token_id", 288, "end-of-text"),
        ("eos_token_id", "2", "eos_token_id"),
        ("bos_token_id", 99999, "start token"),
        ("add_bos_token", 1, "add_bos_token"),
    ],
)
def test_damaged_gguf_tokenizer(tmp_path: Path, key: str, value: Any, match: str) -> None:
    metadata = gguf_metadata("llama") | {f"tokenizer.ggml.{key}": value}
    tensors = gguf_tensors("llama", random_tensors(canonical_shapes("llama")))
    with pytest.raises(TokenizerError, match=match):
        open_checkpoint(write_gguf(tmp_path / "m.gguf", metadata, tensors))


def test_files_are_closed_after_an_error(tmp_path: Path) -> None:
    tiny_gguf(tmp_path / "m.gguf", block_count=3)
    write_hf_folder(
        tmp_path / "hf", tiny_config("llama", num_hidden_layers=3), random_tensors(canonical_shapes("llama"))
    )
    before = len(os.listdir("/proc/self/fd"))
    for source in (tmp_path / "m.gguf", tmp_path / "hf"):
        with pytest.raises(FormatError):
            open_checkpoint(source)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pt", ".onnx"])
def test_other_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"x")
    with pytest.raises(ModelError, match="folder"):
        open_checkpoint(path)


def test_what_does_not_exist(tmp_path: Path) -> None:
    for source in (
        tmp_path / "missing.gguf",
        str(tmp_path / "no" / "folder"),
        "missing.gguf",
        "a\0b",
        "x" * 5000,
    ):
        with pytest.raises(ModelError):
            open_checkpoint(source)
    with pytest.raises(ModelError, match=r"config\.json"):
        open_checkpoint(tmp_path)


def test_single_bit_flips_in_a_whole_file_never_escape_our_errors(tmp_path: Path) -> None:
    path = tiny_gguf(tmp_path / "m.gguf", tied=True)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, 9000, 150):
        changed = bytearray(content)
        changed[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            with open_checkpoint(path) as checkpoint:
                checkpoint.matrix("embed")
        except AdtrieError:
            pass


@pytest.mark.model
def test_real_model(tmp_path: Path) -> None:
    path = cached_path("smollm2-135m")
    if not path.exists():
        pytest.skip("smollm2-135m is not cached; 'adtrie demo' fetches it")
    with open_checkpoint("smollm2-135m") as checkpoint:
        spec = checkpoint.spec
        assert (spec.num_layers, spec.hidden_size, spec.num_heads, spec.num_kv_heads) == (30, 576, 9, 3)
        assert spec.vocab_size == checkpoint.tokenizer.vocab_size == 49152 and spec.tied_head
        assert len(checkpoint.names()) == 272
        for name in checkpoint.names():
            tensor = checkpoint.vector(name) if name.endswith("norm") else checkpoint.matrix(name)
            assert isinstance(tensor, QuantizedMatrix) == (not name.endswith("norm"))
        embed, down = checkpoint.matrix("embed"), checkpoint.matrix("layers.0.down")
        assert isinstance(embed, QuantizedMatrix) and isinstance(down, QuantizedMatrix)
        assert (embed.bits, down.bits, embed.mins is None, down.mins is None) == (8, 4, True, False)
    shutil.copy(path, tmp_path / "cut.gguf")
    os.truncate(tmp_path / "cut.gguf", path.stat().st_size - 100)
    with pytest.raises(FormatError, match="truncated"):
        open_checkpoint(tmp_path / "cut.gguf")
