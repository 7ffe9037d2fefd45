"""Hugging Face folders: shards, paths that try to leave, pickles, tokenizer settings."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_writers import (
    canonical_shapes,
    f32,
    hf_name,
    random_tensors,
    safetensors_bytes,
    tiny_config,
    write_hf_folder,
)

from adtrie.errors import AdtrieError, FormatError, ModelError, TokenizerError
from adtrie.models import Tokenizer, open_checkpoint

TENSORS = random_tensors(canonical_shapes("llama"))
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_hf_folder(tmp_path / "model", tiny_config("llama"), TENSORS)


@pytest.fixture
def sharded(folder: Path) -> Path:
    """The same model in two shards and an index."""
    (folder / "model.safetensors").unlink()
    names = sorted(TENSORS)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2])):
        file = f"model-0000{number + 1}-of-00002.safetensors"
        raw = {hf_name(name): f32(TENSORS[name]) for name in part}
        (folder / file).write_bytes(safetensors_bytes(raw))
        weight_map |= dict.fromkeys(raw, file)
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return folder


def rewrite(path: Path, **changes: Any) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, **changes}))


def tokenizer_of(folder: Path) -> Tokenizer:
    with open_checkpoint(folder) as checkpoint:
        return checkpoint.tokenizer


def test_shards_hold_the_same_model(sharded: Path) -> None:
    with open_checkpoint(sharded) as checkpoint:
        for name in checkpoint.names():
            read = checkpoint.vector(name) if name.endswith("norm") else checkpoint.matrix(name)
            np.testing.assert_array_equal(read, TENSORS[name])


def test_missing_shard(sharded: Path) -> None:
    (sharded / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"00002-of-00002.*missing"):
        open_checkpoint(sharded)


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "a\0b", "a\\b"]
)
def test_index_that_points_elsewhere(sharded: Path, name: str) -> None:
    weight_map = json.loads((sharded / INDEX).read_text())["weight_map"]
    weight_map["model.norm.weight"] = name
    rewrite(sharded / INDEX, weight_map=weight_map)
    with pytest.raises(FormatError, match="leaves the folder"):
        open_checkpoint(sharded)


@pytest.mark.parametrize("weight_map", [None, [], {"model.norm.weight": 3}, "x"])
def test_index_of_another_form(sharded: Path, weight_map: Any) -> None:
    rewrite(sharded / INDEX, weight_map=weight_map)
    with pytest.raises(FormatError, match="weight_map"):
        open_checkpoint(sharded)


def test_index_and_shards_must_agree(sharded: Path) -> None:
    weight_map = json.loads((sharded / INDEX).read_text())["weight_map"]
    removed = {name: file for name, file in weight_map.items() if name != "model.norm.weight"}
    rewrite(sharded / INDEX, weight_map=removed)
    with pytest.raises(FormatError, match=r"model.norm.weight.*not listed"):
        open_checkpoint(sharded)
    rewrite(sharded / INDEX, weight_map=weight_map | {"ghost": weight_map["model.norm.weight"]})
    with pytest.raises(FormatError, match=r"ghost.*missing from"):
        open_checkpoint(sharded)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_links_out_of_the_folder(folder: Path, name: str) -> None:
    os.rename(folder / name, folder.parent / name)
    (folder / name).symlink_to(Path("..") / name)
    with pytest.raises(AdtrieError, match="link out of the folder"):
        open_checkpoint(folder)


def test_links_within_the_folder_and_hub_cache_layout(folder: Path, tmp_path: Path) -> None:
    os.rename(folder / "model.safetensors", folder / "real.safetensors")
    (folder / "model.safetensors").symlink_to("real.safetensors")
    open_checkpoint(folder).close()
    snapshot, blobs = tmp_path / "hub" / "snapshots" / "abc", tmp_path / "hub" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, name in enumerate(("config.json", "tokenizer.json", "model.safetensors")):
        (blobs / str(number)).write_bytes((folder / name).read_bytes())
        (snapshot / name).symlink_to(Path("../../blobs") / str(number))
    open_checkpoint(snapshot).close()


def test_dangling_and_circular_links(folder: Path) -> None:
    for target in ("nothing", "model.safetensors"):
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors").symlink_to(target)
        with pytest.raises(ModelError):
            open_checkpoint(folder)


def test_pickles_are_refused_with_a_hint(folder: Path) -> None:
    os.rename(folder / "model.safetensors", folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model.bin.*save_pretrained"):
        open_checkpoint(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match=r"no model.safetensors"):
        open_checkpoint(folder)


def test_remote_code_is_never_run(folder: Path) -> None:
    (folder / "modeling_evil.py").write_text("raise SystemExit('code of the folder ran')")
    rewrite(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling_evil.Evil"})
    open_checkpoint(folder).close()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"a":' * 100_000, b'{"a":1,"a":2}', b"{}x"])
def test_damaged_json(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises((FormatError, TokenizerError), match=name):
        open_checkpoint(folder)


def test_every_truncation_of_small_files(folder: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        content = (folder / name).read_bytes()
        for size in range(0, len(content), 7):
            (folder / name).write_bytes(content[:size])
            with pytest.raises((FormatError, TokenizerError)):
                open_checkpoint(folder)
        (folder / name).write_bytes(content)


def test_oversized_files(folder: Path) -> None:
    os.truncate(folder / "config.json", 2 << 20)
    with pytest.raises(FormatError, match="at most"):
        open_checkpoint(folder)


def test_oversized_tokenizer(folder: Path) -> None:
    os.truncate(folder / "tokenizer.json", 65 << 20)  # sparse
    with pytest.raises(TokenizerError, match="at most"):
        open_checkpoint(folder)


def test_missing_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(TokenizerError, match=r"tokenizer.json.*missing"):
        open_checkpoint(folder)


def test_control_tokens_by_name_or_number(folder: Path) -> None:
    assert (tokenizer_of(folder).eos_token, tokenizer_of(folder).bos_token) == (2, 1)
    rewrite(folder / "config.json", eos_token_id=[0, 2], bos_token_id=None)
    assert (tokenizer_of(folder).eos_token, tokenizer_of(folder).bos_token) == (0, None)
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps({"eos_token": "<|im_end|>", "bos_token": {"content": "<|im_start|>"}}))
    assert (tokenizer_of(folder).eos_token, tokenizer_of(folder).bos_token) == (2, 1)
    assert not tokenizer_of(folder).add_bos
    rewrite(settings, add_bos_token=True)
    assert tokenizer_of(folder).add_bos


@pytest.mark.parametrize(
    "settings",
    [
        {"eos_token": None},
        {"eos_token": "nope"},
        {"eos_token": 3},
        {"eos_token": "<|im_end|>", "add_bos_token": 1},
    ],
)
def test_odd_tokenizer_settings(folder: Path, settings: dict[str, Any]) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(TokenizerError):
        open_checkpoint(folder)


@pytest.mark.parametrize("eos", [None, "2", True, 288, -1, []])
def test_odd_end_token_in_config(folder: Path, eos: Any) -> None:
    rewrite(folder / "config.json", eos_token_id=eos)
    with pytest.raises(TokenizerError):
        open_checkpoint(folder)


def test_fingerprint_follows_weights_and_config(folder: Path) -> None:
    prints = [open_checkpoint(folder).fingerprint]
    assert open_checkpoint(folder).fingerprint == prints[0]
    rewrite(folder / "config.json", rope_theta=5000.0)
    prints.append(open_checkpoint(folder).fingerprint)
    write_hf_folder(folder, tiny_config("llama"), TENSORS | {"embed": TENSORS["embed"] * 2})
    prints.append(open_checkpoint(folder).fingerprint)
    assert len(set(prints)) == 3
