"""The demonstration: it refuses to time wrong answers, and its numbers are those of its log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adtrie import demo
from adtrie.api import Hit, Hits
from adtrie.cli import app
from adtrie.errors import ModelError
from adtrie.models.alias import cached_path


def hits(entries: Sequence[tuple[str, float]], ms: float = 1.0, gap: float = 0.0, forwards: int = 1) -> Hits:
    found = tuple(Hit(text, text, score, (text,)) for text, score in entries)
    return Hits("query", found, gap, forwards, 2 * forwards, ms)


BEAM = hits([("a", -1.0), ("b", -2.0)], gap=0.5)


@pytest.mark.parametrize(
    ("verify", "exact", "agree"),
    [
        (BEAM, hits([("a", -1.0)]), True),
        (BEAM, hits([("better", -0.5)]), True),
        (hits([("a", -1.0 + 1e-7), ("b", -2.0)]), hits([("a", -1.0)]), True),
        (hits([("a", -1.1), ("b", -2.0)]), hits([("a", -1.0)]), False),
        (hits([("a", -1.0), ("c", -2.0)]), hits([("a", -1.0)]), False),
        (hits([("a", -1.0)]), hits([("a", -1.0)]), False),
        (BEAM, hits([("worse", -3.0)]), False),
        (BEAM, hits([("worse", -3.0)], gap=2.0), True),  # the row budget ended the proof
    ],
)
def test_answers_are_checked_before_times_are_shown(verify: Hits, exact: Hits, agree: bool) -> None:
    if agree:
        demo._check_agreement(verify, BEAM, exact)
    else:
        with pytest.raises(ModelError, match="contradict"):
            demo._check_agreement(verify, BEAM, exact)


def test_costs_compare_the_same_listings() -> None:
    log = {
        demo.STEPWISE: [hits([("a", -1.0)], ms, forwards=10) for ms in (100.0, 200.0, 300.0)],
        demo.VERIFY: [hits([("a", -1.0)], ms, forwards=4) for ms in (50.0, 100.0, 60.0, 9e9)],
        demo.EXACT_TEN: [hits([("a", -1.0)], 50.0, gap=1.0)],
    }
    plain, fast, dear = demo._costs(log)
    assert (plain.p50_ms, plain.p99_ms, plain.speed_up, plain.forwards) == (200.0, 300.0, 1.0, 10.0)
    assert (fast.p50_ms, fast.speed_up, fast.num_requests) == (60.0, 3.33, 3)
    assert (dear.speed_up, dear.num_requests, dear.num_proven) == (2.0, 1, 0)


@pytest.mark.model
@pytest.mark.skipif(not cached_path("smollm2-135m").exists(), reason="smollm2-135m is not cached: make demo")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_short_demonstration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str]) -> None:
    short = demo.Plan(num_listings=2, num_quality=3, num_timed=2, num_exact=1)
    monkeypatch.setattr(demo, "Plan", lambda model: short)
    result = CliRunner().invoke(app, ["demo", *options])
    assert result.exit_code == 0, result.stderr
    if options:
        report = json.loads(result.stdout)
        assert [row["num_requests"] for row in report["costs"]] == [2, 2, 2, 1]
        assert len(report["answers"]) == 2
        assert report["machine"]["isa"] == report["isa"]
    else:
        assert "TF-IDF floor" in result.stdout
        assert "verify gave the entries and scores of stepwise on all 2 listings" in result.stdout
