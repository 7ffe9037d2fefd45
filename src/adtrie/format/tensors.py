"""The three forms in which a checkpoint gives a matrix, and the values of any. Knows no file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adtrie.config import QuantizedMatrix
from adtrie.format.panels import PackedLinear, unpack

Tensor = NDArray[np.float32] | QuantizedMatrix | PackedLinear


def dense_values(tensor: Tensor) -> NDArray[np.float32]:
    """Values float32 of the tensor's shape; of codes those they stand for."""
    if isinstance(tensor, PackedLinear):
        return unpack(tensor).dequantize()
    return tensor.dequantize() if isinstance(tensor, QuantizedMatrix) else tensor
