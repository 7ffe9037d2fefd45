"""What the tests of the packed checkpoint share: a tiny model, mixed codes for it, a folder of both."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adtrie.config import QuantizedMatrix
from adtrie.format.codes import BLOCK, DENSE, PANEL_ROWS, CompressedLinear, num_panels
from adtrie.format.panels import pack
from adtrie.format.tensors import dense_values
from adtrie.models import Checkpoint, packed_writer

GOLDEN = Path(__file__).parents[1] / "golden"


def rounded(weights: NDArray[np.float32], kept: NDArray[np.uint8], bits: int = 4) -> CompressedLinear:
    """The largest of each block of four in 4 bits, or all in 8, with one scale per row: no solver."""
    half = 1 << (bits - 1)
    per_row = np.repeat(kept, PANEL_ROWS)[: len(weights), None, None]
    blocks = np.abs(weights).reshape(len(weights), -1, BLOCK)
    rank = np.argsort(np.argsort(-blocks, axis=2, kind="stable"), axis=2)
    mask = (rank < per_row).reshape(weights.shape)
    scales = (np.abs(weights).max(axis=1, keepdims=True) / (half - 1)).astype(np.float16)
    integers = np.rint(weights * mask / np.where(scales > 0, scales, 1).astype(np.float32))
    codes = (np.clip(integers, -half, half - 1) + half).astype(np.uint8)
    return CompressedLinear(QuantizedMatrix(codes, scales, None, bits, weights.shape[1]), kept, mask)


def mixed(name: str, weights: NDArray[np.float32]) -> CompressedLinear:
    """8 bits for embedding and head; elsewhere panels of all patterns in turn."""
    panels = num_panels(len(weights))
    if name in ("embed", "head"):
        return rounded(weights, np.full(panels, DENSE, np.uint8), bits=8)
    return rounded(weights, np.resize(np.array([2, 1, DENSE], np.uint8), panels))


def write_packed(out: Path, source: Checkpoint) -> dict[str, CompressedLinear]:
    """`source` as a packed folder; returns the codes of its linears."""
    linears = {}
    with packed_writer(out, source) as writer:
        for tensor in source.tensors():
            if len(tensor.shape) == 1:
                writer.add_vector(tensor.name, source.vector(tensor.name))
                continue
            linears[tensor.name] = mixed(tensor.name, dense_values(source.matrix(tensor.name)))
            writer.add_linear(tensor.name, pack(linears[tensor.name]))
        writer.finish({"budget": "none"})
    return linears


def golden_folder(folder: Path, name: str = "llama") -> Path:
    """A golden model as a folder of plain files."""
    return Path(shutil.copytree(GOLDEN / name, folder / name))
