"""Reads a packed checkpoint: linears as views of the file in memory, each sum checked when a tensor is read.

Opening checks the manifest's checksum, sizes, names, types, shapes and alignment. Knows no model.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import FormatError, InputError
from adtrie.format.binary_file import BinaryFile
from adtrie.format.codes import PANEL_ROWS, num_panels
from adtrie.format.container import read_directory
from adtrie.format.manifest import (
    MANIFEST_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    FileEntry,
    LinearEntry,
    is_plain_name,
    read_manifest,
)
from adtrie.format.panels import ALIGNMENT, PackedLinear
from adtrie.format.writer import DTYPES, PADDING

MAX_TOKENIZER_BYTES = 64 << 20
_PARTS = {"stream": "U8", "scales": "F16", "kept": "U8"}
_ARRAYS: dict[str, np.dtype[Any]] = {"U8": np.dtype(np.uint8), "F16": np.dtype("<f2"), "F32": np.dtype("<f4")}


def is_packed(path: Path) -> bool:
    """Whether a folder holds the manifest of a packed checkpoint."""
    return os.path.isfile(path / MANIFEST_FILE)


class PackedFolder:
    """An open packed checkpoint. Close it after use; views that were handed out stay valid.

    Its file is mapped until `load`.
    """

    def __init__(self, path: Path) -> None:
        """Raises ModelError (cannot open) or FormatError (damaged, another version); names the file."""
        self.path = path
        self.manifest = read_manifest(path)
        _check_files(path, self.manifest.files)
        self._file = BinaryFile(path / WEIGHTS_FILE)
        try:
            _check_size(self._file, self.manifest.files[WEIGHTS_FILE])
            extents = read_directory(self._file, DTYPES).extents
            self.extents = {name: each for name, each in extents.items() if not name.startswith(PADDING)}
            self._check_names()
            for name, entry in self.manifest.linears.items():
                self._check_linear(name, entry)
            self._data, self._loaded = self._file.map(), False
        except BaseException:
            self._file.close()
            raise

    def load(self) -> None:
        """Reads the weights into memory of their own (`BinaryFile.load`): they are faster in use."""
        if not self._loaded:
            self._data, self._loaded = self._file.load(), True

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape by canonical name: linears [N, K] and vectors [n]."""
        linears = {name: entry.shape for name, entry in self.manifest.linears.items()}
        vectors = {name: self.extents[name].shape for name in self.vectors()}
        return {**linears, **vectors}

    def vectors(self) -> list[str]:
        """Canonical names of norms and biases."""
        parts = {f"{name}.{part}" for name in self.manifest.linears for part in _PARTS}
        return [name for name in self.extents if name not in parts]

    def vector(self, name: str) -> NDArray[np.float32]:
        """Norm or bias `name`, float32[n]. Raises FormatError when it is damaged."""
        values = self.tensor(name).astype(np.float32)
        if not bool(np.isfinite(values).all()):
            raise self._damaged(name, "it holds NaN or infinity")
        return values

    def linear(self, name: str) -> PackedLinear:
        """Linear `name`; stream and scales are views of the file in memory. Raises FormatError if damaged."""
        entry = self.manifest.linears[name]
        stream, scales, kept = (self.tensor(f"{name}.{part}") for part in _PARTS)
        try:
            return PackedLinear(*entry.shape, entry.bits, entry.group, kept.copy(), stream, scales)
        except InputError as error:
            raise self._damaged(name, str(error)) from None

    def tensor(self, name: str) -> NDArray[Any]:
        """Tensor `name` of the container as a read-only view. Raises FormatError when its sum differs."""
        extent = self.extents[name]
        data = self._data[extent.start : extent.end]
        if zlib.crc32(data.data) != self.manifest.sums[name]:
            raise self._damaged(name, "its sum differs")
        return data.view(_ARRAYS[extent.dtype]).reshape(extent.shape)

    def tokenizer(self) -> bytes:
        """Content of tokenizer.json. Raises FormatError when its sum differs."""
        file = BinaryFile(self.path / TOKENIZER_FILE)
        try:
            entry = self.manifest.files[TOKENIZER_FILE]
            _check_size(file, entry)
            if file.size > MAX_TOKENIZER_BYTES or file.sha256() != entry.sha256:
                raise FormatError(f"{file.path}: its sha256 is not that of the manifest; fetch it again")
            return file.read(0, file.size, "tokenizer")
        finally:
            file.close()

    def close(self) -> None:
        """Closes the files."""
        self._file.close()

    def _check_names(self) -> None:
        expected = {f"{name}.{part}" for name in self.manifest.linears for part in _PARTS}
        missing = sorted((expected | set(self.manifest.sums)) - set(self.extents))
        extra = sorted(set(self.extents) - set(self.manifest.sums))
        if missing or extra:
            kind = "is missing" if missing else "is not in the manifest"
            raise self._damaged((missing or extra)[0], f"it {kind}")
        for name, extent in self.extents.items():
            if extent.start % ALIGNMENT:
                raise self._damaged(name, f"it begins at byte {extent.start}, expected a multiple of 64")
            if name not in expected and (extent.dtype != "F32" or len(extent.shape) != 1):
                raise self._damaged(name, f"it is {extent.dtype} {list(extent.shape)}, expected F32 [n]")

    def _check_linear(self, name: str, entry: LinearEntry) -> None:
        (num_outputs, num_inputs), group = entry.shape, entry.group
        if entry.bits not in (4, 8) or min(num_outputs, num_inputs, group) < 1 or num_inputs % group:
            raise self._damaged(name, "its bits, shape or group in the manifest contradict each other")
        panels = num_panels(num_outputs)
        stream = self.extents[f"{name}.stream"].num_bytes
        expected = {
            "stream": (stream,),
            "scales": (panels, num_inputs // group, PANEL_ROWS),
            "kept": (panels,),
        }
        for part, dtype in _PARTS.items():
            extent = self.extents[f"{name}.{part}"]
            if extent.dtype != dtype or extent.shape != expected[part]:
                raise self._damaged(
                    f"{name}.{part}",
                    f"it is {extent.dtype} {list(extent.shape)}, expected {dtype} {list(expected[part])}",
                )

    def _damaged(self, name: str, what: str) -> FormatError:
        return FormatError(
            f"{self.path / WEIGHTS_FILE}: tensor {name!r:.100}: {what}; the file is damaged, fetch it again"
        )


def _check_files(path: Path, files: dict[str, FileEntry]) -> None:
    if not {WEIGHTS_FILE, TOKENIZER_FILE} <= set(files) or not all(map(is_plain_name, files)):
        raise FormatError(
            f"{path / MANIFEST_FILE}: lists files {sorted(files)!r:.100}, expected {WEIGHTS_FILE}, "
            f"{TOKENIZER_FILE} and others of this folder"
        )


def _check_size(file: BinaryFile, entry: FileEntry) -> None:
    if file.size != entry.num_bytes:
        raise FormatError(
            f"{file.path}: {file.size} bytes, the manifest says {entry.num_bytes}; it is truncated or of "
            "another checkpoint, fetch the folder again"
        )
