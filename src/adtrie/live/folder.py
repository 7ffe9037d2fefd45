"""The folder of a live catalogue: which files it holds and who may write it.

`base-N.adtrie` is the whole catalogue at version N, `changes-N.log` the versions after N, one record each.
The first base and log are of version 0; compaction adds later ones. Knows no content of a change.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterable
from pathlib import Path

from adtrie.errors import CatalogueError
from adtrie.live.log import write_header

_NAME = re.compile(r"(base|changes)-(\d{12})\.(adtrie|log)")


def base_path(folder: Path, version: int) -> Path:
    """The snapshot of a version."""
    return folder / f"base-{version:012d}.adtrie"


def log_path(folder: Path, version: int) -> Path:
    """The log of the versions after `version`."""
    return folder / f"changes-{version:012d}.log"


def start_log(folder: Path, version: int, pauses: Iterable[str]) -> Path:
    """A log without records for what follows `version`, which has these pauses."""
    path = log_path(folder, version)
    if not path.exists():
        write_header(path, {"after": version, "pauses": list(pauses)})
    return path


def versions_of(folder: Path, kind: str) -> list[int]:
    """Versions that have a file of a kind (base or changes), ascending. Raises CatalogueError."""
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise CatalogueError(
            f"{folder}: cannot open: {error.strerror}; make it with `adtrie change --create`"
        ) from None
    found = [match for name in names if (match := _NAME.fullmatch(name)) is not None]
    return sorted(int(match[2]) for match in found if match[1] == kind)


def is_live(path: Path) -> bool:
    """Whether a folder is that of a live catalogue."""
    return path.is_dir() and bool(versions_of(path, "base"))


class Lock:
    """The right to change a folder, of one process at a time. Raises CatalogueError when another has it."""

    def __init__(self, folder: Path) -> None:
        path = folder / "lock"
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise CatalogueError(f"{path}: cannot write: {error.strerror}; check the folder") from None
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._handle)
            raise CatalogueError(
                f"{folder}: another process changes this catalogue (process {holder}); "
                "one may at a time, others open it with write=False"
            ) from None
        os.truncate(self._handle, 0)
        os.pwrite(self._handle, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Gives the right back; the end of the process does too."""
        os.close(self._handle)


def remove_leftovers(folder: Path) -> None:
    """Deletes unfinished files of writers that were killed; only the holder of the lock may."""
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            path.unlink()


def prune(folder: Path, oldest: int) -> None:
    """Deletes the bases and logs of versions before `oldest`, which has both. Maps of open readers stay."""
    for version in versions_of(folder, "changes"):
        if version < oldest:
            log_path(folder, version).unlink(missing_ok=True)
    for version in versions_of(folder, "base"):
        if version < oldest:
            base_path(folder, version).unlink(missing_ok=True)
