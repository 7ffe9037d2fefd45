"""The kernel tables that this machine can run."""

from __future__ import annotations

from adtrie import _core


def available(name: str) -> bool:
    try:
        return bool(_core.isa(name))
    except ValueError:
        return False


ISAS = [name for name in ("scalar", "avx2", "avx512", "avx512bf16") if available(name)]
