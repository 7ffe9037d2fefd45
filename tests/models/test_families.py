"""config.json and GGUF metadata to ModelSpec: every family, every field out of range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_writers import MODEL_TYPES, gguf_metadata, tiny_config

from adtrie.config import ModelSpec, RopeScaling
from adtrie.errors import AdtrieError, FormatError, ModelError
from adtrie.models.families import spec_from_config
from adtrie.models.gguf_families import rope_scaling_from_factors, spec_from_gguf
from adtrie.models.tensor_plan import reordered, rotate_half_order

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
SCALING = RopeScaling(32.0, 1.0, 4.0, 8192)
SHAPES = {"token_embd.weight": (288, 32), "output.weight": (288, 32)}


def spec(model_type: str = "llama", **changes: Any) -> ModelSpec:
    return spec_from_config(tiny_config(model_type, **changes), "config.json")


def test_families_differ_where_they_should() -> None:
    specs = {name: spec(name) for name in MODEL_TYPES}
    assert [specs[name].family for name in MODEL_TYPES] == ["llama", "llama", "qwen2", "qwen3", "ernie4_5"]
    assert [specs[name].qkv_bias for name in MODEL_TYPES] == [False, False, True, False, False]
    assert [specs[name].qk_norm for name in MODEL_TYPES] == [False, False, False, True, False]
    assert not any(entry.output_bias or entry.tied_head or entry.rope_scaling for entry in specs.values())
    assert specs["llama"].head_size == 8 and specs["llama"].max_positions == 512


def test_llama_attention_bias_covers_all_four() -> None:
    assert spec(attention_bias=True).qkv_bias and spec(attention_bias=True).output_bias


def test_head_size_from_hidden_size() -> None:
    assert spec(head_dim=None).head_size == 8
    assert spec(head_dim=16).head_size == 16
    with pytest.raises(FormatError, match="head_dim is missing"):
        spec("qwen3", head_dim=None)


def test_sliding_window_caps_positions() -> None:
    assert spec("mistral", sliding_window=100).max_positions == 100
    assert spec("mistral", sliding_window=9999).max_positions == 512
    assert spec("qwen2", sliding_window=100, use_sliding_window=False).max_positions == 512
    assert spec("qwen2", sliding_window=100, use_sliding_window=True).max_positions == 100


def test_rope_in_both_layouts() -> None:
    old = spec(rope_theta=500000.0, rope_scaling=LLAMA3)
    new = spec(rope_theta=None, rope_parameters={**LLAMA3, "rope_theta": 500000.0})
    assert old == new
    assert old.rope_base == 500000.0 and old.rope_scaling == SCALING
    assert spec(rope_theta=None, rope_parameters={"rope_type": "default", "rope_theta": 3.0}).rope_base == 3.0


def test_auto_map_is_ignored() -> None:
    assert spec(auto_map={"AutoModelForCausalLM": "evil.Model"}) == spec()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model_type": "gpt2"}, "supported: Llama"),
        ({"model_type": ["llama"]}, "supported: Llama"),
        ({"quantization_config": {"quant_method": "gptq"}}, "already quantized"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "language-model head"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"mlp_bias": True}, "MLP"),
        ({"partial_rotary_factor": 0.5}, "partial"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "yarn"),
        ({"rope_scaling": {"type": "linear", "factor": 4.0}}, "linear"),
        ({"rope_theta": None, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4}}, "dynamic"),
    ],
)
def test_unsupported_is_a_model_error(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ModelError, match=match):
        spec_from_config({**tiny_config("llama"), **changes}, "config.json")


REQUIRED = [
    "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size",
    "max_position_embeddings", "rms_norm_eps", "rope_theta",
]  # fmt: skip
BAD_VALUES: list[Any] = [-1, 0, 10**9, 10**30, "32", True, 1.5, [1], {}, float("nan"), float("inf")]


@pytest.mark.parametrize("key", REQUIRED)
def test_missing_key(key: str) -> None:
    with pytest.raises(FormatError, match=f"{key} is missing"):
        spec(**{key: None})


@pytest.mark.parametrize("key", [*REQUIRED, "num_key_value_heads", "head_dim"])
@pytest.mark.parametrize("value", BAD_VALUES)
def test_value_out_of_range(key: str, value: Any) -> None:
    fine = {"rms_norm_eps": (), "rope_theta": (10**9, 1.5)}.get(key, ())
    if value in fine:
        return
    with pytest.raises(FormatError, match=key):
        spec_from_config({**tiny_config("llama"), key: value}, "config.json")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"num_key_value_heads": 3}, "evenly|share"),
        ({"head_dim": 7}, "odd"),
        ({"hidden_size": 33, "head_dim": None}, "multiple"),
        ({"rope_scaling": "llama3"}, "rope_scaling"),
        ({"rope_scaling": {**LLAMA3, "factor": -1}}, "factor"),
        ({"rope_scaling": {**LLAMA3, "high_freq_factor": 1.0}}, "high_freq_factor"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"use_sliding_window": 1}, "use_sliding_window"),
    ],
)
def test_contradictions(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(FormatError, match=match):
        spec(**changes)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = [
    *tiny_config("llama"),
    "rope_scaling",
    "rope_parameters",
    "sliding_window",
    "architectures",
    "hidden_act",
]


@given(
    model_type=st.sampled_from(MODEL_TYPES), changes=st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4)
)
def test_any_json_gives_a_spec_or_our_error(model_type: str, changes: dict[str, Any]) -> None:
    try:
        result = spec_from_config({**tiny_config(model_type), **changes}, "config.json")
    except AdtrieError as error:
        assert "config.json" in str(error)
    else:
        assert result.num_heads % result.num_kv_heads == 0


def gguf_spec(architecture: str = "llama", **changes: Any) -> ModelSpec:
    return spec_from_gguf(gguf_metadata(architecture, **changes), SHAPES, "model.gguf")


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "ernie4_5"])
def test_gguf_and_config_agree(architecture: str) -> None:
    shapes = SHAPES | ({"blk.0.attn_q.bias": (32,)} if architecture == "qwen2" else {})
    built = spec_from_gguf(gguf_metadata(architecture), shapes, "model.gguf")
    assert built == spec(architecture)


def test_gguf_tied_and_window() -> None:
    assert spec_from_gguf(gguf_metadata("llama"), {"token_embd.weight": (288, 32)}, "").tied_head
    assert gguf_spec(**{"attention.sliding_window": 64}).max_positions == 64


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"block_count": 10**9}, "llama.block_count"),
        ({"block_count": None}, "llama.block_count is missing"),
        ({"block_count": True}, "llama.block_count"),
        ({"embedding_length": "32"}, "llama.embedding_length"),
        ({"attention.head_count": 0}, "llama.attention.head_count"),
        ({"attention.head_count_kv": np.array([2, 2], "<i4")}, "head_count_kv"),
        ({"attention.head_count": 5, "attention.head_count_kv": 5, "attention.key_length": None}, "multiple"),
        ({"attention.layer_norm_rms_epsilon": 0.0}, "epsilon"),
        ({"rope.freq_base": float("nan")}, "rope.freq_base"),
    ],
)
def test_gguf_fields_out_of_range(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(FormatError, match=match):
        gguf_spec(**changes)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"rope.scaling.type": "yarn"}, "yarn"),
        ({"expert_count": 8}, "experts"),
        ({"rope.dimension_count": 4}, "partial"),
        ({"attention.value_length": 16}, "different length"),
    ],
)
def test_gguf_unsupported(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ModelError, match=match):
        gguf_spec(**changes)


def test_gguf_unknown_architecture() -> None:
    for name in ("mamba", 5, ["llama"]):
        with pytest.raises(ModelError, match="supported: Llama"):
            spec_from_gguf({"general.architecture": name}, SHAPES, "model.gguf")
    with pytest.raises(FormatError, match="token_embd"):
        spec_from_gguf(gguf_metadata("llama"), {}, "model.gguf")


def llama3_factors(scaling: RopeScaling, head_size: int, base: float) -> np.ndarray:
    """The published rule, one frequency at a time."""
    factors = []
    for pair in range(head_size // 2):
        wavelength = 2 * np.pi * base ** (2 * pair / head_size)
        low = scaling.original_max_positions / scaling.low_freq_factor
        high = scaling.original_max_positions / scaling.high_freq_factor
        if wavelength < high:
            factors.append(1.0)
        elif wavelength > low:
            factors.append(scaling.factor)
        else:
            smooth = scaling.original_max_positions / wavelength - scaling.low_freq_factor
            smooth /= scaling.high_freq_factor - scaling.low_freq_factor
            factors.append(1 / ((1 - smooth) / scaling.factor + smooth))
    return np.array(factors, np.float32)


@pytest.mark.parametrize("scaling", [RopeScaling(8.0, 1.0, 4.0, 8192), SCALING])
@pytest.mark.parametrize("head_size", [64, 128])
def test_llama3_scaling_is_recovered_from_its_factors(scaling: RopeScaling, head_size: int) -> None:
    shape = spec(head_dim=head_size, rope_theta=500000.0)
    factors = llama3_factors(scaling, head_size, 500000.0)
    assert rope_scaling_from_factors(factors, shape, "model.gguf") == scaling
    assert rope_scaling_from_factors(np.ones_like(factors), shape, "model.gguf") is None
    with pytest.raises(ModelError, match="rope_freqs"):
        rope_scaling_from_factors(factors * 2, shape, "model.gguf")


def rotated(vector: np.ndarray, position: float, interleaved: bool) -> np.ndarray:
    """One head turned by rope, pair by pair."""
    half = len(vector) // 2
    out = np.empty_like(vector)
    for pair in range(half):
        first, second = (2 * pair, 2 * pair + 1) if interleaved else (pair, pair + half)
        angle = position * 10000.0 ** (-pair / half)
        out[first] = vector[first] * np.cos(angle) - vector[second] * np.sin(angle)
        out[second] = vector[first] * np.sin(angle) + vector[second] * np.cos(angle)
    return out


@given(seed=st.integers(0, 10**6), positions=st.tuples(st.integers(0, 50), st.integers(0, 50)))
def test_reordered_rows_give_the_same_attention_scores(seed: int, positions: tuple[int, int]) -> None:
    """Interleaved rope on the stored rows = rotate-half rope on the rows we hand out."""
    rng = np.random.default_rng(seed)
    query, key = rng.standard_normal((2, 16))
    order = rotate_half_order(16, 2)
    for head in range(2):
        part = slice(8 * head, 8 * head + 8)
        stored = rotated(query[part], positions[0], True) @ rotated(key[part], positions[1], True)
        query_half, key_half = query[order][part], key[order][part]
        ours = rotated(query_half, positions[0], False) @ rotated(key_half, positions[1], False)
        np.testing.assert_allclose(ours, stored, rtol=1e-9, atol=1e-9)


def test_order_is_a_permutation_within_each_head() -> None:
    order = rotate_half_order(24, 3)
    assert sorted(order) == list(range(24))
    assert (order // 8 == np.arange(24) // 8).all()
    matrix = np.arange(48, dtype=np.float32).reshape(24, 2)
    assert reordered(matrix, 0) is matrix
