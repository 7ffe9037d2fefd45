"""Arrays of .npy files from outside: mapped, their kind and size checked first. No pickle; knows no rows."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import FormatError, InputError


def read_matrix(option: str, path: Path, kinds: str, holds: str) -> NDArray[Any]:
    """The matrix [N, D] of a .npy file, mapped read-only; `kinds` are dtype kinds such as "f" or "iu".

    Raises InputError naming `option` for another shape or kind, FormatError for a file that is no .npy array.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for its writer
            raise InputError(f"{option}: {path} is not a regular file; give the path of a .npy file")
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InputError(f"{option}: cannot read {path}: {error.strerror or error}; check the path") from None
    except (
        ValueError,
        SyntaxError,
        TypeError,
        OverflowError,
        EOFError,
        MemoryError,
        RecursionError,
    ) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise FormatError(
            f"{option}: {path} is no sound .npy array: {reason}; write it with numpy.save"
        ) from None
    if not isinstance(found, np.ndarray):
        found.close()  # an archive of several arrays
        raise FormatError(
            f"{option}: {path} is an .npz archive, expected one array; write it with numpy.save"
        )
    if found.ndim != 2 or found.dtype.kind not in kinds or found.dtype.itemsize > 8 or 0 in found.shape:
        raise InputError(
            f"{option}: {path} holds {found.dtype} of shape {found.shape}, expected {holds} in N rows of D "
            "columns"
        )
    return found
