"""GGUF metadata and tensor shapes -> ModelSpec. Knows no bytes of tensors besides the rope factors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.config import ModelSpec, RopeScaling
from adtrie.errors import FormatError, ModelError
from adtrie.models import families
from adtrie.models.families import checked_spec, unsupported_family
from adtrie.models.fields import Fields

_FAMILIES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "ernie4_5": "ernie4_5"}

# GGUF stores the factors Llama 3 scaling yields, not its parameters; these are the published ones.
_LLAMA3_SCALINGS = tuple(RopeScaling(factor, 1.0, 4.0, 8192) for factor in (8.0, 32.0))


def spec_from_gguf(
    metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], where: str
) -> ModelSpec:
    """The shape a GGUF file describes, rope scaling left out (see `rope_scaling_from_factors`).

    Raises ModelError for an unsupported architecture, FormatError naming `where` and the key otherwise.
    """
    architecture = metadata.get("general.architecture")
    family = _FAMILIES.get(architecture) if isinstance(architecture, str) else None
    if family is None:
        raise unsupported_family(architecture, where)
    fields = Fields(metadata, where, f"{architecture}.")
    _refuse_unsupported(fields)
    hidden_size = fields.integer("embedding_length", 1, families.MAX_HIDDEN)
    num_heads = fields.integer("attention.head_count", 1, families.MAX_HEADS)
    spec = ModelSpec(
        family=family,
        num_layers=fields.integer("block_count", 1, families.MAX_LAYERS),
        hidden_size=hidden_size,
        intermediate_size=fields.integer("feed_forward_length", 1, families.MAX_INTERMEDIATE),
        num_heads=num_heads,
        num_kv_heads=fields.integer("attention.head_count_kv", 1, num_heads, num_heads),
        head_size=_head_size(fields, hidden_size, num_heads),
        vocab_size=_vocab_size(shapes, where),
        max_positions=_max_positions(fields),
        rope_base=_decimal(fields.number("rope.freq_base", 1.0, 1e12, 10000.0)),
        rms_epsilon=_decimal(fields.number("attention.layer_norm_rms_epsilon", 1e-12, 0.1)),
        tied_head="output.weight" not in shapes,
        qkv_bias="blk.0.attn_q.bias" in shapes,
        output_bias="blk.0.attn_output.bias" in shapes,
        qk_norm=family == "qwen3",
    )
    return checked_spec(spec, where)


def rope_scaling_from_factors(
    factors: NDArray[np.float32], spec: ModelSpec, where: str
) -> RopeScaling | None:
    """The Llama 3 scaling whose per-frequency divisors are `factors` float32[D/2]; None when all are 1.

    Raises ModelError when no published parameter set yields these factors.
    """
    if np.allclose(factors, 1.0, rtol=1e-5):
        return None
    for scaling in _LLAMA3_SCALINGS:
        if np.allclose(factors, _llama3_factors(scaling, spec), rtol=1e-4):
            return scaling
    raise ModelError(
        f"{where}: tensor 'rope_freqs.weight' is not the Llama 3 scaling with factor 8 or 32; use the "
        "model's Hugging Face folder, whose config.json states the parameters"
    )


def _llama3_factors(scaling: RopeScaling, spec: ModelSpec) -> NDArray[np.float64]:
    """float64[D/2]: 1 for short waves, `factor` for long ones, blended between (arXiv 2407.21783)."""
    exponents = np.arange(0, spec.head_size, 2) / spec.head_size
    turns = scaling.original_max_positions * spec.rope_base**-exponents / (2 * math.pi)
    blend = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    blend = np.clip(blend, 0.0, 1.0)
    factors: NDArray[np.float64] = 1.0 / ((1.0 - blend) / scaling.factor + blend)
    return factors


def _decimal(value: float) -> float:
    """The shortest decimal that rounds to the same float32: 1e-5 and not 9.99999974e-06."""
    return float(str(np.float32(value)))


def _head_size(fields: Fields, hidden_size: int, num_heads: int) -> int:
    if fields.get("attention.key_length") is None and hidden_size % num_heads:
        raise FormatError(
            f"{fields.where}: embedding length {hidden_size} is no multiple of {num_heads} heads"
        )
    head_size = fields.integer("attention.key_length", 2, families.MAX_HEAD_SIZE, hidden_size // num_heads)
    if fields.integer("attention.value_length", 2, families.MAX_HEAD_SIZE, head_size) != head_size:
        raise ModelError(f"{fields.where}: keys and values of different length are not supported")
    if fields.integer("rope.dimension_count", 2, families.MAX_HEAD_SIZE, head_size) != head_size:
        raise ModelError(f"{fields.where}: partial rotary embeddings are not supported")
    return head_size


def _vocab_size(shapes: Mapping[str, tuple[int, ...]], where: str) -> int:
    shape = shapes.get("token_embd.weight", ())
    if len(shape) != 2 or not 2 <= shape[0] <= families.MAX_VOCAB:
        raise FormatError(
            f"{where}: tensor 'token_embd.weight' has shape {shape}, expected [vocabulary, hidden]"
        )
    return shape[0]


def _max_positions(fields: Fields) -> int:
    positions = fields.integer("context_length", 1, families.MAX_POSITIONS)
    if fields.get("attention.sliding_window"):
        positions = min(positions, fields.integer("attention.sliding_window", 1, families.MAX_POSITIONS))
    return positions


def _refuse_unsupported(fields: Fields) -> None:
    kind = fields.get("rope.scaling.type")
    if kind not in (None, "none"):
        raise ModelError(f"{fields.where}: rope scaling {kind!r:.40} is not supported in GGUF files")
    if fields.get("expert_count"):
        raise ModelError(f"{fields.where}: mixture-of-experts models are not supported")
