"""What the tests of the packed checkpoint share: a tiny model, mixed codes for it, a folder of both."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from adtrie.compress.pack import nearest_linear
from adtrie.compress.plan import Choice
from adtrie.config import ModelSpec
from adtrie.format.codes import DENSE, CompressedLinear, num_panels
from adtrie.format.manifest import Origin, SavedTokenizer
from adtrie.format.panels import pack
from adtrie.format.writer import PackedWriter

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL_SPEC = ModelSpec("llama", 1, 8, 8, 1, 1, 8, 24, 16, 1e4, 1e-5, True)
SMALL_SHAPES = {"a": (24, 64), "norm": (9,), "b": (5, 32)}
VALUES = np.linspace(-1, 1, 9, dtype=np.float32)


def golden_folder(folder: Path, name: str = "llama") -> Path:
    """A golden model as a folder of plain files."""
    return Path(shutil.copytree(GOLDEN / name, folder / name))


def mixed(name: str, shape: tuple[int, int]) -> Choice:
    """8 bits for embedding and head; elsewhere panels of all patterns in turn."""
    panels = num_panels(shape[0])
    if name in ("embed", "head"):
        return Choice(name, 8, shape[1], (DENSE,) * panels)
    return Choice(name, 4, shape[1], tuple(np.resize([2, 1, DENSE], panels).tolist()))


def small_linear(name: str, seed: int = 0) -> CompressedLinear:
    """One of the linears of `write_small`."""
    shape = SMALL_SHAPES[name]
    weights = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return nearest_linear(weights, mixed(name, (shape[0], shape[1])))


def small_writer(out: Path) -> PackedWriter:
    """A writer of a folder of about 4 KB, of no model; for what needs none."""
    tokenizer = SavedTokenizer(2, None, False, "0" * 64), b'{"tokens": 3}'
    return PackedWriter(out, SMALL_SPEC, SMALL_SHAPES, tokenizer, Origin("small", "1" * 64))


def write_small(out: Path, seed: int = 0) -> None:
    """The whole small folder; `seed` decides the weights."""
    with small_writer(out) as writer:
        fill_small(writer, seed)


def fill_small(writer: PackedWriter, seed: int = 0) -> None:
    """Adds all tensors and finishes."""
    writer.add_linear("a", pack(small_linear("a", seed)))
    writer.add_vector("norm", VALUES + np.float32(seed))
    writer.add_linear("b", pack(small_linear("b", seed)))
    writer.finish({"seed": seed})
