"""Writes this folder's golden models: tiny random checkpoints and the logits transformers gives for them.

Run by hand with the [oracle] extra: `python tests/golden/make_golden.py`. Knows nothing of adtrie.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = Path(__file__).parent
VOCAB_SIZE = 288
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TRAINING_TEXT = [
    "apple iphone 8 plus 64gb silver",
    "samsung galaxy s8 single sim 64gb black",
    "bosch serie 4 washing machine 8kg 1400 rpm white",
    "canon eos 80d 18 135mm lens kit",
    "intel core i7 8700k 3.7ghz box",
    "hotpoint freestanding fridge freezer stainless steel",
    "product name: keyword catalogue entry: ",
]
SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
# name -> (transformers class, changes to SHAPE, stored dtype)
FAMILIES: dict[str, tuple[str, dict[str, Any], torch.dtype]] = {
    "llama": ("Llama", {"tie_word_embeddings": False, "rms_norm_eps": 1e-5}, torch.bfloat16),
    "qwen2": (
        "Qwen2",
        {"tie_word_embeddings": True, "intermediate_size": 32, "rms_norm_eps": 1e-6},
        torch.float16,
    ),
    "qwen3": (
        "Qwen3",
        {
            "tie_word_embeddings": True,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 32,
            "head_dim": 16,
        },
        torch.bfloat16,
    ),
    "ernie4_5": (
        "Ernie4_5",
        {"tie_word_embeddings": True, "intermediate_size": 32, "head_dim": 16, "use_bias": False},
        torch.bfloat16,
    ),
}
# Same weights file as `llama`, other config.json, in the layout of configs published before transformers 5.
LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,  # the 8 frequencies then fall in all three of the rule's ranges
}
CONFIG_VARIANTS: dict[str, dict[str, Any]] = {
    "llama3": {"rope_theta": 10000.0, "rope_scaling": LLAMA3_SCALING, "torch_dtype": "bfloat16"},
    "mistral": {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "rope_theta": 1000000.0,
        "sliding_window": None,
        "torch_dtype": "bfloat16",
    },
}
TREE_PARENTS = [-1, 0, 1, 2, 2, 2, 1, 6, 7, 0, 9, 5]  # parent row of each node, -1 = root


def write_tokenizer(path: Path) -> None:
    """A byte-level BPE tokenizer.json with VOCAB_SIZE tokens: 3 control tokens, 256 bytes, 29 merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TRAINING_TEXT, trainer)
    assert tokenizer.get_vocab_size() == VOCAB_SIZE
    tokenizer.save(str(path), pretty=False)


def randomize(model: torch.nn.Module, seed: int) -> None:
    """Fills all parameters so that activations and logits have a standard deviation of about 1 to 3."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            parameter.data = 1 + 0.2 * noise
        elif name.endswith("bias"):
            parameter.data = 0.5 * noise
        else:
            # embedding and head give logits of std 2 after the final norm; linears keep the input's scale
            gain = 2.0 if "embed" in name or "lm_head" in name else 1.2
            parameter.data = gain * noise / math.sqrt(parameter.shape[-1])


def path_to(row: int) -> list[int]:
    """Rows from the tree's root down to `row`."""
    path = [row]
    while TREE_PARENTS[path[0]] >= 0:
        path.insert(0, TREE_PARENTS[path[0]])
    return path


def reference_logits(folder: Path, seed: int) -> dict[str, np.ndarray]:
    """Token sequences and transformers' float32 logits for them; the keys are described in README.md."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {
        "columns": np.sort(rng.choice(VOCAB_SIZE, 16, replace=False)).astype(np.int32)
    }

    def logits_of(tokens: list[int]) -> torch.Tensor:
        with torch.inference_mode():
            return model(torch.tensor([tokens], dtype=torch.long)).logits[0]

    def store(key: str, tokens: np.ndarray, logits: torch.Tensor) -> None:
        arrays[f"{key}_tokens"] = tokens.astype(np.int32)
        arrays[f"{key}_logits"] = logits.numpy()[:, arrays["columns"]]
        arrays[f"{key}_argmax"] = logits.argmax(dim=-1).numpy().astype(np.int32)
        arrays[f"{key}_logsumexp"] = logits.logsumexp(dim=-1).numpy()
        print(f"  {key}: {len(tokens)} rows, std of logits {logits.std():.2f}")

    for index, length in enumerate((1, 6, 36)):
        tokens = rng.integers(3, VOCAB_SIZE, length)
        store(f"chain{index}", tokens, logits_of(tokens.tolist()))
    tokens = rng.integers(3, VOCAB_SIZE, len(TREE_PARENTS))
    tokens[4] = tokens[3]  # two equal siblings: they must get equal logits
    arrays["tree_parents"] = np.array(TREE_PARENTS, dtype=np.int32)
    rows = [logits_of(tokens[path_to(row)].tolist())[-1] for row in range(len(tokens))]
    store("tree", tokens, torch.stack(rows))
    return arrays


def link(folder: Path, name: str, target: str) -> None:
    """Makes folder/name a relative symbolic link to `target`."""
    (folder / name).unlink(missing_ok=True)
    os.symlink(target, folder / name)


def write_family(name: str, seed: int) -> None:
    """Writes the folder of one own-weights family as `save_pretrained` does."""
    prefix, changes, dtype = FAMILIES[name]
    config = getattr(transformers, f"{prefix}Config")(**(SHAPE | changes))
    model = getattr(transformers, f"{prefix}ForCausalLM")(config)
    randomize(model, seed)
    model.tie_weights()
    folder = HERE / name
    model.to(dtype).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "model.safetensors").chmod(0o644)


def write_variant(name: str) -> None:
    """Writes the folder of a family that differs from `llama` in its config.json only."""
    config = json.loads((HERE / "llama" / "config.json").read_text())
    for key in ("rope_parameters", "dtype"):
        config.pop(key)
    folder = HERE / name
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config | CONFIG_VARIANTS[name], indent=2) + "\n")
    link(folder, "model.safetensors", "../llama/model.safetensors")


def main() -> None:
    write_tokenizer(HERE / "tokenizer.json")
    for index, name in enumerate([*FAMILIES, *CONFIG_VARIANTS]):
        folder = HERE / name
        shutil.rmtree(folder, ignore_errors=True)
        print(name)
        if name in FAMILIES:
            write_family(name, seed=index)
        else:
            write_variant(name)
        link(folder, "tokenizer.json", "../tokenizer.json")
        np.savez_compressed(folder / "logits.npz", **reference_logits(folder, seed=100 + index))
    total = sum(f.stat().st_size for f in HERE.rglob("*") if f.is_file() and not f.is_symlink())
    print(f"{total:,} bytes, transformers {transformers.__version__}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
