"""Finished pieces of a long run on disk: each with its hash, so that only whole ones of the same run count.

Knows bytes and arrays, not what they mean.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from adtrie.errors import AdtrieError, FormatError, InputError

JOURNAL = "journal.json"

Arrays = Mapping[str, NDArray[Any]]


class _Journal(msgspec.Struct, forbid_unknown_fields=True):
    run: str  # identity of everything that decides the bytes
    pieces: dict[str, str]  # name -> sha256 hex


class WorkFolder:
    """A folder of named pieces of the run `run`.

    A piece is listed only once it is whole; one whose bytes do not have the listed hash is forgotten, so an
    interruption or a damaged disk costs that piece and never its correctness. Threads may share one.
    """

    def __init__(self, path: Path, run: str, resume: bool) -> None:
        """Raises InputError for a folder of another run, or one of this run unless `resume`."""
        self.path, self._lock = path, Lock()
        self._journal = _Journal(run, {})
        found = self._read_journal()
        if found is None:
            _refuse_foreign(path)
        elif not resume:
            raise InputError(
                f"{path}: holds an unfinished run; continue it with --resume, or delete the folder"
            )
        elif found.run != run:
            raise InputError(
                f"{path}: holds an unfinished run with another model, texts, settings or version; "
                "give the same ones, or delete the folder to start over"
            )
        else:
            self._journal = found

    def load_bytes(self, name: str) -> bytes | None:
        """The piece, None where it is not finished or not whole."""
        listed = self._journal.pieces.get(name)
        if listed is None:
            return None
        try:
            data = (self.path / name).read_bytes()
        except OSError:
            data = b""
        if hashlib.sha256(data).hexdigest() == listed:
            return data
        self.forget(name)
        return None

    def save_bytes(self, name: str, data: bytes) -> None:
        """Stores a finished piece. Raises AdtrieError when the disk refuses; earlier pieces stay."""
        self._write(name, data)
        digest = hashlib.sha256(data).hexdigest()
        with self._lock:
            self._journal.pieces[name] = digest
            self._write(JOURNAL, msgspec.json.encode(self._journal))

    def load(self, name: str) -> dict[str, NDArray[Any]] | None:
        """The arrays of a piece, None where it is not finished or not whole."""
        data = self.load_bytes(name)
        try:
            return None if data is None else load(data)
        except (SafetensorError, ValueError) as error:
            raise FormatError(f"{self.path / name}: not written by this program ({error})") from None

    def save(self, name: str, arrays: Arrays) -> None:
        """Stores arrays as a finished piece."""
        self.save_bytes(name, save({key: np.ascontiguousarray(value) for key, value in arrays.items()}))

    def has(self, name: str) -> bool:
        """Whether the piece is listed; `load` says whether it is whole."""
        return name in self._journal.pieces

    def forget(self, name: str) -> None:
        """Removes a piece."""
        with self._lock:
            if self._journal.pieces.pop(name, None) is not None:
                self._write(JOURNAL, msgspec.json.encode(self._journal))
        (self.path / name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Deletes the folder with all pieces: the run is done."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _write(self, name: str, data: bytes) -> None:
        target, part = self.path / name, self.path / f"{name}.part"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # Not synced: a piece torn by a power cut does not have its hash.
            part.write_bytes(data)
            os.replace(part, target)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise AdtrieError(
                f"{target}: cannot be written ({error.strerror or error}); what is finished stays, "
                "make room and continue with --resume"
            ) from None

    def _read_journal(self) -> _Journal | None:
        path = self.path / JOURNAL
        try:
            return msgspec.json.decode(path.read_bytes(), type=_Journal)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise FormatError(f"{path}: unreadable ({error}); delete {self.path} to start over") from None


def _refuse_foreign(path: Path) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path}: exists and is no folder of an unfinished run; move it away")
