"""Bounded reads from one regular file, by offset. Knows no format.

Bytes are read (pread), not mapped, except by `map`, and by `load` where memory is short: a file truncated by
somebody else while it is open then gives a FormatError instead of killing the process with SIGBUS.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import FormatError, ModelError

_SAMPLES = 64
_SAMPLE_BYTES = 4096
_CHUNK_BYTES = 1 << 20
_HUGE_PAGE_BYTES = 1 << 21
_MEMORY = Path("/proc/meminfo")
_CONTROL_GROUP = Path("/sys/fs/cgroup")


class BinaryFile:
    """A read-only regular file of known size; `read` either returns all bytes asked for or raises."""

    def __init__(self, path: Path) -> None:
        """Opens `path`. Raises ModelError when it is missing, unreadable or not a regular file."""
        self.path = path
        self._fd = -1
        try:
            # O_NONBLOCK: opening a FIFO must not hang; it has no effect on regular files.
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: cannot open model file ({error}); check the path") from None
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise ModelError(f"{path}: expected a regular file, got a directory, pipe or device")
        self.size = status.st_size

    def read(self, offset: int, num_bytes: int, what: str) -> bytes:
        """Exactly `num_bytes` bytes at `offset`; FormatError naming `what` when the file ends before."""
        if offset < 0 or num_bytes < 0 or offset + num_bytes > self.size:
            raise FormatError(
                f"{self.path}: {what} needs bytes {offset}..{offset + num_bytes}, the file has {self.size}; "
                "it is truncated or damaged, fetch it again"
            )
        parts: list[bytes] = []
        while num_bytes > 0:  # one pread returns at most 2 GiB
            part = self._pread(offset, min(num_bytes, 1 << 30), what)
            parts.append(part)
            offset += len(part)
            num_bytes -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _pread(self, offset: int, num_bytes: int, what: str) -> bytes:
        try:
            part = os.pread(self._fd, num_bytes, offset)
        except OSError as error:
            raise FormatError(f"{self.path}: reading {what} failed ({error})") from None
        if not part:
            raise FormatError(f"{self.path}: {what} vanished, the file was truncated while in use")
        return part

    def map(self) -> NDArray[np.uint8]:
        """The whole file, uint8[size], read-only, from the page cache; stays valid after `close`.

        For files that are replaced as a whole and never changed in place.
        """
        try:
            return np.frombuffer(mmap.mmap(self._fd, self.size, prot=mmap.PROT_READ), np.uint8)
        except (OSError, ValueError) as error:
            raise FormatError(f"{self.path}: cannot be mapped ({error})") from None

    def load(self) -> NDArray[np.uint8]:
        """The whole file, uint8[size], read-only, in memory of its own, in huge pages where there are any.

        From small pages, as those of a mapped file are, weights are read a sixth slower. A file that does not
        fit the memory that is free is mapped. Raises FormatError when it cannot be read.
        """
        if not 0 < self.size <= _available_memory():
            return self.map()
        try:
            held = mmap.mmap(-1, self.size + _HUGE_PAGE_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError:
            return self.map()
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):  # a kernel without them
                held.madvise(mmap.MADV_HUGEPAGE)
        memory = np.frombuffer(held, np.uint8)
        first = -memory.ctypes.data % _HUGE_PAGE_BYTES
        data = memory[first : first + self.size]
        for start, part in self._chunks():
            data[start : start + len(part)] = np.frombuffer(part, np.uint8)
        data.flags.writeable = False
        return data

    def sha256(self) -> str:
        """sha256 hex of all bytes."""
        digest = hashlib.sha256()
        for _, part in self._chunks():
            digest.update(part)
        return digest.hexdigest()

    def _chunks(self) -> Iterator[tuple[int, bytes]]:
        """All bytes, piece by piece, each with its offset."""
        for start in range(0, self.size, _CHUNK_BYTES):
            yield start, self.read(start, min(_CHUNK_BYTES, self.size - start), "content")

    def fingerprint(self, header_bytes: int) -> str:
        """sha256 hex over the size, the first `header_bytes` bytes and 64 slices of 4 KiB of the rest.

        Cheap, so it identifies a file among honest ones; it is not an integrity check.
        """
        digest = hashlib.sha256(f"{self.size} {header_bytes}\n".encode())
        digest.update(self.read(0, header_bytes, "header"))
        stride = max((self.size - header_bytes) // _SAMPLES, 1)
        for start in range(header_bytes, self.size, stride):
            digest.update(self.read(start, min(_SAMPLE_BYTES, stride, self.size - start), "tensor data"))
        return digest.hexdigest()

    def close(self) -> None:
        """Closes the file; further reads raise."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()


def _available_memory() -> int:
    """Bytes that can be taken without swapping; without limit where the system does not say."""
    try:
        found = re.search(r"^MemAvailable: +(\d+) kB$", _MEMORY.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return min(int(found[1]) << 10 if found else sys.maxsize, _left_to_the_group())


def _left_to_the_group() -> int:
    """Bytes below the limit of a container (control group, version 2); cached files count as left."""
    try:
        limit, used = (int((_CONTROL_GROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        stat = (_CONTROL_GROUP / "memory.stat").read_text()
    except (OSError, ValueError):  # no such group, or "max"
        return sys.maxsize
    found = re.search(r"^inactive_file (\d+)$", stat, re.MULTILINE)
    return max(limit - used + (int(found[1]) if found else 0), 0)
