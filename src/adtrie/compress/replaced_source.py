"""A model some of whose linears are replaced, as a weight source: evaluated before anything is written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from adtrie.config import ModelSpec
from adtrie.engine.source import WeightSource
from adtrie.format.codes import CompressedLinear
from adtrie.format.tensors import Tensor


class ReplacedSource:
    """`source` with the linears of `replaced`, compressed or float32, in place of its own."""

    def __init__(
        self, source: WeightSource, replaced: Mapping[str, CompressedLinear | NDArray[np.float32]]
    ) -> None:
        self.spec: ModelSpec = source.spec
        self._source, self._replaced = source, dict(replaced)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 hex of the source's and all replacements."""
        digest = hashlib.sha256(self._source.fingerprint.encode())
        for name, linear in sorted(self._replaced.items()):
            digest.update(name.encode())
            parts = (
                [linear.values.codes, linear.values.scales]
                if isinstance(linear, CompressedLinear)
                else [linear]
            )
            for part in parts:
                digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()

    def vector(self, name: str) -> NDArray[np.float32]:
        """Norm or bias of the source."""
        return self._source.vector(name)

    def matrix(self, name: str) -> Tensor:
        """The replacement, its codes where it has any; else the source's own."""
        linear = self._replaced.get(name)
        if linear is None:
            return self._source.matrix(name)
        return linear.values if isinstance(linear, CompressedLinear) else linear
