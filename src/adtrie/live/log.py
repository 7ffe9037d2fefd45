"""The append-only file of changes: a header, then records that are checked one by one. Knows no change.

Header: magic "ADTRIELG", format u32, length u32 and CRC-32 u32 of a JSON object; the object. Each record:
mark, kind u32, version u64, length u32 and CRC-32 u32 of the payload, CRC-32 u32 of these 24 bytes; payload.
Little endian. A record that is cut short at the end of the file was never acknowledged and is left out; one
that is damaged while a sound one follows is an error.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from adtrie.errors import CatalogueError, FormatError, InputError

MAGIC, FORMAT = b"ADTRIELG", 1
CHANGES, ROLLBACK = 0, 1  # kinds of records
MAX_PAYLOAD_BYTES = 64 << 20
_HEADER = struct.Struct("<8sIII")
_MARK = b"\xadCH\n"
_RECORD = struct.Struct("<4sIQII")
_CRC = struct.Struct("<I")
RECORD_BYTES = _RECORD.size + _CRC.size  # before the payload
Sync = Literal["always", "never"] | float  # a number: seconds that may pass between two


@dataclass(frozen=True)
class Record:
    """One record: its place in the file, and its payload."""

    version: int
    kind: int
    payload: bytes
    offset: int

    @property
    def end(self) -> int:
        """First byte after the record."""
        return self.offset + RECORD_BYTES + len(self.payload)


def write_header(path: Path, about: dict[str, Any]) -> None:
    """A new file without records; it appears complete or not at all. Raises CatalogueError."""
    text = json.dumps(about, separators=(",", ":")).encode()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(_HEADER.pack(MAGIC, FORMAT, len(text), zlib.crc32(text)) + text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CatalogueError(
            f"{path}: cannot write: {error.strerror}; check the folder and free space"
        ) from None


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_header(file: IO[bytes], where: str) -> tuple[dict[str, Any], int]:
    """What the file says of itself, and where its records begin. Raises FormatError."""
    prelude = file.read(_HEADER.size)
    if len(prelude) == _HEADER.size:
        magic, version, length, crc = _HEADER.unpack(prelude)
        if magic == MAGIC and version == FORMAT and length <= MAX_PAYLOAD_BYTES:
            text = file.read(length)
            if len(text) == length and zlib.crc32(text) == crc:
                with contextlib.suppress(ValueError, RecursionError):
                    about = json.loads(text)
                    if isinstance(about, dict):
                        return about, _HEADER.size + length
    raise FormatError(f"{where}: not a log of changes, or its header is damaged; restore the file")


def read_records(file: IO[bytes], offset: int, where: str) -> Iterator[Record]:
    """The sound records from `offset` on, up to the end or to one that is cut short.

    Raises FormatError when a damaged record is followed by a sound one.
    """
    size = os.fstat(file.fileno()).st_size
    while (record := _read(file, offset, size)) is not None:
        yield record
        offset = record.end
    if offset < size:
        file.seek(offset)
        rest = file.read(size - offset)
        at = rest.find(_MARK, 1)
        while at >= 0:
            if _read(file, offset + at, size) is not None:
                raise FormatError(
                    f"{where}: damaged at byte {offset}, with sound changes after it; restore the file, "
                    f"or cut it to {offset} bytes to give up the changes from there on"
                )
            at = rest.find(_MARK, at + 1)


def read_record(file: IO[bytes], offset: int, where: str) -> Record:
    """The record at `offset`. Raises FormatError when it is not sound (any more)."""
    record = _read(file, offset, os.fstat(file.fileno()).st_size)
    if record is None:
        raise FormatError(f"{where}: damaged at byte {offset}; restore the file")
    return record


def _read(file: IO[bytes], offset: int, size: int) -> Record | None:
    """The record at `offset`, None unless all of it is there and sound."""
    file.seek(offset)
    head = file.read(RECORD_BYTES)
    if len(head) < RECORD_BYTES or _CRC.unpack(head[-4:])[0] != zlib.crc32(head[:-4]):
        return None
    mark, kind, version, length, crc = _RECORD.unpack(head[:-4])
    if mark != _MARK or length > min(MAX_PAYLOAD_BYTES, size - offset - RECORD_BYTES):
        return None
    payload = file.read(length)
    if len(payload) < length or zlib.crc32(payload) != crc:
        return None
    return Record(version, kind, payload, offset)


class LogWriter:
    """Appends records to a file that has a header; cuts off what is behind `end` first."""

    def __init__(self, path: Path, end: int, sync: Sync) -> None:
        self.path, self.policy, self._end = path, check_sync(sync), end
        self._later: threading.Timer | None = None
        try:
            self._file = open(path, "r+b", buffering=0)  # noqa: SIM115 - closed by close()
            self._file.truncate(end)
            os.fsync(self._file.fileno())
        except OSError as error:
            raise CatalogueError(f"{path}: cannot write: {error.strerror}; check the folder") from None

    def append(self, version: int, kind: int, payload: bytes) -> None:
        """Writes a record, not yet synced. Raises CatalogueError without room; nothing is left then."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise InputError(
                f"changes of {len(payload)} bytes, expected at most {MAX_PAYLOAD_BYTES}; make them in parts"
            )
        head = _RECORD.pack(_MARK, kind, version, len(payload), zlib.crc32(payload))
        data = memoryview(head + _CRC.pack(zlib.crc32(head)) + payload)
        try:
            self._file.seek(self._end)
            written = 0
            while written < len(data):
                written += self._file.write(data[written:]) or 0
        except OSError as error:
            with contextlib.suppress(OSError):  # what stays is no whole record, and written over
                self._file.truncate(self._end)
            raise CatalogueError(
                f"{self.path}: cannot write: {error.strerror}; nothing was changed, check free space"
            ) from None
        self._end += len(data)

    def sync(self, force: bool = False) -> None:
        """What was appended survives a loss of power, as the policy wants it. Raises CatalogueError."""
        if not force and self.policy != "always":
            if isinstance(self.policy, float) and self._later is None:
                self._later = threading.Timer(self.policy, self._sync_later)
                self._later.daemon = True
                self._later.start()
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise CatalogueError(
                f"{self.path}: cannot sync: {error.strerror}; the last changes may not survive, open it again"
            ) from None

    def _sync_later(self) -> None:
        self._later = None  # first: what is appended from here on has a timer of its own
        with contextlib.suppress(
            OSError, ValueError
        ):  # closed meanwhile; a disk that fails shows at the next
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Syncs and closes the file."""
        if self._later is not None:
            self._later.cancel()
        try:
            self.sync(force=True)
        finally:
            self._file.close()


def check_sync(sync: Any) -> Sync:
    """The policy. Raises InputError unless it is always, never or a number of seconds."""
    if sync in ("always", "never"):
        return "always" if sync == "always" else "never"
    if isinstance(sync, bool) or not isinstance(sync, int | float) or not 0 < sync <= 3600:
        raise InputError(f"sync: expected always, never or 0 to 3600 seconds, got {sync!r:.60}")
    return float(sync)
