"""What the engine needs of a checkpoint. Knows no file."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adtrie.config import ModelSpec
from adtrie.format.tensors import Tensor


class WeightSource(Protocol):
    """Any checkpoint: a spec, an identity, tensors by canonical name."""

    @property
    def spec(self) -> ModelSpec:
        """Shape of the model."""

    @property
    def fingerprint(self) -> str:
        """sha256 hex of the weights, the key of what is cached about them."""

    def vector(self, name: str) -> NDArray[np.float32]:
        """Norm or bias, float32[n]."""

    def matrix(self, name: str) -> Tensor:
        """Linear or embedding, [N outputs, K inputs]; a packed one must not change while an engine lives."""
