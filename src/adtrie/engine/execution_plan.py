"""An execution plan of one model on one machine: frozen schedule, table of rows to milliseconds, and what was
predicted and measured. Knows its JSON form and its file; knows no search and no timing.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adtrie.config import RowCost, cache_dir
from adtrie.engine.plan_stages import ROW_PLAN_NUMBERS
from adtrie.errors import InputError

_MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True)
class StageTime:
    """One stage of a forward of `rows` rows: its option, and milliseconds bound, predicted and measured."""

    rows: int
    stage: str
    option: str
    fused: bool
    bound_ms: float
    predicted_ms: float
    measured_ms: float


@dataclass(frozen=True)
class ExecutionPlan:
    """key: what it is valid for. schedule: row plans for the native core. others_share: how busy other
    processes kept the machine meanwhile, 0 to 1. quick: found by the short search.
    """

    key: Mapping[str, Any]
    schedule: tuple[tuple[int, ...], ...]
    latency: RowCost
    stages: tuple[StageTime, ...]
    bytes_per_s: float
    operations_per_s: float
    meeting_s: float
    others_share: float
    quick: bool

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, the whole plan."""
        return {
            "key": dict(self.key),
            "schedule": [list(plan) for plan in self.schedule],
            "rows": self.latency.table_rows.tolist(),
            "ms": self.latency.table_ms.tolist(),
            "stages": [asdict(stage) for stage in self.stages],
            "bytes_per_s": self.bytes_per_s,
            "operations_per_s": self.operations_per_s,
            "meeting_s": self.meeting_s,
            "others_share": self.others_share,
            "quick": self.quick,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ExecutionPlan:
        """Raises InputError for anything but what `to_json` gives."""
        try:
            plan = cls(
                dict(content["key"]),
                tuple(_row_plan(plan) for plan in content["schedule"]),
                RowCost.measured(content["rows"], content["ms"]),
                tuple(_stage(stage) for stage in content["stages"]),
                _finite(content["bytes_per_s"]),
                _finite(content["operations_per_s"]),
                _finite(content["meeting_s"]),
                _finite(content["others_share"]),
                bool(content["quick"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(f"execution plan: not of the expected form ({error})") from None
        if not plan.schedule:
            raise InputError("execution plan: no schedule")
        return plan


def path_of(key: Mapping[str, Any]) -> Path:
    """Where the plan for `key` is cached."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return cache_dir() / "plans" / f"{digest[:32]}.json"


def load(key: Mapping[str, Any]) -> ExecutionPlan | None:
    """The cached plan for exactly `key`; None where there is none, a damaged one or another's."""
    path = path_of(key)
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            return None
        plan = ExecutionPlan.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, InputError):
        return None
    return plan if plan.key == dict(key) else None


def save(plan: ExecutionPlan) -> None:
    """Crash-safe; a cache that cannot be written only costs the next start a search."""
    path = path_of(plan.key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", delete=False) as file:
            json.dump(plan.to_json(), file)
        os.replace(file.name, path)
    except OSError:
        return


def _row_plan(numbers: Sequence[Any]) -> tuple[int, ...]:
    if len(numbers) != ROW_PLAN_NUMBERS or not all(type(n) is int and 0 <= n < 1 << 24 for n in numbers):
        raise InputError(
            f"execution plan: a row plan is {ROW_PLAN_NUMBERS} whole numbers, got {str(numbers)[:80]}"
        )
    return tuple(numbers)


def _stage(content: Mapping[str, Any]) -> StageTime:
    return StageTime(
        int(content["rows"]),
        str(content["stage"]),
        str(content["option"]),
        bool(content["fused"]),
        _finite(content["bound_ms"]),
        _finite(content["predicted_ms"]),
        _finite(content["measured_ms"]),
    )


def _finite(value: Any) -> float:
    number = float(value)
    if not (math.isfinite(number) and number >= 0):
        raise InputError(f"execution plan: expected a finite number from 0, got {number}")
    return number
