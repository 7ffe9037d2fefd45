"""Model folders in the engines' formats, in an environment of its own: `export.py WHAT SOURCE OUT [SHAPE]`.

random       SOURCE is a folder with a tokenizer; OUT gets a Qwen2 of SHAPE with random weights as a Hugging
             Face folder and, beside it, the same values as OUT.gguf in F16
onnx         INT4 in blocks of 32 with INT8 arithmetic, embedding and head shared, by ONNX Runtime's builder
ctranslate2  INT8
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

VOCAB, CONTEXT, ROPE_BASE, EPSILON = 151_936, 32_768, 1e6, 1e-6
# layers, hidden, intermediate, heads, key-value heads
SHAPES = {"0.5b": (24, 896, 4864, 14, 2), "1.5b": (28, 1536, 8960, 12, 2)}
GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def tensors(shape: str) -> Iterator[tuple[str, str, Any]]:
    """Hugging Face name, GGUF name and float16 values of a random Qwen2, always the same."""
    layers, hidden, inner, heads, kv_heads = SHAPES[shape]
    random, kv = np.random.default_rng(5), kv_heads * (hidden // heads)

    def normal(*size: int) -> Any:
        return (random.standard_normal(size, np.float32) * 0.02).astype(np.float16)

    yield "model.embed_tokens.weight", "token_embd.weight", normal(VOCAB, hidden)
    yield "model.norm.weight", "output_norm.weight", np.ones(hidden, np.float16)
    sizes = {"q": (hidden, hidden), "k": (kv, hidden), "v": (kv, hidden), "o": (hidden, hidden)}
    sizes |= {"gate": (inner, hidden), "up": (inner, hidden), "down": (hidden, inner)}
    for layer in range(layers):
        for module, gguf in GGUF_NAMES.items():
            name, short = f"model.layers.{layer}.{module}", module.split(".")[-1].removesuffix("_proj")
            if short.endswith("norm"):
                yield f"{name}.weight", f"blk.{layer}.{gguf}.weight", np.ones(hidden, np.float16)
                continue
            yield f"{name}.weight", f"blk.{layer}.{gguf}.weight", normal(*sizes[short])
            if short in ("q", "k", "v"):
                yield f"{name}.bias", f"blk.{layer}.{gguf}.bias", normal(sizes[short][0])


def random_model(tokenizer: Path, out: Path, shape: str) -> None:
    """Both files of a random model."""
    from safetensors.numpy import save_file

    layers, hidden, inner, heads, kv_heads = SHAPES[shape]
    out.mkdir(parents=True)
    save_file({hf: value for hf, _, value in tensors(shape)}, out / "model.safetensors", {"format": "pt"})
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": VOCAB,
        "max_position_embeddings": CONTEXT,
        "rope_theta": ROPE_BASE,
        "rms_norm_eps": EPSILON,
        "tie_word_embeddings": True,
        "hidden_act": "silu",
        "use_sliding_window": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float16",
    }
    (out / "config.json").write_text(json.dumps(config, indent=1))
    shutil.copy(tokenizer / "tokenizer_config.json", out)
    definition = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))
    pad_vocabulary(definition)
    (out / "tokenizer.json").write_text(json.dumps(definition, ensure_ascii=False), encoding="utf-8")
    write_gguf(tokenizer, Path(f"{out}.gguf"), shape)


def pad_vocabulary(definition: dict[str, Any]) -> None:
    """Adds tokens that no text has until there is one for each row of the embedding."""
    vocab = definition["model"]["vocab"]
    used = set(vocab.values()) | {token["id"] for token in definition["added_tokens"]}
    vocab |= {f"[PAD{number}]": number for number in range(VOCAB) if number not in used}


def write_gguf(tokenizer: Path, out: Path, shape: str) -> None:
    """The same values in F16 (norms and biases F32), with the tokenizer padded to the vocabulary."""
    import gguf

    layers, hidden, inner, heads, kv_heads = SHAPES[shape]
    writer = gguf.GGUFWriter(out, "qwen2")
    writer.add_context_length(CONTEXT)
    writer.add_block_count(layers)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    add_tokenizer(writer, json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8")))
    for _, name, value in tensors(shape):
        writer.add_tensor(name, value.astype(np.float32) if value.ndim == 1 else value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_tokenizer(writer: Any, definition: dict[str, Any]) -> None:
    """A byte-level BPE tokenizer from tokenizer.json."""
    import gguf

    names = dict(definition["model"]["vocab"])
    special = {token["content"]: token["id"] for token in definition["added_tokens"]}
    by_id = {number: name for name, number in (names | special).items()}
    control = set(special.values())
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([by_id.get(number, f"[PAD{number}]") for number in range(VOCAB)])
    kinds = gguf.TokenType
    writer.add_token_types(
        [
            kinds.CONTROL if number in control else kinds.NORMAL if number in by_id else kinds.UNUSED
            for number in range(VOCAB)
        ]
    )
    merges = definition["model"]["merges"]
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)


def onnx(source: Path, out: Path, threads: int = 2) -> None:
    """ONNX Runtime GenAI's own builder; the number of threads goes to its configuration."""
    extra = ["int4_accuracy_level=4", "int4_block_size=32", "shared_embeddings=true"]
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(source), "-o", str(out)]
    command += ["-p", "int4", "-e", "cpu", "-c", str(out) + ".cache", "--extra_options", *extra]
    subprocess.run(command, check=True, stdout=sys.stderr)
    shutil.rmtree(str(out) + ".cache", ignore_errors=True)
    path = out / "genai_config.json"
    config = json.loads(path.read_text())
    config["model"]["decoder"]["session_options"]["intra_op_num_threads"] = threads
    path.write_text(json.dumps(config, indent=1))


def ctranslate2(source: Path, out: Path) -> None:
    """CTranslate2's own converter."""
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(source), low_cpu_mem_usage=True).convert(str(out), quantization="int8")


def main() -> None:
    """Writes what is asked for."""
    what, source, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if what == "random":
        random_model(source, out, sys.argv[4])
    else:
        {"onnx": onnx, "ctranslate2": ctranslate2}[what](source, out)


if __name__ == "__main__":
    main()
