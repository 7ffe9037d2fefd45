"""One-file container of named arrays and a JSON description, written crash-safely and opened by memory map.

Layout, little endian: magic "ADTRIECT", version u32, header length u32, sha256 of the header; the header as
JSON: `meta` and a table of sections (name, dtype, length, offset from the first section, sha256); the
sections, each aligned to 64 bytes, to the end of the file. Knows no catalogue.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import CatalogueError, FormatError

MAGIC = b"ADTRIECT"
VERSION = 1
SMALL_BYTES = 32 << 20  # files up to this size are read whole and verified on opening
_PRELUDE = struct.Struct("<8sII32s")
_MAX_HEADER_BYTES = 1 << 20
_DTYPES = ("<u1", "<u2", "<u4", "<u8", "<i8", "<f4", "<f8")


@dataclass(frozen=True)
class Section:
    """Where one array lies: `offset` and `length` * itemsize in bytes of the file."""

    name: str
    dtype: str
    length: int
    offset: int
    sha256: str

    @property
    def end(self) -> int:
        """First byte after the section."""
        return self.offset + self.length * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Snapshot:
    """An open snapshot: `meta` as written, `arrays` read-only views of the file (mapped when it is large).

    Snapshots are immutable: replace one by writing a new file (rename keeps open maps valid), never in place.
    """

    path: str
    meta: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    sections: tuple[Section, ...]

    def verify(self) -> None:
        """Read everything and raise FormatError naming the first section whose checksum differs."""
        for section in self.sections:
            if _digest(self.arrays[section.name]) != section.sha256:
                raise FormatError(
                    f"{self.path}: section '{section.name}' is damaged (checksum differs); "
                    "copy it again or rebuild it with `adtrie index`"
                )


def _digest(array: NDArray[Any]) -> str:
    return hashlib.sha256(array.data.cast("B") if array.size else b"").hexdigest()


def _align(position: int) -> int:
    return -(-position // 64) * 64


def write_snapshot(path: str | Path, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write meta (JSON values) and one-dimensional arrays; the file appears complete or not at all.

    Raises CatalogueError when it cannot be written; an older file of that name then stays as it was.
    """
    flat = {
        name: np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for name, array in arrays.items()
    }
    header, sections = _header(dict(meta), flat)
    with _replacing(Path(path)) as file:
        file.write(_PRELUDE.pack(MAGIC, VERSION, len(header), hashlib.sha256(header).digest()))
        file.write(header)
        for section in sections:
            file.write(b"\0" * (section.offset - file.tell()))
            if section.length:
                file.write(flat[section.name].data.cast("B"))


def _header(meta: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> tuple[bytes, list[Section]]:
    """The header's bytes, and the sections with offsets from the start of the file."""
    sections, position = [], 0
    for name, array in arrays.items():
        sections.append(Section(name, _dtype_name(array.dtype), len(array), position, _digest(array)))
        position = _align(sections[-1].end)
    table = [[s.name, s.dtype, s.length, s.offset, s.sha256] for s in sections]
    header = json.dumps({"meta": meta, "sections": table}, separators=(",", ":")).encode()
    data = _align(_PRELUDE.size + len(header))
    return header, [Section(s.name, s.dtype, s.length, s.offset + data, s.sha256) for s in sections]


def _dtype_name(dtype: np.dtype[Any]) -> str:
    return f"<{dtype.kind}{dtype.itemsize}"


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Any]:
    """A temporary file in the same folder that is synced and renamed to `path`, or removed on any failure."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise CatalogueError(
            f"{path}: cannot write: {error.strerror}; check the folder and free space"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def is_snapshot(path: Path) -> bool:
    """Whether a file begins like a snapshot."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_snapshot(path: str | Path) -> Snapshot:
    """Open a snapshot; sizes are always checked, checksums when the file is at most 32 MiB (else `verify()`).

    Raises CatalogueError when it cannot be opened, FormatError when it is not a sound snapshot.
    """
    where = str(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for its writer
            raise CatalogueError(f"{where}: cannot open: not a regular file; give the path of a snapshot")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            meta, sections = _read_header(file, size, where)
            if size <= SMALL_BYTES:
                file.seek(0)
                data = np.frombuffer(file.read(size), dtype=np.uint8)
            else:
                data = np.memmap(file, dtype=np.uint8, mode="r").view(np.ndarray)
    except OSError as error:
        raise CatalogueError(
            f"{where}: cannot open: {error.strerror}; build it with `adtrie index`"
        ) from None
    if len(data) != size:
        raise FormatError(f"{where}: the file changed while it was read; open it again")
    arrays = {s.name: data[s.offset : s.end].view(np.dtype(s.dtype)) for s in sections}
    snapshot = Snapshot(where, meta, arrays, sections)
    if size <= SMALL_BYTES:
        snapshot.verify()
    return snapshot


def _read_header(file: Any, size: int, where: str) -> tuple[dict[str, Any], tuple[Section, ...]]:
    prelude = file.read(_PRELUDE.size)
    if len(prelude) < _PRELUDE.size or prelude[:8] != MAGIC:
        raise FormatError(f"{where}: not a catalogue snapshot (no '{MAGIC.decode()}' at its start)")
    _, version, length, digest = _PRELUDE.unpack(prelude)
    if version != VERSION:
        raise FormatError(
            f"{where}: snapshot version {version}, expected {VERSION}; rebuild it with `adtrie index`"
        )
    if length > min(_MAX_HEADER_BYTES, size - _PRELUDE.size):
        raise FormatError(f"{where}: header of {length} bytes in a file of {size}; truncated or damaged")
    header = file.read(length)
    if hashlib.sha256(header).digest() != digest:
        raise FormatError(f"{where}: damaged header (checksum differs); copy it again or rebuild it")
    try:
        content = json.loads(header)
        meta, table = content["meta"], content["sections"]
        sections = [Section(*row) for row in table]
        well_typed = isinstance(meta, dict) and all(_well_typed(s) for s in sections)
    except (ValueError, RecursionError, TypeError, KeyError):
        well_typed = False
    if not well_typed or len({s.name for s in sections}) != len(sections):
        raise FormatError(f"{where}: header without a sound section table; rebuild it with `adtrie index`")
    return meta, _placed(sections, _align(_PRELUDE.size + length), size, where)


def _well_typed(section: Section) -> bool:
    texts = (section.name, section.dtype, section.sha256)
    numbers = (section.length, section.offset)
    return (
        all(type(text) is str for text in texts)
        and all(type(number) is int and 0 <= number < 1 << 48 for number in numbers)
        and section.dtype in _DTYPES
    )


def _placed(sections: list[Section], data: int, size: int, where: str) -> tuple[Section, ...]:
    """Sections at their place in the file; they must follow each other without holes and fill it exactly."""
    placed, position, end = [], 0, data
    for section in sections:
        if section.offset != position:
            raise FormatError(f"{where}: section '{section.name}' at {section.offset}, expected {position}")
        placed.append(Section(section.name, section.dtype, section.length, position + data, section.sha256))
        end, position = placed[-1].end, _align(section.end)
    if end != size:
        raise FormatError(
            f"{where}: {size} bytes, its sections need {end}; truncated or overwritten, copy it again"
        )
    return tuple(placed)
