"""The safetensors container: its directory read with bounds, and written. Knows no tensor's meaning.

Stricter than the format asks: duplicate keys, holes and overlaps are refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from adtrie.errors import FormatError
from adtrie.format.binary_file import BinaryFile
from adtrie.format.json_text import parse_json_object

MAX_HEADER_BYTES = 100_000_000
MAX_DIMS = 8
MAX_DIMENSION = 1 << 40
LENGTH_BYTES = 8  # of the header's length at the start of the file


@dataclass(frozen=True)
class Extent:
    """Where a tensor lies: `dtype` as in F16, row-major shape, first byte of the file and the one after."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def num_bytes(self) -> int:
        """Bytes it takes."""
        return self.end - self.start


@dataclass(frozen=True)
class Directory:
    """What a file holds: extents by tensor name in the order of the file; the data begins at `start`."""

    start: int
    extents: Mapping[str, Extent]


def read_directory(file: BinaryFile, item_bytes: Mapping[str, int]) -> Directory:
    """The directory of `file`; the tensors fill it without holes to its end.

    item_bytes: bytes of one value by dtype that is accepted. Raises FormatError naming file and tensor.
    """
    size = int.from_bytes(file.read(0, LENGTH_BYTES, "header length"), "little")
    if size > MAX_HEADER_BYTES or LENGTH_BYTES + size > file.size:
        raise _damaged(file, f"header length {size} exceeds the file ({file.size} bytes) or the limit")
    raw = file.read(LENGTH_BYTES, size, "header")
    if not raw.startswith(b"{"):
        raise _damaged(file, "the header does not start with '{'")
    header = parse_json_object(raw, f"{file.path}, header")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(file, "__metadata__ must map strings to strings")
    start = LENGTH_BYTES + size
    entries = [(name, _extent(file, name, entry, item_bytes, start)) for name, entry in header.items()]
    entries.sort(key=lambda item: (item[1].start, item[1].end))
    _check_filled(file, entries, start)
    return Directory(start, dict(entries))


def _extent(
    file: BinaryFile, name: str, entry: Any, item_bytes: Mapping[str, int], data_start: int
) -> Extent:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _damaged(file, f"entry of tensor {name!r} must hold exactly dtype, shape and data_offsets")
    dtype = entry["dtype"]
    if not isinstance(dtype, str) or dtype not in item_bytes:
        raise FormatError(
            f"{file.path}: tensor {name!r} has dtype {dtype!r:.40}; supported: {', '.join(item_bytes)}; "
            "convert the checkpoint to one of them"
        )
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _naturals(shape) or len(shape) > MAX_DIMS or not _naturals(offsets) or len(offsets) != 2:
        raise _damaged(file, f"tensor {name!r} has a shape or offsets that are not non-negative integers")
    num_bytes = math.prod(shape) * item_bytes[dtype]  # Python integers do not wrap
    if offsets[1] - offsets[0] != num_bytes:
        raise _damaged(
            file, f"tensor {name!r} of shape {shape} needs {num_bytes} bytes, offsets say {offsets}"
        )
    return Extent(dtype, tuple(shape), data_start + offsets[0], data_start + offsets[1])


def _check_filled(file: BinaryFile, entries: Iterable[tuple[str, Extent]], position: int) -> None:
    for name, extent in entries:
        if extent.start != position:
            kind = "overlaps the one before" if extent.start < position else "leaves a hole before it"
            raise _damaged(file, f"tensor {name!r} at byte {extent.start} {kind} (expected {position})")
        position = extent.end
    if position != file.size:
        raise _damaged(
            file,
            f"the tensors end at byte {position}, the file at {file.size} (truncated or appended to)",
        )


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v <= MAX_DIMENSION for v in values)


def _damaged(file: BinaryFile, message: str) -> FormatError:
    return FormatError(f"{file.path}: {message}; the file is damaged, fetch it again")


def encode_directory(extents: Mapping[str, Extent], start: int) -> bytes:
    """The first `start` bytes of a file whose data begins there; spaces fill the header.

    Raises ValueError when they do not hold it.
    """
    header = {
        name: {
            "dtype": extent.dtype,
            "shape": list(extent.shape),
            "data_offsets": [extent.start - start, extent.end - start],
        }
        for name, extent in extents.items()
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    room = start - LENGTH_BYTES
    if len(text) > room:
        raise ValueError(f"a header of {len(text)} bytes does not fit {room}")
    return room.to_bytes(LENGTH_BYTES, "little") + text.ljust(room)
