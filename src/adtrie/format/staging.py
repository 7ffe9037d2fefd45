"""A folder that appears complete or not at all: written beside its place, synced, moved in one step.

Out of the folder `name` is written as `.name.partial`; whoever holds its lock is alive, so what a killed
process left is recognised and cleared. Knows nothing of what the files hold.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from adtrie.errors import ModelError

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.ENOTSUP)


class Staging:
    """A folder under construction at `path`, locked; `publish` moves it to `out`, `discard` removes it."""

    def __init__(self, out: Path) -> None:
        """Raises ModelError when the place cannot be written, or another process is writing it."""
        self.out = Path(os.path.realpath(out))
        if not self.out.name:
            raise ModelError(f"{out}: is no folder that can be written; give the path of a new one")
        self.path, self._old = _partial(self.out), _old(self.out)
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked()
            self._recover()
            for left in self.path.iterdir():
                _remove(left)
        except OSError as error:
            raise write_error(out, error) from None

    def _locked(self) -> int:
        """A descriptor that holds the lock of the folder at `path`, which is made if need be."""
        while True:
            self.path.mkdir(exist_ok=True)
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), os.stat(self.path)):
                    return descriptor
            except FileNotFoundError:
                pass  # published between opening and locking
            except BlockingIOError:
                os.close(descriptor)
                raise ModelError(
                    f"{self.out}: another process is writing it; wait for it or choose another folder"
                ) from None
            os.close(descriptor)

    def _recover(self) -> None:
        """Undoes what a process killed between the two renames of `_replace` left."""
        if self._old.exists():
            if self.out.exists():
                _remove(self._old)
            else:
                os.rename(self._old, self.out)

    def publish(self) -> None:
        """Moves the folder to `out`, in exchange for what is there; that is removed. Raises ModelError."""
        try:
            sync_folder(self.path)
            if self.out.exists():
                self._replace()
            else:
                os.rename(self.path, self.out)
            sync_folder(self.out.parent)
        except OSError as error:
            raise write_error(self.out, error) from None
        finally:
            os.close(self._lock)

    def _replace(self) -> None:
        # After the exchange the old folder lies where the next writer would begin; its lock keeps that out.
        old = os.open(self.out, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(old, fcntl.LOCK_EX)
            if _exchange(self.path, self.out):
                _remove(self.path)
            else:
                os.rename(self.out, self._old)
                os.rename(self.path, self.out)
                _remove(self._old)
        finally:
            os.close(old)

    def discard(self) -> None:
        """Removes what was written; what is at `out` stays."""
        _remove(self.path)
        os.close(self._lock)


def unfinished(out: Path) -> str | None:
    """What a writer of `out` has left beside it, in words; None for nothing."""
    if not out.name:
        return None
    if os.path.isdir(_old(out)):  # unlike Path.is_dir, never raises for odd names
        return f"a writer was stopped while it replaced it; the earlier one is whole in {_old(out)}"
    return "it is being written, or a writer was stopped" if os.path.isdir(_partial(out)) else None


def _partial(out: Path) -> Path:
    return out.with_name(f".{out.name}.partial")


def _old(out: Path) -> Path:
    return out.with_name(f".{out.name}.old")


def write_file(path: Path, fill: Callable[[int], None]) -> None:
    """A new file at `path` that `fill` writes to a descriptor; synced before this returns."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        fill(descriptor)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Writes all of `data` at `offset`, however many calls that takes."""
    left = memoryview(data).cast("B")
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written


def sync_folder(folder: Path) -> None:
    """A rename is only durable once its folder is synced."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_error(out: Path, error: OSError) -> ModelError:
    """The error of a checkpoint that cannot be written."""
    return ModelError(
        f"{out}: cannot write the checkpoint ({error.strerror or error}); check the folder and the free "
        "space; what was there before is as it was"
    )


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two folders in one step; False where the system or the file system cannot."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
