"""The one place where torch is asked for: a missing extra ends in the install line, not in a traceback."""

from __future__ import annotations

from importlib.util import find_spec

from adtrie.errors import AdtrieError

INSTALL_LINE = "pip install 'adtrie[train]'"


def require_torch() -> None:
    """Raises AdtrieError with the install line unless torch can be imported."""
    if find_spec("torch") is None:
        raise AdtrieError(f"training needs torch, which is not installed; install it with: {INSTALL_LINE}")
