"""What every result says of itself (machine, versions, commit, foreign load) and where it is written."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
_PACKAGES = ("adtrie", "numpy", "tokenizers")


def describe() -> dict[str, Any]:
    """Processor, cores, memory, versions and commit, as JSON-ready values."""
    return {
        "processor": _cpu_field("model name") or platform.processor() or platform.machine(),
        # A name may hide the generation.
        "model": f"family {_cpu_field('cpu family')} model {_cpu_field('model')}",
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "l3_cache": _cpu_field("cache size"),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in _PACKAGES},
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


class ForeignLoad:
    """Share of the machine's processor time that others took, measured between two readings of /proc/stat.

    pids: children that still run and are no others.
    """

    def __init__(self, pids: Iterable[int] = ()) -> None:
        self._pids = tuple(pids)
        self._start = _busy_seconds(self._pids)

    def share(self) -> float:
        """Foreign busy share since the start, 0 to 1; above 0.05 a result is not to be trusted."""
        now = _busy_seconds(self._pids)
        busy, own, total = (after - before for after, before in zip(now, self._start, strict=True))
        return min(1.0, max(0.0, busy - own) / max(total, 1e-9))  # their ticks are not read at one moment


def read(name: str) -> dict[str, Any]:
    """What benchmarks/results/NAME.json holds beside the machine, nothing if there is none."""
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    found.pop("machine", None)
    return found


def write(name: str, result: dict[str, Any]) -> Path:
    """Writes benchmarks/results/NAME.json with the machine's description in front; returns its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": describe(), **result}, indent=1) + "\n")
    return path


def _busy_seconds(pids: Iterable[int] = ()) -> tuple[float, float, float]:
    """(busy of all processes, own with ended children and `pids`, all) in processor seconds."""
    fields = [int(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    ticks = os.sysconf("SC_CLK_TCK")
    idle = fields[3] + fields[4]
    own = os.times()
    return (
        (sum(fields) - idle) / ticks,
        own.user
        + own.system
        + own.children_user
        + own.children_system
        + sum(_process_ticks(pid) for pid in pids) / ticks,
        sum(fields) / ticks,
    )


def _process_ticks(pid: int) -> int:
    """User and system ticks of a process with all its threads, 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def _cpu_field(name: str) -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        field, _, value = line.partition(":")
        if field.strip() == name:
            return value.strip()
    return ""


def commit() -> str:
    """The commit of the checkout, with -dirty where files changed that benchmarks do not write themselves."""
    name = _git("describe", "--always", "--exclude=*").stdout.strip()
    written = (":(exclude)benchmarks/results", ":(exclude)README.md")
    changed = _git("diff", "--quiet", "HEAD", "--", ".", *written).returncode != 0
    return f"{name}-dirty" if name and changed else name or "unknown"


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=False, capture_output=True, text=True)
