"""A writer is killed in the middle of changes and compactions; what it acknowledged is there afterwards."""

from __future__ import annotations

import random
from pathlib import Path

from kills import check_kills


def test_killed_ten_times(tmp_path: Path) -> None:
    assert check_kills(tmp_path, kills=10, seed=1, longest_s=0.3, random=random.Random(2)).kills == 10
