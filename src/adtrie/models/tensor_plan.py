"""Canonical tensor names -> names, shapes and row order in a Hugging Face or GGUF file. Reads no file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adtrie.config import ModelSpec, QuantizedMatrix
from adtrie.errors import FormatError
from adtrie.format.panels import PackedLinear
from adtrie.format.tensors import Tensor


@dataclass(frozen=True)
class PlannedTensor:
    """Where a canonical tensor comes from; `heads` > 0: rows are interleaved per head and must be sorted."""

    source: str
    shape: tuple[int, ...]
    heads: int = 0


@dataclass(frozen=True)
class Naming:
    """Source names of one file format; `layer` holds the place of the layer number as {}."""

    fixed: Mapping[str, str]
    layer: str
    parts: Mapping[str, str]
    harmless: tuple[str, ...]  # suffixes of tensors that may be present without being used


HUGGING_FACE = Naming(
    fixed={"embed": "model.embed_tokens.weight", "head": "lm_head.weight", "final_norm": "model.norm.weight"},
    layer="model.layers.{}.",
    parts={
        "attn_norm": "input_layernorm",
        "mlp_norm": "post_attention_layernorm",
        "q": "self_attn.q_proj",
        "k": "self_attn.k_proj",
        "v": "self_attn.v_proj",
        "o": "self_attn.o_proj",
        "q_norm": "self_attn.q_norm",
        "k_norm": "self_attn.k_norm",
        "gate": "mlp.gate_proj",
        "up": "mlp.up_proj",
        "down": "mlp.down_proj",
    },
    harmless=("rotary_emb.inv_freq",),
)

GGUF = Naming(
    fixed={"embed": "token_embd.weight", "head": "output.weight", "final_norm": "output_norm.weight"},
    layer="blk.{}.",
    parts={
        "attn_norm": "attn_norm",
        "mlp_norm": "ffn_norm",
        "q": "attn_q",
        "k": "attn_k",
        "v": "attn_v",
        "o": "attn_output",
        "q_norm": "attn_q_norm",
        "k_norm": "attn_k_norm",
        "gate": "ffn_gate",
        "up": "ffn_up",
        "down": "ffn_down",
    },
    harmless=("rope_freqs.weight",),
)


def tensor_plan(spec: ModelSpec, naming: Naming, interleaved: bool) -> dict[str, PlannedTensor]:
    """Every canonical tensor of `spec`. `interleaved`: the file pairs neighbouring q/k rows for rope."""
    hidden = spec.hidden_size
    plan = {
        "embed": PlannedTensor(naming.fixed["embed"], (spec.vocab_size, hidden)),
        "final_norm": PlannedTensor(naming.fixed["final_norm"], (hidden,)),
    }
    if not spec.tied_head:
        plan["head"] = PlannedTensor(naming.fixed["head"], (spec.vocab_size, hidden))
    shapes = _layer_shapes(spec)
    biased = {**dict.fromkeys("qkv", spec.qkv_bias), "o": spec.output_bias}
    heads = {"q": spec.num_heads, "k": spec.num_kv_heads} if interleaved else {}
    for layer in range(spec.num_layers):
        for part, shape in shapes.items():
            source = naming.layer.format(layer) + naming.parts[part]
            name = f"layers.{layer}.{part}"
            plan[name] = PlannedTensor(f"{source}.weight", shape, heads.get(part, 0))
            if biased.get(part, False):
                plan[f"{name}.bias"] = PlannedTensor(f"{source}.bias", shape[:1], heads.get(part, 0))
    return plan


def _layer_shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    hidden, inner = spec.hidden_size, spec.intermediate_size
    queries, keys = spec.num_heads * spec.head_size, spec.num_kv_heads * spec.head_size
    shapes: dict[str, tuple[int, ...]] = {
        "attn_norm": (hidden,),
        "q": (queries, hidden),
        "k": (keys, hidden),
        "v": (keys, hidden),
        "o": (hidden, queries),
        "mlp_norm": (hidden,),
        "gate": (inner, hidden),
        "up": (inner, hidden),
        "down": (hidden, inner),
    }
    if spec.qk_norm:
        shapes |= {"q_norm": (spec.head_size,), "k_norm": (spec.head_size,)}
    return shapes


def check_plan(
    plan: Mapping[str, PlannedTensor], shapes: Mapping[str, tuple[int, ...]], naming: Naming, where: str
) -> None:
    """Raises FormatError naming tensors that are missing, of another shape, or extra."""
    missing = [tensor.source for tensor in plan.values() if tensor.source not in shapes]
    if missing:
        raise FormatError(f"{where}: missing tensors: {_listing(missing)}; the checkpoint is incomplete")
    for tensor in plan.values():
        if shapes[tensor.source] != tensor.shape:
            raise FormatError(
                f"{where}: tensor {tensor.source!r} has shape {list(shapes[tensor.source])}, the model's "
                f"configuration needs {list(tensor.shape)}; weights and configuration do not belong together"
            )
    used = {tensor.source for tensor in plan.values()}
    # A tied model may carry its head once more; transformers ignores it too.
    harmless = (*naming.harmless, naming.fixed["head"])
    extra = [name for name in shapes if name not in used and not name.endswith(harmless)]
    if extra:
        raise FormatError(f"{where}: unknown tensors: {_listing(extra)}; this is another architecture")


def _listing(names: Iterable[str]) -> str:
    names = sorted(names)
    shown = ", ".join(repr(name) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def rotate_half_order(num_rows: int, heads: int) -> NDArray[np.int64]:
    """int64[N] rows to take so that pairs (2j, 2j+1) of each head move to (j, j + D/2)."""
    return np.arange(num_rows).reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)


def reordered(tensor: Tensor, heads: int) -> Tensor:
    """`tensor` with its rows in rotate-half order; codes, scales and minima move together."""
    if not heads or isinstance(tensor, PackedLinear):  # packed ones are in that order already
        return tensor
    order = rotate_half_order(tensor.shape[0], heads)
    if not isinstance(tensor, QuantizedMatrix):
        return tensor[order]
    mins = None if tensor.mins is None else tensor.mins[order]
    return QuantizedMatrix(tensor.codes[order], tensor.scales[order], mins, tensor.bits, tensor.group)
