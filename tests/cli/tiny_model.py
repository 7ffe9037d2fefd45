"""What the tests of the command line share: a golden model, entries, a prompt that fits its context."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

GOLDEN = Path(__file__).parents[1] / "golden"
TEMPLATE = "Q: {query}\\nA:"  # the tiny models hold 512 tokens of one byte each
NAMES = ["red shoe", "red shoes", "blue shoe", "green hat", "grey <|im_end|> hat", "café crème"]

Run = Callable[..., Result]
