"""Fixtures of the engine tests: every instruction set this machine has, one small checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
from instruction_sets import ISAS

from adtrie.models import Checkpoint, open_checkpoint
from golden import golden_folder


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> str:
    """Each kernel table that runs here."""
    return str(request.param)


@pytest.fixture
def llama(tmp_path: Path) -> Checkpoint:
    """The golden Llama: 2 layers, hidden 32, vocabulary 288."""
    return open_checkpoint(golden_folder("llama", tmp_path))
