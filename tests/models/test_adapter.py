"""LoRA adapters: merged weights are W + scale B A; everything that does not fit is refused with one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_writers import f32, safetensors_bytes
from numpy.typing import NDArray

import adtrie
from adtrie.config import QuantizedMatrix
from adtrie.errors import AdtrieError, FormatError, ModelError
from adtrie.models import adapted_checkpoint, adapter, open_checkpoint
from adtrie.models.tensor_plan import rotate_half_order

GOLDEN = Path(__file__).parents[1] / "golden"
CONFIG = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 6, "bias": "none"}
MODULES = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "o": "self_attn.o_proj", "down": "mlp.down_proj"}

Tensors = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A copy of a golden folder without links (a checkpoint may not point outside its folder)."""
    root = tmp_path_factory.mktemp("models")

    def folder(name: str) -> Path:
        target = root / name
        return target if target.exists() else Path(shutil.copytree(GOLDEN / name, target))

    return folder


def tensors_for(model: Path, rank: int = 4, parts: tuple[str, ...] = tuple(MODULES)) -> Tensors:
    random = np.random.default_rng(1)
    tensors = {}
    with open_checkpoint(model) as checkpoint:
        for layer in range(checkpoint.spec.num_layers):
            for part in parts:
                num_rows, num_cols = checkpoint.matrix(f"layers.{layer}.{part}").shape
                module = f"base_model.model.model.layers.{layer}.{MODULES[part]}"
                tensors[f"{module}.lora_A.weight"] = random.normal(size=(rank, num_cols)).astype(np.float32)
                tensors[f"{module}.lora_B.weight"] = random.normal(size=(num_rows, rank)).astype(np.float32)
    return tensors


def write(folder: Path, tensors: Tensors, config: Mapping[str, Any] = CONFIG, card: Any = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    data = safetensors_bytes({name: f32(values) for name, values in tensors.items()})
    (folder / "adapter_model.safetensors").write_bytes(data)
    if card is not None:
        (folder / "adtrie.json").write_text(card if isinstance(card, str) else json.dumps(card))
    return folder


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3", "ernie4_5"])
@pytest.mark.parametrize("rslora", [False, True])
def test_merged_weights(models: Callable[[str], Path], tmp_path: Path, family: str, rslora: bool) -> None:
    tensors = tensors_for(models(family))
    folder = write(tmp_path / "adapter", tensors, {**CONFIG, "use_rslora": rslora})
    scale = 6 / 2 if rslora else 6 / 4
    with open_checkpoint(models(family)) as base:
        spec = base.spec
        with adapted_checkpoint(base, folder) as adapted:
            assert adapted.names() == base.names()
            assert len(adapted.adapted()) == len(MODULES) * spec.num_layers
            for part, module in MODULES.items():
                name = f"layers.1.{part}"
                prefix = f"base_model.model.model.layers.1.{module}.lora_"
                delta = scale * (tensors[f"{prefix}B.weight"] @ tensors[f"{prefix}A.weight"])
                if family == "ernie4_5" and part in "qk":
                    heads = spec.num_heads if part == "q" else spec.num_kv_heads
                    delta = delta[rotate_half_order(len(delta), heads)]
                weight = base.matrix(name)
                assert not isinstance(weight, QuantizedMatrix)
                np.testing.assert_allclose(adapted.matrix(name), weight + delta, rtol=1e-5, atol=1e-5)
            np.testing.assert_array_equal(adapted.matrix("layers.1.v"), base.matrix("layers.1.v"))
            np.testing.assert_array_equal(adapted.vector("final_norm"), base.vector("final_norm"))
            assert adapted.fingerprint != base.fingerprint


def test_fingerprint_follows_the_adapter(models: Callable[[str], Path], tmp_path: Path) -> None:
    tensors = tensors_for(models("llama"))
    folders = [write(tmp_path / "a", tensors), write(tmp_path / "b", tensors, {**CONFIG, "lora_alpha": 8})]
    changed = {name: values + np.float32(1) for name, values in tensors.items()}
    folders += [write(tmp_path / "c", changed), write(tmp_path / "d", tensors)]
    prints = []
    for folder in folders:
        with adapted_checkpoint(open_checkpoint(models("llama")), folder) as adapted:
            prints.append(adapted.fingerprint)
    assert len(set(prints)) == 3
    assert prints[0] == prints[3]


def test_model_with_adapter_uses_its_template(models: Callable[[str], Path], tmp_path: Path) -> None:
    folder = write(tmp_path / "a", tensors_for(models("llama")), card={"template": "Q: {query} =>"})
    plain = adtrie.load_model(models("llama"), weights="float32", activations="float32")
    tuned = adtrie.load_model(models("llama"), adapter=folder, weights="float32", activations="float32")
    assert tuned.template.text == "Q: {query} =>"
    assert tuned.engine.fingerprint != plain.engine.fingerprint
    tokens = plain.encode("red shoe")
    assert np.abs(tuned.engine.logits(tokens) - plain.engine.logits(tokens)).max() > 1e-3
    catalogue = adtrie.Catalogue.build(["red shoe", "blue shoe"], tuned)
    assert len(tuned.target("shoe", catalogue, k=2)) == 2
    plain.close()
    tuned.close()


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"peft_type": "IA3"}, ModelError, "peft_type"),
        ({"use_dora": True}, ModelError, "use_dora"),
        ({"bias": "all"}, ModelError, "bias"),
        ({"lora_bias": True}, ModelError, "lora_bias"),
        ({"init_lora_weights": "pissa"}, ModelError, "init_lora_weights"),
        ({"rank_pattern": {"q_proj": 2}}, ModelError, "rank_pattern"),
        ({"modules_to_save": ["lm_head"]}, ModelError, "modules_to_save"),
        ({"fan_in_fan_out": True}, ModelError, "fan_in_fan_out"),
        ({"some_new_feature": 3}, ModelError, "some_new_feature"),
        ({"r": 0}, FormatError, "r is 0"),
        ({"r": 1 << 40}, FormatError, "expected an integer"),
        ({"r": "4"}, FormatError, "expected an integer"),
        ({"r": 8}, ModelError, "another model"),
        ({"lora_alpha": None}, FormatError, "lora_alpha"),
        ({"use_rslora": 1}, FormatError, "use_rslora"),
        ({"target_modules": ["v_proj"]}, FormatError, "target_modules"),
    ],
)
def test_refused_configurations(
    models: Callable[[str], Path], tmp_path: Path, change: dict[str, Any], kind: type, words: str
) -> None:
    folder = write(tmp_path / "a", tensors_for(models("llama")), {**CONFIG, **change})
    with open_checkpoint(models("llama")) as base, pytest.raises(kind, match=words):
        adapted_checkpoint(base, folder)


def test_what_peft_writes_by_default_is_accepted(models: Callable[[str], Path], tmp_path: Path) -> None:
    absent = (
        *(
            "auto_mapping",
            "corda_config",
            "eva_config",
            "exclude_modules",
            "layer_replication",
            "layers_pattern",
        ),
        *("layers_to_transform", "megatron_config", "modules_to_save", "revision", "target_parameters"),
    )
    off = ("fan_in_fan_out", "lora_bias", "use_dora", "use_qalora", "use_rslora")
    config = {
        **CONFIG,
        **dict.fromkeys(absent),
        **dict.fromkeys(off, False),
        **{"alpha_pattern": {}, "rank_pattern": {}, "loftq_config": {}, "inference_mode": True},
        **{"init_lora_weights": True, "lora_dropout": 0.05, "megatron_core": "megatron.core"},
        **{"base_model_name_or_path": "x", "qalora_group_size": 16, "trainable_token_indices": None},
        "target_modules": [module.split(".")[1] for module in MODULES.values()],
    }
    folder = write(tmp_path / "a", tensors_for(models("llama")), config)
    with adapted_checkpoint(open_checkpoint(models("llama")), folder) as adapted:
        assert adapted.adapted()


def test_misfits(models: Callable[[str], Path], tmp_path: Path) -> None:
    good = tensors_for(models("llama"))
    first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    cases: list[tuple[Tensors, type, str]] = [
        ({**good, first: np.zeros((4, 7), np.float32)}, ModelError, "another model"),
        ({**good, first.replace("layers.0", "layers.99"): good[first]}, ModelError, "layers.99"),
        ({name: v for name, v in good.items() if name != first}, FormatError, "only lora_B"),
        ({**good, "base_model.model.lm_head.weight": good[first]}, ModelError, "no part of a plain LoRA"),
        ({**good, first.replace("q_proj.lora_A", "q_proj.lora_C"): good[first]}, ModelError, "plain LoRA"),
        ({}, FormatError, "no tensors"),
        ({**good, first: np.full((4, good[first].shape[1]), np.nan, np.float32)}, FormatError, "NaN"),
        ({**good, first: good[first] * np.float32(1e38)}, FormatError, "overflow"),
    ]
    for index, (tensors, kind, words) in enumerate(cases):
        folder = write(tmp_path / str(index), tensors)
        with (
            open_checkpoint(models("llama")) as base,
            pytest.raises(kind, match=words),
            adapted_checkpoint(base, folder) as adapted,
        ):
            adapted.matrix("layers.0.q")


@pytest.mark.parametrize(
    ("card", "kind", "words"),
    [
        ("[]", FormatError, "object"),
        ("{", FormatError, "JSON"),
        ({"template": 5}, FormatError, "template"),
        ({"template": "no place"}, AdtrieError, "exactly once"),
        ({"template": "x" * 30_000}, FormatError, "template"),
        ({"tokenizer_fingerprint": "0" * 64}, ModelError, "another model"),
    ],
)
def test_cards(models: Callable[[str], Path], tmp_path: Path, card: Any, kind: type, words: str) -> None:
    folder = write(tmp_path / "a", tensors_for(models("llama")), card=card)
    with pytest.raises(kind, match=words):
        adtrie.load_model(models("llama"), adapter=folder)


def test_names(models: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tmp_path / "adapters"
    shipped.mkdir()
    write(shipped / "pricerunner", tensors_for(models("llama")))
    monkeypatch.setattr(adapter, "_shipped_root", lambda: shipped)
    assert adapter.shipped_adapters() == ["pricerunner"]
    with adapted_checkpoint(open_checkpoint(models("llama")), "pricerunner") as adapted:
        assert adapted.adapted()
    with open_checkpoint(models("llama")) as base:
        for name, words in (
            ("pricerunnr", "did you mean 'pricerunner'"),
            ("zzz", "shipped"),
            ("\0", "no adapter"),
        ):
            with pytest.raises(ModelError, match=words):
                adapted_checkpoint(base, name)
        with pytest.raises(ModelError, match="no adapter"):
            adapted_checkpoint(base, "x" * 100_000)
        (tmp_path / "empty").mkdir()
        with pytest.raises(ModelError, match="adapter_config"):
            adapted_checkpoint(base, tmp_path / "empty")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files(models: Callable[[str], Path], tmp_path: Path, data: st.DataObject) -> None:
    folder = write(tmp_path / "a", tensors_for(models("llama")), card={"template": "{query} =>"})
    path = folder / data.draw(
        st.sampled_from(["adapter_config.json", "adapter_model.safetensors", "adtrie.json"])
    )
    raw = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, min(len(raw), 3000) - 1))
    if data.draw(st.booleans()):
        del raw[place:]
    else:
        raw[place] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    with open_checkpoint(models("llama")) as base:
        try:
            adapted = adapted_checkpoint(base, folder)
        except AdtrieError:
            return
        with adapted:
            for name in adapted.adapted()[:2]:
                try:
                    assert np.isfinite(adapted.matrix(name)).all()
                except AdtrieError:
                    return
