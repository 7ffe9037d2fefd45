"""What a run leaves on disk: an adapter in peft's format with adtrie's card, and the state to continue from.

Every file is replaced in one step. Knows no model and no schedule.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from adtrie.errors import FormatError
from adtrie.models.adapter_files import CARD_FILE, CONFIG_FILE, TENSOR_PREFIX, WEIGHTS_FILE
from adtrie.models.tensor_plan import HUGGING_FACE
from adtrie.train.recipe import Recipe

STATE_FILE, CURVE_FILE = "training_state.safetensors", "curve.svg"

Tensors = Mapping[str, NDArray[Any]]


def write_adapter(folder: Path, tensors: Tensors, recipe: Recipe, base: str, card: Mapping[str, Any]) -> None:
    """Writes the three files of an adapter; `tensors` by linear name + .A or .B, stored as float16."""
    named = {}
    for name, values in tensors.items():
        linear, side = name.rsplit(".", 1)
        named[f"{TENSOR_PREFIX}{peft_module(linear)}.lora_{side}.weight"] = np.ascontiguousarray(
            values, dtype=np.float16
        )
    replace_file(folder / WEIGHTS_FILE, save(named, metadata={"format": "pt"}))
    write_card(folder, card)
    replace_file(folder / CONFIG_FILE, _json(peft_config(recipe, base)))


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Writes adtrie.json."""
    replace_file(folder / CARD_FILE, _json(card))


def peft_config(recipe: Recipe, base: str) -> dict[str, Any]:
    """Content of adapter_config.json, as peft reads it."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": recipe.rank,
        "lora_alpha": recipe.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "target_modules": [HUGGING_FACE.parts[part].rsplit(".", 1)[-1] for part in recipe.targets],
    }


def peft_module(linear: str) -> str:
    """Module path of a Hugging Face model: layers.0.q -> model.layers.0.self_attn.q_proj."""
    _, layer, part = linear.split(".")
    return HUGGING_FACE.layer.format(layer) + HUGGING_FACE.parts[part]


def write_state(path: Path, tensors: Tensors, values: Mapping[str, Any]) -> None:
    """Writes tensors and a JSON object as one file."""
    replace_file(path, save(dict(tensors), metadata={"state": json.dumps(values)}))


def read_state(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Tensors and JSON object of a file of `write_state`. Raises FormatError when it is damaged."""
    try:
        with safe_open(str(path), framework="numpy") as file:
            values = json.loads((file.metadata() or {})["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise FormatError(
            f"{path}: no usable training state ({error}); delete it and start the run again"
        ) from None
    return tensors, values


def replace_file(path: Path, data: bytes) -> None:
    """Writes `data` so that either the old or the new file is there, whatever happens."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # a rename is only durable once its folder is synced
    finally:
        os.close(folder)


def _json(value: Mapping[str, Any] | Sequence[Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
