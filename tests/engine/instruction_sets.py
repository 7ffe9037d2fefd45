"""The kernel tables that this machine can run."""

from __future__ import annotations

from adtrie import _core

ISAS = _core.isas()
