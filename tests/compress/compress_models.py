"""Models to compress: the golden folders, or random weights of any small shape."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from adtrie.compress.samples import Sample
from adtrie.config import ModelSpec, QuantizedMatrix
from adtrie.models import open_checkpoint

GOLDEN = Path(__file__).parents[1] / "golden"


class MemorySource:
    """A WeightSource over arrays."""

    def __init__(self, spec: ModelSpec, tensors: dict[str, NDArray[np.float32]]) -> None:
        self.spec, self.tensors = spec, tensors
        joined = b"".join(name.encode() + values.tobytes() for name, values in sorted(tensors.items()))
        self.fingerprint = hashlib.sha256(joined).hexdigest()

    def vector(self, name: str) -> NDArray[np.float32]:
        return self.tensors[name]

    def matrix(self, name: str) -> NDArray[np.float32] | QuantizedMatrix:
        return self.tensors[name]

    def tensor(self, name: str) -> NDArray[np.float32] | QuantizedMatrix:
        return self.tensors[name]


@cache
def tiny_source(family: str) -> MemorySource:
    """The golden model of a family: 2 blocks, hidden size 32, vocabulary 288."""
    # A copy without links: a checkpoint may not point outside its folder.
    with TemporaryDirectory() as folder:
        copy = shutil.copytree(GOLDEN / family, Path(folder) / family)
        with open_checkpoint(copy) as checkpoint:
            tensors = {}
            for name in checkpoint.names():
                is_vector = name.endswith(("norm", ".bias"))
                read = checkpoint.vector(name) if is_vector else checkpoint.matrix(name)
                tensors[name] = read.dequantize() if isinstance(read, QuantizedMatrix) else read.copy()
            return MemorySource(checkpoint.spec, tensors)


def random_source(seed: int = 0, **changes: int | bool) -> MemorySource:
    """A Llama of random weights: hidden 64, intermediate 128, 2 blocks, vocabulary 96."""
    shape = {"hidden_size": 64, "intermediate_size": 128, "vocab_size": 96, **changes}
    spec = replace(tiny_source("llama").spec, **shape)
    random = np.random.default_rng(seed)
    heads, pairs = spec.num_heads * spec.head_size, spec.num_kv_heads * spec.head_size
    hidden, wide = spec.hidden_size, spec.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {"embed": (spec.vocab_size, hidden), "final_norm": (hidden,)}
    if not spec.tied_head:
        shapes["head"] = (spec.vocab_size, hidden)
    for index in range(spec.num_layers):
        parts: dict[str, tuple[int, ...]] = {
            "attn_norm": (hidden,), "mlp_norm": (hidden,), "q": (heads, hidden), "k": (pairs, hidden),
            "v": (pairs, hidden), "o": (hidden, heads), "gate": (wide, hidden), "up": (wide, hidden),
            "down": (hidden, wide),
        }  # fmt: skip
        shapes |= {f"layers.{index}.{part}": shape for part, shape in parts.items()}
    tensors = {}
    for name, shape in shapes.items():
        if len(shape) == 1:
            tensors[name] = (1 + 0.2 * random.normal(size=shape)).astype(np.float32)
        else:
            scale = 1.0 if name == "embed" else 1.2 / np.sqrt(shape[1])
            tensors[name] = (scale * random.normal(size=shape)).astype(np.float32)
    return MemorySource(spec, tensors)


def make_samples(count: int, seed: int, vocab: int = 96) -> list[Sample]:
    """Random token chains of 6 to 19 tokens."""
    random = np.random.default_rng(seed)
    lengths = random.integers(6, 20, count).tolist()
    return [
        Sample(random.integers(0, vocab, length).astype(np.int32), int(random.integers(1, length)))
        for length in lengths
    ]
