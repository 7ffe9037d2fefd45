"""One view of every checkpoint: spec, tokenizer, tensors under canonical names, read one at a time.

Knows no kernel and no search; what the file formats look like is the readers' business.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from adtrie.config import ModelSpec, QuantizedMatrix
from adtrie.errors import FormatError, InputError, ModelError, TokenizerError
from adtrie.format.manifest import Manifest
from adtrie.format.reader import is_packed
from adtrie.format.staging import unfinished
from adtrie.format.tensors import Tensor
from adtrie.models import tensor_plan
from adtrie.models.alias import ALIASES, resolve_alias
from adtrie.models.families import spec_from_config
from adtrie.models.gguf import GgufFile
from adtrie.models.gguf_families import rope_scaling_from_factors, spec_from_gguf
from adtrie.models.gguf_tokenizer import tokenizer_definition
from adtrie.models.huggingface import ModelFolder
from adtrie.models.packed import PackedSource
from adtrie.models.tensor_plan import Naming, PlannedTensor
from adtrie.models.tokenizer import Tokenizer

_MAX_PADDING_ROWS = 8192  # embeddings are padded for hardware's sake; more is another model's tokenizer
_FOREIGN_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".json", ".onnx")


class TensorSource(Protocol):
    """What a reader offers: shapes of all tensors, one tensor at a time, an identity."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Row-major shape by source name."""

    def stored(self) -> dict[str, tuple[str, int]]:
        """Type as in F32 or Q4_1, and bytes, by source name."""

    def read(self, name: str) -> Tensor:
        """One tensor."""

    def fingerprint(self) -> str:
        """sha256 hex of the file(s)."""

    def close(self) -> None:
        """Closes the file(s)."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as the file holds it: canonical name, shape, type as in F32, Q4_1 or INT4-g64-2:4, bytes."""

    name: str
    shape: tuple[int, ...]
    type: str
    num_bytes: int

    @property
    def num_values(self) -> int:
        """Parameters in it."""
        return math.prod(self.shape)


class Checkpoint:
    """An open checkpoint, usable in a with statement; `fingerprint` (sha256) identifies the weight files.

    `manifest` is that of a packed checkpoint, else None.
    """

    def __init__(
        self,
        spec: ModelSpec,
        tokenizer: Tokenizer,
        name: str,
        source: TensorSource,
        plan: Mapping[str, PlannedTensor],
        manifest: Manifest | None = None,
    ) -> None:
        self.spec = spec
        self.tokenizer = tokenizer
        self.name = name
        self.fingerprint = source.fingerprint()
        self.manifest = manifest
        self._source = source
        self._plan = dict(plan)

    def names(self) -> list[str]:
        """Canonical names of all tensors."""
        return list(self._plan)

    def tensors(self) -> list[StoredTensor]:
        """What the file holds of every tensor the model uses; nothing is read."""
        stored = self._source.stored()
        return [
            StoredTensor(name, planned.shape, *stored[planned.source]) for name, planned in self._plan.items()
        ]

    def vector(self, name: str) -> NDArray[np.float32]:
        """Norm or bias `name`, float32[n]."""
        tensor = self._read(name, 1)
        if not isinstance(tensor, np.ndarray):  # pragma: no cover - readers quantize matrices only
            raise FormatError(f"{self.name}: tensor {name!r} is quantized, expected a float vector")
        return tensor

    def matrix(self, name: str) -> Tensor:
        """Linear or embedding `name`, [N outputs, K inputs]; q and k rows in rotate-half order."""
        return self._read(name, 2)

    def _read(self, name: str, num_dims: int) -> Tensor:
        planned = self._plan.get(name)
        if planned is None or len(planned.shape) != num_dims:
            raise InputError(f"{self.name}: no {num_dims}-dimensional tensor is called {name!r}")
        return tensor_plan.reordered(self._source.read(planned.source), planned.heads)

    def close(self) -> None:
        """Closes the weight files; tensors can no longer be read."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_checkpoint(source: str | Path) -> Checkpoint:
    """The checkpoint behind an alias, a packed or Hugging Face folder or a .gguf file; an alias wins.

    Raises ModelError (not found, unsupported), FormatError (damaged) or TokenizerError.
    """
    name = str(source)
    if "\0" in name:
        raise ModelError(f"model name {name!r:.100} holds a NUL character; check the path")
    path = Path(source)
    if isinstance(source, str) and source in ALIASES:
        return _open_gguf(resolve_alias(source), name)
    if os.path.isdir(path):  # unlike Path.is_dir, never raises for odd names
        return _open_packed(path, name) if is_packed(path) else _open_folder(path, name)
    if not os.path.exists(path) and (state := unfinished(path)) is not None:
        raise ModelError(f"{path}: there is no checkpoint yet: {state}")
    if path.suffix.lower() in _FOREIGN_SUFFIXES:
        raise ModelError(
            f"{path}: expected a .gguf file or a Hugging Face folder with config.json and model.safetensors, "
            f"got a {path.suffix} file; give the folder that holds it"
        )
    if os.path.exists(path) or path.suffix.lower() == ".gguf" or len(path.parts) > 1:
        return _open_gguf(path, name)
    return _open_gguf(resolve_alias(name), name)


def _open_folder(path: Path, name: str) -> Checkpoint:
    folder = ModelFolder(path)
    spec = spec_from_config(folder.config, str(path / "config.json"))
    folder.open_weights()
    try:
        plan = _checked_plan(spec, tensor_plan.HUGGING_FACE, spec.family == "ernie4_5", folder, str(path))
        tokenizer = _fitting(folder.tokenizer(), spec, str(path))
        return Checkpoint(spec, tokenizer, name, folder, plan)
    except BaseException:
        folder.close()
        raise


def _open_packed(path: Path, name: str) -> Checkpoint:
    source = PackedSource(path)
    try:
        spec = source.manifest.spec
        tokenizer = _fitting(source.tokenizer(), spec, str(path))
        return Checkpoint(spec, tokenizer, name, source, source.plan, source.manifest)
    except BaseException:
        source.close()
        raise


def _open_gguf(path: Path, name: str) -> Checkpoint:
    file = GgufFile(path)
    try:
        where = str(path)
        spec = spec_from_gguf(file.metadata, file.shapes(), where)
        interleaved = spec.family in ("llama", "ernie4_5")
        plan = _checked_plan(spec, tensor_plan.GGUF, interleaved, file, where)
        if "rope_freqs.weight" in file.tensors:
            spec = replace(
                spec, rope_scaling=rope_scaling_from_factors(_rope_factors(file, spec), spec, where)
            )
        tokenizer = _gguf_tokenizer(file, spec, where)
        return Checkpoint(spec, tokenizer, name, file, plan)
    except BaseException:
        file.close()
        raise


def _rope_factors(file: GgufFile, spec: ModelSpec) -> NDArray[np.float32]:
    factors = file.read("rope_freqs.weight")
    if isinstance(factors, QuantizedMatrix) or factors.shape != (spec.head_size // 2,):
        raise FormatError(f"{file.path}: 'rope_freqs.weight' must hold {spec.head_size // 2} numbers")
    return factors


def _gguf_tokenizer(file: GgufFile, spec: ModelSpec, where: str) -> Tokenizer:
    metadata = file.metadata
    eos, bos = metadata.get("tokenizer.ggml.eos_token_id"), metadata.get("tokenizer.ggml.bos_token_id")
    if type(eos) is not int or (bos is not None and type(bos) is not int):
        raise TokenizerError(
            f"{where}: tokenizer.ggml.eos_token_id is {eos!r:.40}, bos {bos!r:.40}; expected integers"
        )
    tokens = metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, list) and len(tokens) != spec.vocab_size:
        raise TokenizerError(
            f"{where}: {len(tokens)} tokens but {spec.vocab_size} rows in 'token_embd.weight'"
        )
    # SentencePiece and Llama 3 models start with bos unless the file says otherwise, the rest does not.
    default = (
        metadata.get("tokenizer.ggml.model") == "llama" or metadata.get("tokenizer.ggml.pre") == "llama-bpe"
    )
    add_bos = metadata.get("tokenizer.ggml.add_bos_token", default)
    if type(add_bos) is not bool:
        raise TokenizerError(f"{where}: tokenizer.ggml.add_bos_token is {add_bos!r:.40}, expected a boolean")
    tokenizer = Tokenizer(tokenizer_definition(metadata, where), where, eos=eos, bos=bos, add_bos=add_bos)
    return _fitting(tokenizer, spec, where)


def _fitting(tokenizer: Tokenizer, spec: ModelSpec, where: str) -> Tokenizer:
    """`tokenizer` itself; TokenizerError when its ids and the embedding rows do not belong together."""
    spare = spec.vocab_size - tokenizer.vocab_size
    if not 0 <= spare <= _MAX_PADDING_ROWS:
        raise TokenizerError(
            f"{where}: the tokenizer has {tokenizer.vocab_size} ids, the embedding {spec.vocab_size} rows; "
            "tokenizer and weights are of different models"
        )
    return tokenizer


def _checked_plan(
    spec: ModelSpec, naming: Naming, interleaved: bool, source: TensorSource, where: str
) -> dict[str, PlannedTensor]:
    plan = tensor_plan.tensor_plan(spec, naming, interleaved)
    tensor_plan.check_plan(plan, source.shapes(), naming, where)
    return plan
