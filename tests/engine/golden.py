"""Golden models and their logits by transformers, as tests/golden/README.md describes them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

GOLDEN = Path(__file__).parent.parent / "golden"
FAMILIES = ("llama", "llama3", "mistral", "qwen2", "qwen3", "ernie4_5")


def golden_folder(name: str, target: Path) -> Path:
    """A copy of a golden folder without links (a checkpoint may not point outside its folder)."""
    return Path(shutil.copytree(GOLDEN / name, target / name))


def golden_logits(name: str) -> dict[str, NDArray]:
    """Arrays of logits.npz."""
    with np.load(GOLDEN / name / "logits.npz") as arrays:
        return dict(arrays)


def sequences(arrays: dict[str, NDArray]) -> list[tuple[str, NDArray, NDArray]]:
    """(key, tokens, parents) of the chains and the tree."""
    out = []
    for key in ("chain0", "chain1", "chain2", "tree"):
        tokens = arrays[f"{key}_tokens"]
        parents = arrays["tree_parents"] if key == "tree" else np.arange(-1, len(tokens) - 1, dtype=np.int32)
        out.append((key, tokens, parents.astype(np.int32)))
    return out
