"""Bounded GGUF v3 reader: metadata, tensor directory, one tensor at a time.

Every count, length and extent is checked against the real file size before anything is allocated. Knows
neither model families nor tokenizers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adtrie.config import QuantizedMatrix
from adtrie.errors import FormatError
from adtrie.format.binary_file import BinaryFile
from adtrie.models.ggml_blocks import BLOCK_TYPES, BlockType, decode_blocks, quantized_matrix

MAX_HEADER_BYTES = 100 << 20
MAX_STRING_BYTES = 1 << 20
MAX_ARRAY_ITEMS = 1 << 21
MAX_KEYS = 1 << 12
MAX_TENSORS = 1 << 16
MAX_DIMS = 4
MAX_ALIGNMENT = 1 << 16

Value = int | float | bool | str | list[str] | NDArray[np.generic]

_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALAR_DTYPES = {
    **{code: np.dtype(text) for code, text in enumerate(("<u1", "<i1", "<u2", "<i2", "<u4", "<i4", "<f4"))},
    _BOOL: np.dtype("|u1"),
    **{code: np.dtype(text) for code, text in ((10, "<u8"), (11, "<i8"), (12, "<f8"))},
}
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


@dataclass(frozen=True)
class TensorInfo:
    """Where one tensor lies: `shape` row-major (outermost first), `start` from the begin of the file."""

    name: str
    shape: tuple[int, ...]
    block_type: BlockType
    start: int
    num_bytes: int


class _Cursor:
    """Reads header fields in order through a window of the file; never past its end or the header cap."""

    _WINDOW = 1 << 18

    def __init__(self, file: BinaryFile) -> None:
        self._file = file
        self._end = min(file.size, MAX_HEADER_BYTES)
        self._window = b""
        self._base = 0
        self.position = 0

    def take(self, num_bytes: int, what: str) -> bytes:
        """The next `num_bytes` bytes."""
        begin = self.position - self._base
        if begin + num_bytes > len(self._window):
            self._refill(num_bytes, what)
            begin = 0
        self.position += num_bytes
        return self._window[begin : begin + num_bytes]

    def _refill(self, num_bytes: int, what: str) -> None:
        if self.position + num_bytes > self._end:
            raise FormatError(
                f"{self._file.path}: {what} needs {num_bytes} bytes at {self.position}, but the header may "
                f"only reach {self._end}; the file is truncated or damaged"
            )
        size = min(max(num_bytes, self._WINDOW), self._end - self.position)
        self._window = self._file.read(self.position, size, what)
        self._base = self.position

    def u32(self, what: str) -> int:
        """Unsigned 32-bit integer."""
        return int(_U32.unpack(self.take(4, what))[0])

    def u64(self, what: str) -> int:
        """Unsigned 64-bit integer."""
        return int(_U64.unpack(self.take(8, what))[0])

    def count(self, what: str, limit: int, item_bytes: int) -> int:
        """A 64-bit count of items of at least `item_bytes` each: within `limit` and the bytes left."""
        number = self.u64(what)
        room = (self._end - self.position) // item_bytes
        if number > min(limit, room):
            raise FormatError(
                f"{self._file.path}: {what} is {number}, expected at most {min(limit, room)}; "
                "the file is truncated, damaged or hostile"
            )
        return number

    def string(self, what: str) -> str:
        """Length-prefixed UTF-8 string."""
        raw = self.take(self.count(f"length of {what}", MAX_STRING_BYTES, 1), what)
        return self._decode(raw, what)

    def strings(self, what: str, count: int) -> list[str]:
        """`count` strings in a row; those that lie whole in the window take the short way (3 x faster)."""
        texts: list[str] = []
        for _ in range(count):
            begin = self.position - self._base + 8
            if begin <= len(self._window):
                end = begin + _U64.unpack_from(self._window, begin - 8)[0]
                if end <= min(len(self._window), begin + MAX_STRING_BYTES):
                    texts.append(self._decode(self._window[begin:end], what))
                    self.position = self._base + end
                    continue
            texts.append(self.string(what))
        return texts

    def _decode(self, raw: bytes, what: str) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise FormatError(f"{self._file.path}: {what} is not UTF-8; the file is damaged") from None


class GgufFile:
    """An open GGUF file: `.metadata`, `.tensors` (by name) and `read`. Close it after use."""

    def __init__(self, path: Path) -> None:
        """Parses the header. Raises ModelError (cannot open) or FormatError (names file and field)."""
        self._file = BinaryFile(path)
        self.path = path
        try:
            self._parse()
        except BaseException:
            self._file.close()
            raise

    def _parse(self) -> None:
        cursor = _Cursor(self._file)
        self._check_magic(cursor)
        num_tensors = cursor.count("tensor count", MAX_TENSORS, 24)
        num_keys = cursor.count("metadata count", MAX_KEYS, 13)
        self.metadata: dict[str, Value] = {}
        for index in range(num_keys):
            key = cursor.string(f"metadata key {index}")
            if key in self.metadata:
                raise self._error(f"metadata key {key!r} occurs twice")
            self.metadata[key] = self._value(cursor, key)
        alignment = self._alignment()
        raw_infos = [self._raw_info(cursor, index) for index in range(num_tensors)]
        self.header_bytes = cursor.position
        self.tensors = self._place(raw_infos, _align(cursor.position, alignment), alignment)

    def _error(self, message: str) -> FormatError:
        return FormatError(f"{self.path}: {message}; the file is damaged, convert or fetch it again")

    def _check_magic(self, cursor: _Cursor) -> None:
        if cursor.take(4, "magic") != b"GGUF":
            raise FormatError(f"{self.path}: expected a GGUF file (magic 'GGUF'); this is another format")
        version = cursor.u32("version")
        if version != 3:
            raise FormatError(
                f"{self.path}: GGUF version {version}, expected 3 little-endian; convert it with a newer tool"
            )

    def _value(self, cursor: _Cursor, key: str) -> Value:
        kind = cursor.u32(f"type of {key}")
        if kind == _STRING:
            return cursor.string(key)
        if kind == _ARRAY:
            return self._array(cursor, key)
        number = self._numbers(cursor, key, kind, 1)[0]
        if kind == _BOOL:
            return bool(number)
        return number.item()  # type: ignore[no-any-return]

    def _numbers(self, cursor: _Cursor, key: str, kind: int, count: int) -> NDArray[np.generic]:
        dtype = _SCALAR_DTYPES.get(kind)
        if dtype is None:
            raise self._error(f"metadata {key!r} has unknown value type {kind}")
        values = np.frombuffer(cursor.take(count * dtype.itemsize, key), dtype)
        if kind == _BOOL and values.size and int(values.max()) > 1:
            raise self._error(f"metadata {key!r} holds a boolean that is neither 0 nor 1")
        return values

    def _array(self, cursor: _Cursor, key: str) -> list[str] | NDArray[np.generic]:
        kind = cursor.u32(f"item type of {key}")
        if kind == _ARRAY:
            raise self._error(f"metadata {key!r} is an array of arrays, which is not supported")
        if kind == _STRING:
            length = cursor.count(f"length of {key}", MAX_ARRAY_ITEMS, 8)
            return cursor.strings(key, length)
        item_bytes = _SCALAR_DTYPES[kind].itemsize if kind in _SCALAR_DTYPES else 1
        length = cursor.count(f"length of {key}", MAX_ARRAY_ITEMS, item_bytes)
        return self._numbers(cursor, key, kind, length)

    def _alignment(self) -> int:
        alignment = self.metadata.get("general.alignment", 32)
        if type(alignment) is not int or not 8 <= alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
            raise self._error(
                f"general.alignment is {alignment!r}, expected a power of two in 8..{MAX_ALIGNMENT}"
            )
        return alignment

    def _raw_info(self, cursor: _Cursor, index: int) -> tuple[str, tuple[int, ...], BlockType, int]:
        name = cursor.string(f"name of tensor {index}")
        num_dims = cursor.u32(f"number of dimensions of {name}")
        if not 1 <= num_dims <= MAX_DIMS:
            raise self._error(f"tensor {name!r} has {num_dims} dimensions, expected 1..{MAX_DIMS}")
        # The file lists the fastest-moving dimension first.
        shape = tuple(cursor.u64(f"dimension of {name}") for _ in range(num_dims))[::-1]
        kind = cursor.u32(f"type of {name}")
        block_type = BLOCK_TYPES.get(kind)
        if block_type is None:
            known = ", ".join(entry.name for entry in BLOCK_TYPES.values())
            raise FormatError(f"{self.path}: tensor {name!r} has type id {kind}; supported types: {known}")
        return name, shape, block_type, cursor.u64(f"offset of {name}")

    def _place(
        self, infos: list[tuple[str, tuple[int, ...], BlockType, int]], data_start: int, alignment: int
    ) -> dict[str, TensorInfo]:
        """Tensor infos by name; the tensors must follow each other with nothing but padding between."""
        tensors: dict[str, TensorInfo] = {}
        expected = 0
        for name, shape, block_type, offset in infos:
            if name in tensors:
                raise self._error(f"tensor {name!r} occurs twice")
            num_bytes = self._num_bytes(name, shape, block_type)
            if offset != expected:
                raise self._error(f"tensor {name!r} lies at offset {offset}, expected {expected}")
            if data_start + offset + num_bytes > self._file.size:
                raise FormatError(
                    f"{self.path}: tensor {name!r} ends at byte {data_start + offset + num_bytes}, the file "
                    f"has {self._file.size}; it is truncated, fetch it again"
                )
            tensors[name] = TensorInfo(name, shape, block_type, data_start + offset, num_bytes)
            expected = _align(offset + num_bytes, alignment)
        if tensors and self._file.size > data_start + expected:
            raise self._error(f"{self._file.size - data_start - expected} bytes follow the last tensor")
        return tensors

    def _num_bytes(self, name: str, shape: tuple[int, ...], block_type: BlockType) -> int:
        elements = 1
        for size in shape:  # Python integers do not wrap
            elements *= size
        if elements == 0 or shape[-1] % block_type.elements:
            raise self._error(
                f"tensor {name!r} has shape {shape}; {block_type.name} rows hold a multiple of "
                f"{block_type.elements} values"
            )
        return elements // block_type.elements * block_type.num_bytes

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Row-major shape by tensor name."""
        return {name: info.shape for name, info in self.tensors.items()}

    def stored(self) -> dict[str, tuple[str, int]]:
        """Type and bytes of each tensor."""
        return {
            name: (info.block_type.name, info.block_type.size_of(info.shape))
            for name, info in self.tensors.items()
        }

    def read(self, name: str) -> NDArray[np.float32] | QuantizedMatrix:
        """Tensor `name`: QuantizedMatrix for 2-d Q4_0, Q4_1, Q8_0, else float32 of the tensor's shape.

        Raises FormatError when values or scales are not finite.
        """
        info = self.tensors[name]
        data = self._file.read(info.start, info.num_bytes, f"tensor {name!r}")
        matrix: QuantizedMatrix | None = None
        if len(info.shape) == 2:
            matrix = quantized_matrix(data, info.block_type, (info.shape[0], info.shape[1]))
        if matrix is not None:
            finite = np.isfinite(matrix.scales).all() and (
                matrix.mins is None or np.isfinite(matrix.mins).all()
            )
            if not finite:
                raise self._error(f"tensor {name!r} has a scale or minimum that is not finite")
            return matrix
        values = decode_blocks(data, info.block_type).reshape(info.shape)
        if not np.isfinite(values).all():
            raise self._error(f"tensor {name!r} holds NaN or infinity")
        return values

    def fingerprint(self) -> str:
        """sha256 hex identifying this file (header, size, samples of the data)."""
        return self._file.fingerprint(self.header_bytes)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _align(offset: int, alignment: int) -> int:
    return (offset + alignment - 1) // alignment * alignment
