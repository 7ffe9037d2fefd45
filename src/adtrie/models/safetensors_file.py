"""Bounded reader of one safetensors file: directory and one tensor at a time, as float32.

Stricter than the format asks: duplicate keys, holes, other dtypes and non-finite values are refused too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import FormatError
from adtrie.models.binary_file import BinaryFile
from adtrie.models.ggml_blocks import BLOCK_TYPES, BlockType, decode_blocks
from adtrie.models.json_text import parse_json_object

MAX_HEADER_BYTES = 100_000_000
MAX_DIMS = 8
MAX_DIMENSION = 1 << 40

_DTYPES = {entry.name: entry for entry in BLOCK_TYPES.values() if entry.name in ("F32", "F16", "BF16")}


@dataclass(frozen=True)
class _Extent:
    shape: tuple[int, ...]
    dtype: BlockType
    start: int  # from the begin of the data section
    end: int


class SafetensorsFile:
    """An open safetensors file. Close it after use."""

    def __init__(self, path: Path) -> None:
        """Reads and checks the header. Raises ModelError (cannot open) or FormatError (file and tensor)."""
        self.path = path
        self._file = BinaryFile(path)
        try:
            self._data_start, header = self._header()
            self._tensors = self._extents(header)
        except BaseException:
            self._file.close()
            raise

    def _error(self, message: str) -> FormatError:
        return FormatError(f"{self.path}: {message}; the file is damaged, fetch it again")

    def _header(self) -> tuple[int, dict[str, Any]]:
        size = int.from_bytes(self._file.read(0, 8, "header length"), "little")
        if size > MAX_HEADER_BYTES or 8 + size > self._file.size:
            raise self._error(f"header length {size} exceeds the file ({self._file.size} bytes) or the limit")
        raw = self._file.read(8, size, "header")
        if not raw.startswith(b"{"):
            raise self._error("the header does not start with '{'")
        return 8 + size, parse_json_object(raw, f"{self.path}, header")

    def _extents(self, header: dict[str, Any]) -> dict[str, _Extent]:
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise self._error("__metadata__ must map strings to strings")
        extents = {name: self._extent(name, entry) for name, entry in header.items()}
        end = 0
        for name, extent in sorted(extents.items(), key=lambda item: (item[1].start, item[1].end)):
            if extent.start != end:
                kind = "overlaps the one before" if extent.start < end else "leaves a hole before it"
                raise self._error(f"tensor {name!r} at offset {extent.start} {kind} (expected {end})")
            end = extent.end
        if self._data_start + end != self._file.size:
            raise self._error(
                f"the tensors end at byte {self._data_start + end}, the file at {self._file.size} "
                "(truncated, or bytes were appended)"
            )
        return extents

    def _extent(self, name: str, entry: Any) -> _Extent:
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise self._error(f"entry of tensor {name!r} must hold exactly dtype, shape and data_offsets")
        dtype = _DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
        if dtype is None:
            raise FormatError(
                f"{self.path}: tensor {name!r} has dtype {entry['dtype']!r:.40}; supported: "
                f"{', '.join(_DTYPES)}; convert the checkpoint to one of them"
            )
        shape, offsets = entry["shape"], entry["data_offsets"]
        if not _naturals(shape) or len(shape) > MAX_DIMS or not _naturals(offsets) or len(offsets) != 2:
            raise self._error(f"tensor {name!r} has a shape or offsets that are not non-negative integers")
        num_bytes = dtype.num_bytes
        for size in shape:  # Python integers do not wrap
            num_bytes *= size
        if offsets[1] - offsets[0] != num_bytes:
            raise self._error(
                f"tensor {name!r} of shape {shape} needs {num_bytes} bytes, offsets say {offsets}"
            )
        return _Extent(tuple(shape), dtype, offsets[0], offsets[1])

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Row-major shape by tensor name."""
        return {name: extent.shape for name, extent in self._tensors.items()}

    def types(self) -> dict[str, BlockType]:
        """How each tensor is stored."""
        return {name: extent.dtype for name, extent in self._tensors.items()}

    def read(self, name: str) -> NDArray[np.float32]:
        """Tensor `name` as float32 of its shape. Raises FormatError for NaN or infinity."""
        extent = self._tensors[name]
        data = self._file.read(self._data_start + extent.start, extent.end - extent.start, f"tensor {name!r}")
        values = decode_blocks(data, extent.dtype).reshape(extent.shape)
        if not np.isfinite(values).all():
            raise self._error(f"tensor {name!r} holds NaN or infinity")
        return values

    def fingerprint(self) -> str:
        """sha256 hex identifying this file (header, size, samples of the data)."""
        return self._file.fingerprint(self._data_start)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v <= MAX_DIMENSION for v in values)
