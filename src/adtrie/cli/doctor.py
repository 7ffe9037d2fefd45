"""`adtrie doctor`: what this machine and this installation offer."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from adtrie import __version__
from adtrie.cli.options import JsonOption
from adtrie.cli.terminal import emit, emit_json, guarded
from adtrie.errors import InputError

NAME = "doctor"
EXAMPLE = "Example: adtrie doctor --json"
ENVIRONMENT = ("ADTRIE_ISA", "ADTRIE_THREADS", "ADTRIE_LOG", "ADTRIE_CACHE")


@guarded
def command(json: JsonOption = False) -> None:
    """Print instruction set, threads, cache sizes, versions, downloaded models and disk: for a bug report."""
    findings = examine()
    if json:
        emit_json(findings)
        return
    for name, value in findings.items():
        emit(f"{name:14} {_shown(value)}")


def examine() -> dict[str, object]:
    """All findings by name; what cannot be found out is null."""
    from adtrie import _core
    from adtrie.config import cache_dir
    from adtrie.engine.threads import default_threads

    cache = cache_dir()
    return {
        "adtrie": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "isa": _chosen_isa(),
        "isas": _core.isas(),
        "threads": default_threads(),
        "caches": _cache_sizes(Path("/sys/devices/system/cpu/cpu0/cache")),
        "versions": _versions(),
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        "cache_dir": str(cache),
        "models": _models(cache),
        "disk_free_gb": _disk_free(cache),
    }


def _chosen_isa() -> str:
    from adtrie import _core

    asked = os.environ.get("ADTRIE_ISA", "")
    try:
        return _core.isa(asked)
    except ValueError:
        raise InputError(
            f"ADTRIE_ISA: {asked!r} is unknown or cannot run on this machine; unset it"
        ) from None


def _cpu_name() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)


def _cache_sizes(folder: Path) -> dict[str, str]:
    """Size by level and kind of the first core's caches, as the kernel writes it."""
    sizes = {}
    for cache in sorted(folder.glob("index*")):
        try:
            level, kind, size = ((cache / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        sizes[f"L{level} {kind.lower()}"] = size
    return sizes


def _versions() -> dict[str, str | None]:
    names = ["numpy", "safetensors", "tokenizers", "msgspec", "typer", "rich", "scikit-learn", "pyarrow"]
    return {name: _version(name) for name in names}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _models(cache: Path) -> list[dict[str, object]]:
    return [
        {"file": str(path.relative_to(cache)), "bytes": path.stat().st_size}
        for path in sorted(cache.rglob("*.gguf"))
        if path.is_file()
    ]


def _disk_free(cache: Path) -> float | None:
    """GB free where the cache is, or would be: the nearest folder that exists."""
    for folder in (cache, *cache.parents):
        if folder.exists():
            return round(shutil.disk_usage(folder).free / 1e9, 1)
    return None


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {item if item is not None else '-'}" for name, item in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in value) or "-"
    return "-" if value is None else str(value)
