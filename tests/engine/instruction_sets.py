"""The kernel tables that this machine can run."""

from __future__ import annotations

from adtrie import _core


def available(name: str) -> bool:
    try:
        return bool(_core.isa(name))
    except ValueError:
        return False


NAMES = ("scalar", "avx2", "avx512", "avx512vbmi", "avx512bf16")
ISAS = [name for name in NAMES if available(name)]
