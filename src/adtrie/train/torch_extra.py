"""The one place where torch is asked for: a missing extra ends in the install line, not in a traceback."""

from __future__ import annotations

import os
from importlib.util import find_spec

from adtrie.errors import AdtrieError

INSTALL_LINE = "pip install 'adtrie[train]'"


def prepare_torch() -> None:
    """To be called before torch is imported. Raises AdtrieError with the install line if it is not there."""
    if find_spec("torch") is None:
        raise AdtrieError(f"training needs torch, which is not installed; install it with: {INSTALL_LINE}")
    # Waiting threads that spin take the cores from those that work when anything else runs on the machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
