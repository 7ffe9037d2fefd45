"""Made-up parts of the paper's table for its tests."""

from __future__ import annotations

from typing import Any

from benchmarks.paper_rows import ALL_ROWS


def quality(level: float, num_bytes: int = 1_000, sample: int = 20) -> dict[str, Any]:
    """A quality section whose every measure follows from `level`, 0 for full precision."""
    metrics = {name: {"mean": 0.5 * (1 - level), "low": 0.0, "high": 1.0} for name in ("bleu", "meteor")}
    return {
        "bytes": num_bytes,
        "bits_per_weight": 4.0,
        "block_bits_per_weight": 3.0 + level,
        "one_of_four_share": 0.6,
        "perplexity": 2.0 * (1 + level),
        "kl_mean": level,
        "kl_p99": 2 * level,
        "top1_agreement": 1 - level,
        "num_rows": 7,
        "sample": sample,
        "metrics": metrics,
        "recover_command": "recover it",
    }


def timing(ms: float) -> dict[str, Any]:
    """A timing section of a row that takes `ms` where full precision takes 8."""
    return {
        "ms_per_token": ms / 4,
        "token_speed_up": 8 / ms,
        "ms_per_request": ms,
        "speed_up": 8 / ms,
        "ms_per_request_fast": ms / 2,
        "speed_up_fast": 16 / ms,
        "foreign_load": 0.01,
    }


def all_parts() -> dict[str, dict[str, Any]]:
    """Every row and comparison, the later the worse."""
    made = {}
    for at, row in enumerate(ALL_ROWS.values()):
        made[row.file_name] = {"quality": quality(at / 100, 10_000 - at)}
        if row.kind != "pruned":
            made[row.file_name]["timing"] = timing(8 - at / 10)
    return made
