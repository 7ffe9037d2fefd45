"""What this machine is and allows: its name for caches, its second-level cache, how busy others keep it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_CACHE = Path("/sys/devices/system/cpu/cpu0/cache")
_USUAL_NEAR_BYTES = 256 << 10


def processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def near_bytes() -> int:
    """Bytes of a core's second-level cache that a stage may plan with: three quarters of it."""
    for index in sorted(_CACHE.glob("index*")):
        try:
            level, size = (index / "level").read_text().strip(), (index / "size").read_text().strip()
        except OSError:
            continue
        if level == "2" and size.endswith("K") and size[:-1].isdecimal():
            return int(size[:-1]) * 1024 * 3 // 4
    return _USUAL_NEAR_BYTES


class OtherLoad:
    """Share of the machine's processor time that other processes take, from now on."""

    def __init__(self) -> None:
        self._start = _seconds()

    def share(self) -> float:
        """0 to 1; 0.0 where the system does not tell."""
        busy, own, total = (now - before for now, before in zip(_seconds(), self._start, strict=True))
        return max(0.0, busy - own) / total if total > 0 else 0.0


def _seconds() -> tuple[float, float, float]:
    """(busy of all processes, own, all) in processor seconds."""
    try:
        fields = [int(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    except (OSError, ValueError, IndexError):
        return 0.0, 0.0, 0.0
    ticks, own = os.sysconf("SC_CLK_TCK"), os.times()
    return (
        (sum(fields) - sum(fields[3:5])) / ticks,
        own.user + own.system,
        sum(fields) / ticks,
    )
