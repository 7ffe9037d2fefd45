"""The benchmarks lie beside the tests, not in the package."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT, ROOT / "benchmarks" / "peers"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
