"""How many threads this process may use. Knows nothing else."""

from __future__ import annotations

import math
import os
from pathlib import Path

from adtrie.errors import InputError

_CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def default_threads() -> int:
    """ADTRIE_THREADS, else the processors this process may run on, capped by the cgroup's quota."""
    asked = os.environ.get("ADTRIE_THREADS")
    if asked:
        if not asked.isdecimal() or not 1 <= int(asked) <= 256:
            raise InputError(f"ADTRIE_THREADS: expected an integer from 1 to 256, got {asked!r:.60}")
        return int(asked)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(available, _quota(), 256))


def _quota() -> int:
    try:
        quota, period = _CGROUP_LIMIT.read_text().split()
        return max(1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no cgroup v2, or "max": no limit
        return 256
