"""Checkpoints with a LoRA adapter merged in as they are read; and which adapters ship with the package.

Runs without torch. Knows no training; the prompt template is handed on as the text the adapter came with.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from adtrie.config import ModelSpec
from adtrie.errors import FormatError, ModelError
from adtrie.format.tensors import Tensor, dense_values
from adtrie.models.adapter_files import CONFIG_FILE, Adapter, read_card
from adtrie.models.alias import ALIASES
from adtrie.models.checkpoint import Checkpoint, StoredTensor, open_checkpoint
from adtrie.models.tensor_plan import HUGGING_FACE, PlannedTensor, rotate_half_order, tensor_plan
from adtrie.models.tokenizer import Tokenizer

_log = logging.getLogger(__name__)


class AdaptedCheckpoint:
    """A checkpoint whose adapted linears read as W + scale B A (float32); all else as in `base`.

    `template` is the prompt text the adapter was trained with, None if it came without.
    """

    def __init__(self, base: Checkpoint, adapter: Adapter) -> None:
        """Raises ModelError when the adapter does not fit `base`; nothing is closed then."""
        self.base = base
        self.adapter = adapter
        self.spec: ModelSpec = base.spec
        self.tokenizer: Tokenizer = base.tokenizer
        self.name = f"{base.name} + {adapter.path.name}"
        self.template = adapter.card.template
        self._pairs = adapter.pairs(base.spec)
        _check_card(adapter, base)
        joined = f"{base.fingerprint} {adapter.fingerprint}"
        self.fingerprint = hashlib.sha256(joined.encode()).hexdigest()
        # ERNIE's own files pair neighbouring rows; its adapters do too, and ours are sorted like the weights.
        interleaved = base.spec.family == "ernie4_5"
        self._plan: Mapping[str, PlannedTensor] = tensor_plan(base.spec, HUGGING_FACE, interleaved)

    def names(self) -> list[str]:
        """Canonical names of all tensors."""
        return self.base.names()

    def adapted(self) -> list[str]:
        """Canonical names of the linears that the adapter changes."""
        return list(self._pairs)

    def tensors(self) -> list[StoredTensor]:
        """What the base file holds."""
        return self.base.tensors()

    def vector(self, name: str) -> NDArray[np.float32]:
        """Norm or bias `name`, float32[n]."""
        return self.base.vector(name)

    def matrix(self, name: str) -> Tensor:
        """Linear or embedding `name`, [N, K]; float32 where the adapter changes it."""
        weight = self.base.matrix(name)
        if name not in self._pairs:
            return weight
        a, b = (self.adapter.read(tensor) for tensor in self._pairs[name])
        values = dense_values(weight)
        heads = self._plan[name].heads
        b = b[rotate_half_order(len(b), heads)] if heads else b
        with np.errstate(over="ignore", invalid="ignore"):
            merged = values + np.float32(self.adapter.scale) * (b @ a)
        if not np.isfinite(merged).all():
            raise FormatError(f"{self.adapter.path}: {name} overflows once merged; the adapter is damaged")
        return np.asarray(merged, dtype=np.float32)

    def close(self) -> None:
        """Closes the files of base and adapter."""
        self.adapter.close()
        self.base.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def adapted_checkpoint(base: Checkpoint, adapter: str | Path) -> AdaptedCheckpoint:
    """`base` with an adapter, a shipped name or a folder, merged in; takes over `base` once it succeeds.

    Raises ModelError (not found, unsupported, made for another model) or FormatError (damaged).
    """
    if base.manifest is not None:
        raise ModelError(
            f"{base.name}: is a packed checkpoint, which takes no adapter; merge it before: compress the "
            f"original model with --adapter {adapter}"
        )
    opened = Adapter(adapter_folder(adapter))
    try:
        return AdaptedCheckpoint(base, opened)
    except BaseException:
        opened.close()
        raise


def open_tuned(
    model: str | Path, adapter: str | Path | None = None
) -> tuple[Checkpoint | AdaptedCheckpoint, str | None]:
    """The checkpoint behind `model` with `adapter` merged in, and the prompt template it was tuned with.

    Raises as `open_checkpoint` and `adapted_checkpoint` do.
    """
    base = open_checkpoint(model)
    try:
        if adapter is None:
            if base.manifest is not None:
                return base, base.manifest.template
            is_folder = str(model) not in ALIASES and os.path.isdir(model)
            return base, read_card(Path(model)).template if is_folder else None
        adapted = adapted_checkpoint(base, adapter)
        return adapted, adapted.template
    except BaseException:
        base.close()
        raise


def shipped_adapters() -> list[str]:
    """Names of the adapters in the package."""
    root = _shipped_root()
    if not root.is_dir():
        return []
    return sorted(entry.name for entry in root.iterdir() if (entry / CONFIG_FILE).is_file())


def adapter_folder(adapter: str | Path) -> Path:
    """The folder behind a shipped name or a path. Raises ModelError, naming the nearest shipped name."""
    names = shipped_adapters()
    if isinstance(adapter, str) and adapter in names:
        return _shipped_root() / adapter
    if "\0" not in str(adapter) and len(str(adapter)) < 4096 and Path(adapter).is_dir():
        return Path(adapter)
    close = difflib.get_close_matches(str(adapter).lower(), names, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}?" if close else f"shipped adapters: {', '.join(names) or 'none'}."
    raise ModelError(
        f"no adapter {str(adapter)!r:.100}: it is neither the name of a shipped one nor a folder; {hint} "
        "'adtrie tune' makes a folder"
    )


def _shipped_root() -> Path:
    # importlib's path of the package is several in an editable install.
    return Path(__file__).parents[1] / "data" / "adapters"


def _check_card(adapter: Adapter, base: Checkpoint) -> None:
    """Another vocabulary is another model; other weight files may be the same model in another precision."""
    card = adapter.card
    if card.tokenizer_fingerprint not in (None, base.tokenizer.fingerprint):
        raise ModelError(
            f"{adapter.path}: the adapter was made for another model: its tokenizer is "
            f"{card.tokenizer_fingerprint!r:.20}, that of {base.name} {base.tokenizer.fingerprint!r:.20}; "
            "load it with the model it was trained on"
        )
    if card.base_fingerprint not in (None, base.fingerprint):
        _log.info("%s was trained on other weight files than %s", adapter.path, base.name)
