"""The files of a LoRA adapter in peft's format: configuration, tensors, and adtrie's card beside them.

Bounded and strict: what is not a plain LoRA is refused. Knows no checkpoint and no prompt.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.config import ModelSpec
from adtrie.errors import FormatError, ModelError
from adtrie.format.binary_file import BinaryFile
from adtrie.format.json_text import parse_json_object
from adtrie.models.fields import Fields
from adtrie.models.safetensors_file import SafetensorsFile
from adtrie.models.tensor_plan import HUGGING_FACE, tensor_plan

CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "adapter_config.json", "adapter_model.safetensors", "adtrie.json"
TENSOR_PREFIX = "base_model.model."
LINEARS = ("q", "k", "v", "o", "gate", "up", "down")
MAX_RANK = 1024
MAX_JSON_BYTES = 1 << 20
MAX_TEMPLATE_CHARS = 20_000

# Keys of adapter_config.json that do not change the arithmetic of a plain LoRA; peft writes all of them.
_HARMLESS = frozenset(
    (
        *("peft_type", "task_type", "r", "lora_alpha", "target_modules", "use_rslora", "bias"),
        *("inference_mode", "lora_dropout", "auto_mapping", "base_model_name_or_path", "revision"),
        *("peft_version", "exclude_modules", "layers_to_transform", "layers_pattern", "init_lora_weights"),
        *("megatron_core", "qalora_group_size", "ensure_weight_tying", "eva_config", "runtime_config"),
    )
)
# Starts that leave the base weights as they are; PiSSA, OLoRA, CorDA and LoftQ change them.
_HARMLESS_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class AdapterCard:
    """What `adtrie.json` beside an adapter says, as far as loading needs it; None where it is silent."""

    template: str | None = None
    base_fingerprint: str | None = None
    tokenizer_fingerprint: str | None = None


class Adapter:
    """An open adapter folder: A [r, K] and B [N, r] of each adapted linear; W + scale B A is the result."""

    def __init__(self, path: Path) -> None:
        """Reads configuration, card and header. Raises ModelError (unsupported, missing) or FormatError."""
        self.path = path
        if not path.is_dir():
            raise ModelError(f"{path}: expected a folder with {CONFIG_FILE} and {WEIGHTS_FILE}")
        config = _json(path / CONFIG_FILE)
        where = str(path / CONFIG_FILE)
        _refuse_unsupported(config, where)
        fields = Fields(config, where)
        self.rank = fields.integer("r", 1, MAX_RANK)
        alpha = fields.number("lora_alpha", 0.0, 1e6)
        self.scale = alpha / (math.sqrt(self.rank) if fields.flag("use_rslora", False) else self.rank)
        self.targets = fields.get("target_modules")
        self.card = read_card(path)
        self._file = SafetensorsFile(path / WEIGHTS_FILE)
        digest = hashlib.sha256(f"{self.rank} {self.scale!r}\n".encode())
        digest.update(self._file.fingerprint().encode())
        self.fingerprint = digest.hexdigest()

    def pairs(self, spec: ModelSpec) -> dict[str, tuple[str, str]]:
        """Tensor names (A, B) by canonical name of the linear they adapt.

        Raises ModelError if names or shapes are those of another model, FormatError for half a pair.
        """
        plan = tensor_plan(spec, HUGGING_FACE, interleaved=False)
        linears = {
            tensor.source.removesuffix(".weight"): (name, tensor)
            for name, tensor in plan.items()
            if name.rsplit(".", 1)[-1] in LINEARS
        }
        found: dict[str, dict[str, str]] = {}
        for tensor, shape in self._file.shapes().items():
            module, side = self._module(tensor)
            if module not in linears:
                raise self._misfit(f"adapts {module!r}", f"linears of {_described(spec)}")
            name, planned = linears[module]
            expected = (self.rank, planned.shape[1]) if side == "A" else (planned.shape[0], self.rank)
            if shape != expected:
                raise self._misfit(f"has {tensor!r} of shape {list(shape)}", str(list(expected)))
            found.setdefault(name, {})[side] = tensor
        for name, sides in found.items():
            if len(sides) != 2:
                raise FormatError(f"{self.path}: {name} has only lora_{min(sides)}; the adapter is damaged")
        if not found:
            raise FormatError(f"{self.path / WEIGHTS_FILE}: holds no tensors; the adapter is damaged")
        return {name: (sides["A"], sides["B"]) for name, sides in found.items()}

    def read(self, tensor: str) -> NDArray[np.float32]:
        """One side of a pair as float32."""
        return self._file.read(tensor)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _module(self, tensor: str) -> tuple[str, str]:
        """(module as in the checkpoint, "A" or "B") of a tensor name."""
        for side in "AB":
            suffix = f".lora_{side}.weight"
            if tensor.startswith(TENSOR_PREFIX) and tensor.endswith(suffix):
                module = tensor[len(TENSOR_PREFIX) : -len(suffix)]
                if isinstance(self.targets, list) and not _targeted(module, self.targets):
                    raise FormatError(
                        f"{self.path}: {tensor!r} is not among target_modules {self.targets!r:.80} of "
                        f"{CONFIG_FILE}; the two files do not belong together"
                    )
                return module, side
        raise ModelError(
            f"{self.path / WEIGHTS_FILE}: tensor {tensor!r:.100} is no part of a plain LoRA; expected names "
            f"like {TENSOR_PREFIX}model.layers.0.self_attn.q_proj.lora_A.weight"
        )

    def _misfit(self, got: str, expected: str) -> ModelError:
        return ModelError(
            f"{self.path}: the adapter was made for another model: it {got}, expected {expected}; "
            "load it with the model it was trained on"
        )


def _json(path: Path) -> dict[str, Any]:
    file = BinaryFile(path)
    try:
        if file.size > MAX_JSON_BYTES:
            raise FormatError(f"{path}: {file.size} bytes, at most {MAX_JSON_BYTES} are accepted")
        return parse_json_object(file.read(0, file.size, path.name), str(path))
    finally:
        file.close()


def read_card(folder: Path) -> AdapterCard:
    """The card in a folder that `adtrie tune` wrote; an empty one if there is none. Raises FormatError."""
    path = folder / CARD_FILE
    if not path.exists():
        return AdapterCard()
    card, texts = _json(path), {}
    for field, key in (
        ("template", "template"),
        ("base_fingerprint", "base_fingerprint"),
        ("tokenizer_fingerprint", "tokenizer_fingerprint"),
    ):
        value = card.get(key)
        if value is not None and (not isinstance(value, str) or len(value) > MAX_TEMPLATE_CHARS):
            raise FormatError(f"{path}: {key} is {value!r:.80}, expected a text or null")
        texts[field] = value
    return AdapterCard(**texts)


def _refuse_unsupported(config: Mapping[str, Any], where: str) -> None:
    """Raises ModelError for anything but a plain LoRA: what is not known must be absent, null or empty."""
    if config.get("peft_type") != "LORA":
        raise ModelError(f"{where}: peft_type is {config.get('peft_type')!r:.40}, supported: LORA")
    if config.get("bias", "none") != "none":
        raise ModelError(f"{where}: bias is {config['bias']!r:.40}; trained biases are not supported")
    start = config.get("init_lora_weights")
    if not any(start is known or (isinstance(start, str) and start == known) for known in _HARMLESS_STARTS):
        raise ModelError(
            f"{where}: init_lora_weights is {start!r:.40}, which changes the base weights; convert the "
            "adapter to a plain LoRA with peft"
        )
    for key, value in config.items():
        if key not in _HARMLESS and value:
            raise ModelError(
                f"{where}: {key} is {value!r:.60}; only plain LoRA is supported, so it must be absent or off"
            )


def _targeted(module: str, targets: list[Any]) -> bool:
    return any(isinstance(t, str) and (module == t or module.endswith(f".{t}")) for t in targets)


def _described(spec: ModelSpec) -> str:
    return f"a {spec.family} model of {spec.num_layers} layers, hidden size {spec.hidden_size}"
