"""config.json -> ModelSpec for the supported families, and the checks every ModelSpec must pass.

Knows no tensors and allocates nothing: a config with 10^9 layers ends here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from adtrie.config import ModelSpec, RopeScaling
from adtrie.errors import FormatError, ModelError
from adtrie.models.fields import Fields

# config.json model_type -> ModelSpec.family. Mistral is Llama whose window caps the positions.
FAMILIES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "ernie4_5": "ernie4_5"}

MAX_LAYERS = 1024
MAX_HIDDEN = 1 << 16
MAX_INTERMEDIATE = 1 << 19
MAX_HEADS = 1024
MAX_HEAD_SIZE = 1024
MAX_VOCAB = 1 << 21
MAX_POSITIONS = 1 << 24


def spec_from_config(config: Mapping[str, Any], where: str) -> ModelSpec:
    """The shape a Hugging Face config.json describes.

    Raises ModelError for an unsupported family or feature, FormatError naming `where` and the key otherwise.
    `auto_map` is ignored: no code of the folder is ever run.
    """
    fields = Fields(config, where)
    model_type = fields.get("model_type")
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    if family is None:
        raise unsupported_family(model_type, where)
    _refuse_unsupported(fields)
    num_heads = fields.integer("num_attention_heads", 1, MAX_HEADS)
    bias = fields.flag("attention_bias", False) or fields.flag("use_bias", False)
    rope_base, rope_scaling = _rope(fields)
    spec = ModelSpec(
        family=family,
        num_layers=fields.integer("num_hidden_layers", 1, MAX_LAYERS),
        hidden_size=fields.integer("hidden_size", 1, MAX_HIDDEN),
        intermediate_size=fields.integer("intermediate_size", 1, MAX_INTERMEDIATE),
        num_heads=num_heads,
        num_kv_heads=_num_kv_heads(fields, family, num_heads),
        head_size=_head_size(fields, family, num_heads),
        vocab_size=fields.integer("vocab_size", 2, MAX_VOCAB),
        max_positions=_max_positions(fields, str(model_type)),
        rope_base=rope_base,
        rms_epsilon=fields.number("rms_norm_eps", 1e-12, 0.1),
        tied_head=fields.flag("tie_word_embeddings", family == "ernie4_5"),
        qkv_bias=family == "qwen2" or bias,
        output_bias=family != "qwen2" and bias,
        qk_norm=family == "qwen3",
        rope_scaling=rope_scaling,
    )
    return checked_spec(spec, where)


def unsupported_family(name: object, where: str) -> ModelError:
    """The error for a family that no reader knows."""
    return ModelError(
        f"{where}: model type {name!r:.60} is not supported; supported: Llama (also SmolLM2), Mistral, "
        "Qwen2, Qwen3, ERNIE-4.5 dense"
    )


def limited_spec(spec: ModelSpec, where: str) -> ModelSpec:
    """`spec` itself; FormatError for one that no supported model has, wherever it was read from."""
    within = {
        "num_layers": MAX_LAYERS,
        "hidden_size": MAX_HIDDEN,
        "intermediate_size": MAX_INTERMEDIATE,
        "num_heads": MAX_HEADS,
        "num_kv_heads": spec.num_heads,
        "head_size": MAX_HEAD_SIZE,
        "vocab_size": MAX_VOCAB,
        "max_positions": MAX_POSITIONS,
    }
    values = asdict(spec)
    fields = Fields(values, where)
    for key, most in within.items():
        fields.integer(key, 1, most)
    fields.number("rope_base", 1.0, 1e12)
    fields.number("rms_epsilon", 1e-12, 0.1)
    scaling = fields.section("rope_scaling")
    if scaling is not None:
        _scaling_numbers(scaling, "original_max_positions")
    if spec.family not in FAMILIES.values():
        raise unsupported_family(spec.family, where)
    return checked_spec(spec, where)


def checked_spec(spec: ModelSpec, where: str) -> ModelSpec:
    """`spec` itself; FormatError when its numbers contradict each other."""
    if spec.num_heads % spec.num_kv_heads:
        raise FormatError(
            f"{where}: {spec.num_heads} attention heads cannot share {spec.num_kv_heads} key/value heads"
        )
    if spec.head_size % 2:
        raise FormatError(f"{where}: head size {spec.head_size} is odd; rotary embeddings need an even one")
    return spec


def _num_kv_heads(fields: Fields, family: str, num_heads: int) -> int:
    # Only Llama's first configs leave the key out, meaning plain multi-head attention.
    default = (num_heads,) if family == "llama" and fields.get("model_type") == "llama" else ()
    return fields.integer("num_key_value_heads", 1, num_heads, *default)


def _head_size(fields: Fields, family: str, num_heads: int) -> int:
    if family == "qwen3" or fields.get("head_dim") is not None:
        return fields.integer("head_dim", 2, MAX_HEAD_SIZE)
    hidden_size = fields.integer("hidden_size", 1, MAX_HIDDEN)
    if hidden_size % num_heads:
        raise FormatError(f"{fields.where}: hidden_size {hidden_size} is not a multiple of {num_heads} heads")
    head_size = hidden_size // num_heads
    if head_size > MAX_HEAD_SIZE:
        raise FormatError(f"{fields.where}: head size {head_size} exceeds {MAX_HEAD_SIZE}")
    return head_size


def _max_positions(fields: Fields, model_type: str) -> int:
    """Positions the engine may use: within a sliding window, windowed and full attention are the same."""
    positions = fields.integer("max_position_embeddings", 1, MAX_POSITIONS)
    window_on = model_type == "mistral" or fields.flag("use_sliding_window", False)
    if window_on and fields.get("sliding_window") is not None:
        positions = min(positions, fields.integer("sliding_window", 1, MAX_POSITIONS))
    return positions


def _rope(fields: Fields) -> tuple[float, RopeScaling | None]:
    """Base and scaling: from `rope_theta` and `rope_scaling`, or `rope_parameters` as transformers 5 does."""
    nested = fields.section("rope_parameters")
    scaling = nested or fields.section("rope_scaling")
    base_fields = nested if nested is not None and nested.get("rope_theta") is not None else fields
    base = base_fields.number("rope_theta", 1.0, 1e12)
    return base, None if scaling is None else _rope_scaling(scaling)


def _rope_scaling(fields: Fields) -> RopeScaling | None:
    kind = fields.get("rope_type") or fields.get("type") or "default"
    if fields.number("partial_rotary_factor", 0.0, 1.0, 1.0) != 1.0:
        raise ModelError(f"{fields.where}: partial rotary embeddings are not supported")
    if kind == "default":
        return None
    if kind != "llama3":
        raise ModelError(
            f"{fields.where}: rope type {kind!r:.40} is not supported; supported: default, llama3"
        )
    return _scaling_numbers(fields, "original_max_position_embeddings")


def _scaling_numbers(fields: Fields, positions: str) -> RopeScaling:
    scaling = RopeScaling(
        factor=fields.number("factor", 1.0, 1e4),
        low_freq_factor=fields.number("low_freq_factor", 1e-3, 1e4),
        high_freq_factor=fields.number("high_freq_factor", 1e-3, 1e4),
        original_max_positions=fields.integer(positions, 1, MAX_POSITIONS),
    )
    if scaling.high_freq_factor <= scaling.low_freq_factor:
        raise FormatError(f"{fields.where}: high_freq_factor must exceed low_freq_factor")
    return scaling


def _refuse_unsupported(fields: Fields) -> None:
    """Raises ModelError for settings that would change the arithmetic in ways the engine does not know."""
    if fields.get("quantization_config") is not None or fields.get("compression_config") is not None:
        raise ModelError(
            f"{fields.where}: the checkpoint is already quantized (quantization_config); use the original "
            "float checkpoint or a GGUF file"
        )
    architectures = fields.get("architectures") or []
    if not isinstance(architectures, list) or any(not str(n).endswith("ForCausalLM") for n in architectures):
        raise ModelError(f"{fields.where}: architectures {architectures!r:.80} has no language-model head")
    activation = fields.get("hidden_act") or "silu"
    if activation not in ("silu", "swish"):
        raise ModelError(f"{fields.where}: hidden_act {activation!r:.40} is not supported; supported: silu")
    if fields.flag("mlp_bias", False) or (fields.flag("use_bias", False)):
        raise ModelError(f"{fields.where}: biases in the MLP are not supported")
    if fields.number("partial_rotary_factor", 0.0, 1.0, 1.0) != 1.0:
        raise ModelError(f"{fields.where}: partial rotary embeddings are not supported")
