"""An adapter of a golden model in peft's format, as `adtrie tune` leaves it, without torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from adtrie.models import open_checkpoint


def write_adapter(folder: Path, model: Path, template: str | None) -> Path:
    """A random adapter of every q of `model` in `folder`; with `template`, a card that names it."""
    folder.mkdir()
    random = np.random.default_rng(3)
    tensors = {}
    with open_checkpoint(model) as checkpoint:
        for layer in range(checkpoint.spec.num_layers):
            num_rows, num_cols = checkpoint.matrix(f"layers.{layer}.q").shape
            module = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
            tensors[f"{module}.lora_A.weight"] = random.normal(size=(2, num_cols)).astype(np.float32)
            tensors[f"{module}.lora_B.weight"] = random.normal(size=(num_rows, 2)).astype(np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    if template is not None:
        (folder / "adtrie.json").write_text(json.dumps({"template": template}))
    return folder
