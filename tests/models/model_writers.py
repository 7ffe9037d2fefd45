"""Writers of small checkpoints for the tests: GGUF, safetensors, Hugging Face folders of every family.

Written from the format descriptions, sharing no code with the readers.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GOLDEN_TOKENIZER = Path(__file__).parents[1] / "golden" / "tokenizer.json"

GGML_IDS = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8,
    "Q4_K": 12, "Q5_K": 13, "Q6_K": 14, "BF16": 30,
}  # fmt: skip


@dataclass(frozen=True)
class Raw:
    """A tensor as the file stores it: type name, row-major shape, bytes."""

    kind: str
    shape: tuple[int, ...]
    data: bytes


def f32(values: NDArray[np.float32]) -> Raw:
    return Raw("F32", values.shape, values.astype("<f4").tobytes())


def pack_string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def pack_value(value: Any) -> bytes:
    """Type id and value; numpy scalars and arrays choose the width."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + pack_string(value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, np.ndarray):
        ids = {"i4": 5, "u4": 4, "f4": 6, "u1": 0, "i8": 11}
        kind = ids[value.dtype.str[1:]]
        return struct.pack("<IIQ", 9, kind, len(value)) + value.tobytes()
    return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(pack_string, value))


def gguf_bytes(metadata: Mapping[str, Any], tensors: Mapping[str, Raw], alignment: int = 32) -> bytes:
    """A whole GGUF v3 file."""
    header = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    header += [pack_string(key) + pack_value(value) for key, value in metadata.items()]
    body = b""
    for name, tensor in tensors.items():
        dims = tensor.shape[::-1]
        header.append(pack_string(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims))
        header.append(struct.pack("<IQ", GGML_IDS[tensor.kind], len(body)))
        body += tensor.data + bytes(-len(tensor.data) % alignment)
    head = b"".join(header)
    return head + bytes(-len(head) % alignment) + body


def safetensors_bytes(tensors: Mapping[str, Raw], header: Mapping[str, Any] | None = None) -> bytes:
    """A whole safetensors file; `header` replaces the right one."""
    entries: dict[str, Any] = {}
    body = b""
    for name, tensor in tensors.items():
        end = len(body) + len(tensor.data)
        entries[name] = {"dtype": tensor.kind, "shape": list(tensor.shape), "data_offsets": [len(body), end]}
        body += tensor.data
    text = json.dumps(entries if header is None else header).encode()
    return struct.pack("<Q", len(text)) + text + body


# One tiny shape for all families: 2 layers, 4 heads of 8 sharing 2 key/value heads.
TINY: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 288,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3", "ernie4_5")


def tiny_config(model_type: str, **changes: Any) -> dict[str, Any]:
    """config.json of a tiny model; a change to None removes the key."""
    config = {**TINY, "model_type": model_type, **changes}
    return {key: value for key, value in config.items() if value is not None}


def canonical_shapes(model_type: str, tied: bool = False) -> dict[str, tuple[int, ...]]:
    """Canonical name -> shape of the tiny model, written out by hand."""
    shapes: dict[str, tuple[int, ...]] = {"embed": (288, 32), "final_norm": (32,)}
    if not tied:
        shapes["head"] = (288, 32)
    for layer in range(2):
        part: dict[str, tuple[int, ...]] = {
            "attn_norm": (32,), "q": (32, 32), "k": (16, 32), "v": (16, 32), "o": (32, 32),
            "mlp_norm": (32,), "gate": (64, 32), "up": (64, 32), "down": (32, 64),
        }  # fmt: skip
        if model_type == "qwen2":
            part |= {"q.bias": (32,), "k.bias": (16,), "v.bias": (16,)}
        if model_type == "qwen3":
            part |= {"q_norm": (8,), "k_norm": (8,)}
        shapes |= {f"layers.{layer}.{name}": shape for name, shape in part.items()}
    return shapes


def random_tensors(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


_HF_PARTS = {
    "attn_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm",
    "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
    "q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm",
    "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
}  # fmt: skip
_GGUF_PARTS = {
    "attn_norm": "attn_norm", "mlp_norm": "ffn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v",
    "o": "attn_output", "q_norm": "attn_q_norm", "k_norm": "attn_k_norm",
    "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
}  # fmt: skip


def _source_name(canonical: str, fixed: Mapping[str, str], layer: str, parts: Mapping[str, str]) -> str:
    if canonical in fixed:
        return fixed[canonical]
    _, number, part, *rest = canonical.split(".")
    return layer.format(number) + parts[part] + (".bias" if rest else ".weight")


def hf_name(canonical: str) -> str:
    fixed = {
        "embed": "model.embed_tokens.weight",
        "head": "lm_head.weight",
        "final_norm": "model.norm.weight",
    }
    return _source_name(canonical, fixed, "model.layers.{}.", _HF_PARTS)


def gguf_name(canonical: str) -> str:
    fixed = {"embed": "token_embd.weight", "head": "output.weight", "final_norm": "output_norm.weight"}
    return _source_name(canonical, fixed, "blk.{}.", _GGUF_PARTS)


def interleaved(rows: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows (j) and (j + D/2) of each head become neighbours, one row at a time: what a converter does."""
    size = rows.shape[0] // heads
    out = np.empty_like(rows)
    for head in range(heads):
        for pair in range(size // 2):
            for half in range(2):
                out[head * size + 2 * pair + half] = rows[head * size + half * (size // 2) + pair]
    return out


def stored_order(tensors: Mapping[str, NDArray[np.float32]], mixed: bool) -> dict[str, NDArray[np.float32]]:
    """Canonical tensors with q and k rows as a file with neighbouring pairs stores them (if `mixed`)."""
    heads = {"q": 4, "k": 2}
    return {
        name: interleaved(values, heads[name.split(".")[2]])
        if mixed and name.split(".")[2:3] and name.split(".")[2] in heads
        else values
        for name, values in tensors.items()
    }


def write_hf_folder(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, NDArray[np.float32]]
) -> Path:
    """A Hugging Face folder with one F32 safetensors file; `tensors` by canonical name and order."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = stored_order(tensors, config["model_type"] == "ernie4_5")
    raw = {hf_name(name): f32(values) for name, values in stored.items()}
    (folder / "model.safetensors").write_bytes(safetensors_bytes(raw))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_bytes(GOLDEN_TOKENIZER.read_bytes())
    return folder


def tokenizer_metadata() -> dict[str, Any]:
    """The golden tokenizer as GGUF metadata."""
    definition = json.loads(GOLDEN_TOKENIZER.read_bytes())
    vocab = definition["model"]["vocab"]
    tokens: list[str] = sorted(vocab, key=vocab.__getitem__)
    control = {entry["content"] for entry in definition["added_tokens"]}
    merges: Sequence[Any] = definition["model"]["merges"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.array([3 if t in control else 1 for t in tokens], "<i4"),
        "tokenizer.ggml.merges": [merge if isinstance(merge, str) else " ".join(merge) for merge in merges],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }


def gguf_metadata(architecture: str, **changes: Any) -> dict[str, Any]:
    """Metadata of the tiny model; a change to None removes the key."""
    shape = {
        "block_count": 2, "context_length": 512, "embedding_length": 32, "feed_forward_length": 64,
        "attention.head_count": 4, "attention.head_count_kv": 2, "attention.key_length": 8,
        "attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 10000.0,
    }  # fmt: skip
    values: dict[str, Any] = {"general.architecture": architecture}
    values |= {
        f"{architecture}.{key}": value for key, value in {**shape, **changes}.items() if value is not None
    }
    return values | tokenizer_metadata()


def gguf_tensors(architecture: str, tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, Raw]:
    """F32 tensors under GGUF names; llama and ernie4_5 store neighbouring rope pairs."""
    stored = stored_order(tensors, architecture in ("llama", "ernie4_5"))
    return {gguf_name(name): f32(values) for name, values in stored.items()}
