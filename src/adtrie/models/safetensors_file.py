"""Bounded reader of one safetensors file of weights: one tensor at a time, as float32.

Refuses other dtypes than floats, and values that are not finite. The container is `format`'s business.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import FormatError
from adtrie.format.binary_file import BinaryFile
from adtrie.format.container import read_directory
from adtrie.models.ggml_blocks import BLOCK_TYPES, decode_blocks

_DTYPES = {entry.name: entry for entry in BLOCK_TYPES.values() if entry.name in ("F32", "F16", "BF16")}


class SafetensorsFile:
    """An open safetensors file. Close it after use."""

    def __init__(self, path: Path) -> None:
        """Reads and checks the header. Raises ModelError (cannot open) or FormatError (file and tensor)."""
        self.path = path
        self._file = BinaryFile(path)
        try:
            item_bytes = {name: kind.num_bytes for name, kind in _DTYPES.items()}
            self._directory = read_directory(self._file, item_bytes)
        except BaseException:
            self._file.close()
            raise

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Row-major shape by tensor name."""
        return {name: extent.shape for name, extent in self._directory.extents.items()}

    def stored(self) -> dict[str, tuple[str, int]]:
        """Type and bytes of each tensor."""
        return {name: (e.dtype, e.num_bytes) for name, e in self._directory.extents.items()}

    def read(self, name: str) -> NDArray[np.float32]:
        """Tensor `name` as float32 of its shape. Raises FormatError for NaN or infinity."""
        extent = self._directory.extents[name]
        data = self._file.read(extent.start, extent.num_bytes, f"tensor {name!r}")
        values = decode_blocks(data, _DTYPES[extent.dtype]).reshape(extent.shape)
        if not np.isfinite(values).all():
            raise FormatError(
                f"{self.path}: tensor {name!r} holds NaN or infinity; the file is damaged, fetch it again"
            )
        return values

    def fingerprint(self) -> str:
        """sha256 hex identifying this file (header, size, samples of the data)."""
        return self._file.fingerprint(self._directory.start)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
