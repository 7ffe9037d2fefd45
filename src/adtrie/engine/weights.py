"""Which stored form each matrix of a checkpoint takes in the engine. Knows no kernel and no forward."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from adtrie.config import OUTER_LINEARS, QuantizedMatrix
from adtrie.errors import FormatError, InputError
from adtrie.format.panels import PackedLinear, unpack
from adtrie.format.tensors import Tensor

WeightFormat = Literal["auto", "float32", "bfloat16", "int8", "int4"]
Activations = Literal["auto", "int8", "bfloat16", "float32"]
ACTIVATION_BLOCK = 32  # inputs per int8 activation scale; weight groups are multiples of it
_FLOAT16_MAX = 65504.0


def check_weight_format(name: str) -> None:
    """Raises InputError unless `name` is a WeightFormat."""
    if name not in get_args(WeightFormat):
        raise InputError(f"weights: expected one of {', '.join(get_args(WeightFormat))}, got {name!r:.60}")


def resolved_activations(activations: Activations, weights: WeightFormat) -> Activations:
    """What the linears are multiplied with: auto is the form of weights in floats, int8 for all others.

    int8 concerns quantized weights only: a linear held in floats takes floats. Raises InputError unless it is
    an Activations, and for bfloat16 with any other weights.
    """
    if activations not in get_args(Activations):
        expected = ", ".join(get_args(Activations))
        raise InputError(f"activations: expected one of {expected}, got {activations!r:.60}")
    if activations == "auto":
        return weights if weights in ("bfloat16", "float32") else "int8"
    if activations == "bfloat16" and weights != "bfloat16":
        raise InputError(
            f"activations bfloat16 need weights bfloat16, got weights {weights}; "
            "load with weights='bfloat16', or with activations int8 or float32"
        )
    return activations


def stored_form(name: str, matrix: Tensor, weights: WeightFormat) -> Tensor:
    """`matrix` in the form the engine holds it.

    auto: as in the file, floats as int8; int8, int4: that form (the embedding and the head never below int8),
    files already there or below stay as they are, and so does a packed linear; float32, bfloat16:
    dequantized, the engine rounds. A width that no group divides stays float32. Raises FormatError naming
    `name` if values are not finite.
    """
    floats = weights in ("float32", "bfloat16")
    if isinstance(matrix, PackedLinear):
        return unpack(matrix).dequantize() if floats else matrix
    if isinstance(matrix, QuantizedMatrix):
        _check_finite(name, matrix.scales, matrix.mins)
        bits = 8 if name in OUTER_LINEARS else {"int4": 4}.get(weights, 8)
        keep = weights == "auto" or (not floats and matrix.bits <= bits)
        if keep and matrix.group % ACTIVATION_BLOCK == 0:
            return matrix
        matrix = matrix.dequantize()
    _check_finite(name, matrix)
    if floats or matrix.shape[1] % ACTIVATION_BLOCK:
        return matrix
    return round_to_nearest(matrix, 4 if weights == "int4" and name not in OUTER_LINEARS else 8)


def round_to_nearest(
    matrix: NDArray[np.float32], bits: int, group: int = ACTIVATION_BLOCK
) -> QuantizedMatrix:
    """Symmetric codes of [N, K]: per group scale = max|w| / (2**(bits-1) - 1), code = round(w / scale)."""
    num_rows, num_cols = matrix.shape
    half = 1 << (bits - 1)
    grouped = matrix.reshape(num_rows, num_cols // group, group)
    steps = np.abs(grouped).max(axis=2) / (half - 1)
    if float(steps.max(initial=0.0)) > _FLOAT16_MAX:
        most = _FLOAT16_MAX * (half - 1)
        raise FormatError(f"weights above {most:.3g} exceed a float16 scale; load as float32")
    scales = steps.astype(np.float16)
    inverse = np.zeros_like(steps)
    np.divide(1.0, scales, out=inverse, where=scales > 0, dtype=np.float32)
    codes = np.rint(grouped * inverse[:, :, None]) + half
    codes = np.clip(codes, 0, 2 * half - 1).astype(np.uint8).reshape(num_rows, num_cols)
    return QuantizedMatrix(codes, scales, None, bits, group)


def _check_finite(name: str, *arrays: NDArray[np.float32] | NDArray[np.float16] | None) -> None:
    for array in arrays:
        if array is not None and not bool(np.isfinite(array).all()):
            raise FormatError(f"tensor {name!r} holds NaN or infinity; the file is damaged, fetch it again")
