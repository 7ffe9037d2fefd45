"""A wholly trained model as a Hugging Face folder: config.json, tokenizer files, weights in float16.

Knows the families and no training. The folder loads here and in transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from adtrie.config import ModelSpec
from adtrie.errors import InputError, ModelError
from adtrie.format.tensors import dense_values
from adtrie.models import Checkpoint, Tokenizer
from adtrie.models.tensor_plan import HUGGING_FACE, tensor_plan
from adtrie.train.save import replace_file

_CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}


def check_writable(spec: ModelSpec) -> None:
    """Raises InputError for a family whose files order rows in a way that is not written here."""
    if spec.family not in _CLASSES:
        raise InputError(
            f"--full: a {spec.family} model cannot be written, expected {', '.join(_CLASSES)}; "
            "tune an adapter instead"
        )


def write_model(folder: Path, base: Checkpoint, trained: Mapping[str, NDArray[np.float32]]) -> None:
    """Writes `base` with the linears `trained` (by canonical name + .W) in place of its own."""
    check_writable(base.spec)
    tensors = {}
    for name, planned in tensor_plan(base.spec, HUGGING_FACE, interleaved=False).items():
        values = trained.get(f"{name}.W")
        if values is None:
            tensor = base.vector(name) if len(planned.shape) == 1 else base.matrix(name)
            values = dense_values(tensor)
        if not bool((np.abs(values) <= np.finfo(np.float16).max).all()):
            raise ModelError(f"{folder}: {name} holds values beyond float16; start again with a lower --lr")
        tensors[planned.source] = np.ascontiguousarray(values, dtype=np.float16)
    replace_file(folder / "model.safetensors", save(tensors, metadata={"format": "pt"}))
    replace_file(folder / "tokenizer.json", base.tokenizer.definition().encode())
    replace_file(folder / "tokenizer_config.json", _json(_tokenizer_config(base.tokenizer)))
    replace_file(folder / "config.json", _json(model_config(base.spec, base.tokenizer)))


def model_config(spec: ModelSpec, tokenizer: Tokenizer) -> dict[str, Any]:
    """Content of config.json for a spec."""
    scaling = None
    if spec.rope_scaling is not None:
        scaling = asdict(spec.rope_scaling)
        scaling["original_max_position_embeddings"] = scaling.pop("original_max_positions")
        scaling["rope_type"] = "llama3"
    return {
        "architectures": [_CLASSES[spec.family]],
        "model_type": spec.family,
        "num_hidden_layers": spec.num_layers,
        "hidden_size": spec.hidden_size,
        "intermediate_size": spec.intermediate_size,
        "num_attention_heads": spec.num_heads,
        "num_key_value_heads": spec.num_kv_heads,
        "head_dim": spec.head_size,
        "vocab_size": spec.vocab_size,
        "max_position_embeddings": spec.max_positions,
        "rope_theta": spec.rope_base,
        "rope_scaling": scaling,
        "rms_norm_eps": spec.rms_epsilon,
        "tie_word_embeddings": spec.tied_head,
        "attention_bias": spec.output_bias,
        "hidden_act": "silu",
        "bos_token_id": tokenizer.bos_token,
        "eos_token_id": tokenizer.eos_token,
        "torch_dtype": "float16",
    }


def _tokenizer_config(tokenizer: Tokenizer) -> dict[str, Any]:
    bos = tokenizer.bos_token
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": tokenizer.decode([tokenizer.eos_token]),
        "bos_token": None if bos is None else tokenizer.decode([bos]),
        "add_bos_token": tokenizer.add_bos,
    }


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
