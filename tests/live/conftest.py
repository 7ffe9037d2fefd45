"""The toy tokenizer and scorer of the tests of the parts below."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / part) for part in ("catalogue", "search")]
