"""Imports go one way, and using adtrie never loads torch or scikit-learn."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "adtrie"
CORE = {"errors", "config"}
ANYTHING = None
# The part of the package -> the parts of ours it may import besides itself.
ALLOWED: dict[str, set[str] | None] = {
    "__init__": ANYTHING,
    "__main__": ANYTHING,
    "errors": set(),
    "config": {"errors"},
    "prompt": {"errors", "catalogue"},
    "format": CORE,
    "models": CORE | {"format"},
    "engine": CORE | {"_core", "format"},
    "compress": CORE | {"format", "models", "engine"},
    "calibration_texts": CORE | {"models", "prompt", "evaluate", "train", "compress"},
    "compression": CORE | {"format", "models", "train", "compress", "calibration_texts"},
    "catalogue": {"errors", "_trie"},
    "live": {"errors", "catalogue"},
    "search": CORE | {"catalogue"},
    "train": CORE | {"format", "models", "engine", "prompt", "catalogue", "evaluate"},
    "evaluate": ANYTHING,
    "request": {"errors", "catalogue", "search"},
    "lookup": CORE | {"catalogue", "search", "request"},
    "loaded": CORE | {"models", "engine", "prompt", "search", "request"},
    "question": CORE | {"catalogue", "models", "prompt", "search", "request", "lookup"},
    "frequent": CORE | {"catalogue", "models", "engine", "prompt"},
    "creative": CORE | {"models", "prompt", "search"},
    "concurrency": CORE
    | {"catalogue", "models", "engine", "prompt", "search", "request", "question", "creative"},
    "api": ANYTHING,
    "explain": ANYTHING,
    "explore": {"errors"},
    "demo": ANYTHING,
    "cli": ANYTHING,
}
HIGHEST = {"api", "cli", "demo", "explain"}  # nothing below may import these
FORBIDDEN = {"torch", "transformers", "peft"}


def _part(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def _imported(path: Path) -> set[str]:
    """Dotted names of all modules a file imports, wherever the statement stands."""
    names: set[str] = set()
    package = ["adtrie", *path.relative_to(SOURCE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{module}.{alias.name}" for alias in node.names} if module == "adtrie" else {module}
    return names


FILES = sorted(SOURCE.rglob("*.py"))
WITHOUT_TORCH = [path for path in FILES if _part(path) != "train"]  # the one part that needs the extra


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_one_way(path: Path) -> None:
    part = _part(path)
    assert part in ALLOWED, f"add {part!r} to the table of this test and to ARCHITECTURE.md"
    ours = {name.split(".")[1] for name in _imported(path) if name.startswith("adtrie.")} - {"__version__"}
    allowed = ALLOWED[part]
    if allowed is not ANYTHING:
        assert ours <= allowed | {part}
    if part not in HIGHEST | {"__init__", "__main__"}:
        assert not ours & HIGHEST


@pytest.mark.parametrize("path", WITHOUT_TORCH, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_torch_in_the_package(path: Path) -> None:
    assert not {name.split(".")[0] for name in _imported(path)} & FORBIDDEN


def test_a_fresh_process_stays_light() -> None:
    program = (
        "import sys, adtrie, adtrie.cli, adtrie.api, adtrie.demo.run, adtrie.evaluate\n"
        "heavy = {'torch', 'transformers', 'sklearn', 'pyarrow', 'pandas', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported: {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
