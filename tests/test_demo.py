"""The demonstration: it refuses to time wrong answers, and its numbers are those of its log."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from adtrie.api import Model, load_model
from adtrie.catalogue import Catalogue
from adtrie.cli import app
from adtrie.creative import Creative, Drafts
from adtrie.demo import compression, writing
from adtrie.demo import run as demo
from adtrie.errors import ModelError
from adtrie.evaluate import Brief, CreativeTask, Pair
from adtrie.models.alias import cached_path
from adtrie.prompt import CREATE_TEMPLATE, PromptTemplate
from adtrie.request import Hit, Hits

CACHED = cached_path("smollm2-135m")  # other tests turn to a cache of their own
CACHE = CACHED.parents[2]


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


def test_the_report_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = demo.Cost("verify k=10", 12.5, 20.0, 4.0, 31.0, 2.5, 40, 7)
    report = demo.Report(
        model="tiny",
        adapter=None,
        isa="scalar",
        threads=2,
        num_entries=12_613,
        answers=(demo.Answer("a \x1b[31mlisting", "right", (("right", -1.0), ("wrong", -2.0))),),
        quality=(demo.Quality("tiny, untuned", 0.5, 0.75, 200), demo.Quality("TF-IDF floor", 0.8, 0.9, 200)),
        costs=(cost,),
        compressed=compression.Compressed(
            "demo", 4.0, 67_000_000, 134_000_000, 0.931, 2.5, 2.4, 10.0, 15.0, 99.6
        ),
        num_agreeing=40,
        ad_text=demo.AdText("name: A\x1b[31m", "A is a pub.", "e2e", 12, 4, 13),
        seconds={"load": 1.0, "requests": 2.0, "total": 4.0},
    )
    monkeypatch.setattr(demo, "run", lambda *parts: report)
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 0, result.stderr
    assert "  *    -1.000  right" in result.stdout
    assert "TF-IDF floor                        0.800  0.900" in result.stdout
    assert "Ad text (adapter e2e)" in result.stdout
    assert "12 tokens in 4 forwards (3.0 per forward); without guesses the same text in 13" in result.stdout
    assert "2.50x  7/40" in result.stdout
    assert "4.00 bits per weight, 67 MB in place of 134 MB" in result.stdout
    assert "10.0 ms in place of 15.0 ms (1.50x)" in result.stdout
    assert "unchanged in 93.1 %, perplexity 2.500 in place of 2.400" in result.stdout
    assert "on all 40 listings" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    ("shipped", "model", "asked", "expected"),
    [
        ([], "smollm2-135m", None, (None, None)),
        (["e2e", "pricerunner"], "smollm2-135m", None, ("pricerunner", "e2e")),
        (["pricerunner"], "smollm2-135m", None, ("pricerunner", None)),
        (["e2e", "pricerunner"], "smollm2-135m", "none", (None, None)),
        (["e2e", "pricerunner"], "smollm2-135m", "folder", ("folder", "e2e")),
        (["e2e", "pricerunner"], "other.gguf", None, (None, None)),
        (["e2e", "pricerunner"], "other.gguf", "folder", ("folder", None)),
    ],
)
def test_shipped_adapters_are_used_where_they_fit(
    monkeypatch: pytest.MonkeyPatch,
    shipped: list[str],
    model: str,
    asked: str | None,
    expected: tuple[str | None, str | None],
) -> None:
    monkeypatch.setattr(demo, "shipped_adapters", lambda: shipped)
    plan = demo.plan_for(model, asked)
    assert (plan.model, plan.adapter, plan.writer) == (model, *expected)


@pytest.mark.parametrize("broken", [False, True])
def test_the_ad_text_is_checked_against_plain_decoding(monkeypatch: pytest.MonkeyPatch, broken: bool) -> None:
    class Writer:
        create_template = CREATE_TEMPLATE
        fingerprint, vocab_size, splits_at_blanks = "f", 256, False

        def encode_batch(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
            rows = [text.encode() for text in texts]
            return np.frombuffer(b"".join(rows), np.uint8).astype(np.int32), np.cumsum([0, *map(len, rows)])

        def create(self, facts: str, drafts: Drafts | None = None, draft: bool = True) -> Creative:
            return Creative("drafted" if broken and draft else "text", 6, 2 if draft else 7, 1.0, "end")

    brief = Brief("name: A", ("A is a pub",), "train", (("name", "A"),))
    task = CreativeTask("e2e", (brief, Brief("name: B", ("B",), "test", (("name", "B"),))))
    monkeypatch.setattr(writing, "load_creative_task", lambda name: task)
    loaded: list[object] = []
    monkeypatch.setattr(writing, "load_model", lambda name, adapter: loaded.append(adapter) or Writer())
    if broken:
        with pytest.raises(ModelError, match="drafted and plain text differ"):
            writing.write_ad(Writer(), "m", "e2e", own=False)  # type: ignore[arg-type]
        return
    made = writing.write_ad(Writer(), "m", "e2e", own=False)  # type: ignore[arg-type]
    assert made == demo.AdText("name: B", "text", "e2e", 6, 2, 7)
    assert (made.tokens_per_forward, loaded) == (3.0, ["e2e"])
    writing.write_ad(Writer(), "m", None, own=True)  # type: ignore[arg-type]
    assert loaded == ["e2e"]  # the model at hand will do


def test_a_compressed_model_answers_the_same_requests(tmp_path: Path) -> None:
    folder = tmp_path / "llama"
    shutil.copytree(Path(__file__).parent / "golden" / "llama", folder)
    rows = [Pair(query, "shoes", "test") for query in ("red shoes", "blue hat", "old hat")]
    template = PromptTemplate("Q: ", "\nA:")
    told: list[float] = []
    with closing(load_model(folder)) as model:
        catalogue = Catalogue.build(["shoes", "hat"], model)

        def ask(model: Model, query: str) -> Hits:
            return model.target(query, catalogue, 2, "verify", width=2, template=template)

        found, answers = compression.demonstrate(
            model, str(folder), None, "demo", rows, 2, ask, lambda what, share: told.append(share)
        )
    assert [sorted(hit.text for hit in hits) for hits in answers] == [["hat", "shoes"]] * 3
    assert found.bits_per_weight <= 5 and min(found.full_bytes, found.num_bytes, found.p50_ms) > 0
    assert 0 <= found.top1_agreement <= 1 and found.perplexity != found.full_perplexity
    assert told == sorted(told) and told


@pytest.mark.model
@pytest.mark.skipif(not CACHED.exists(), reason="smollm2-135m is not cached: make demo")
def test_a_short_demonstration(monkeypatch: pytest.MonkeyPatch) -> None:
    short = demo.Plan(num_listings=2, num_quality=3, num_timed=2, num_exact=1, preset=None, budget_s=1e6)
    monkeypatch.setattr(demo, "plan_for", lambda *asked: short)
    monkeypatch.setenv("ADTRIE_CACHE", str(CACHE))
    result = CliRunner().invoke(app, ["demo", "--json"])
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert [row["num_requests"] for row in report["costs"]] == [2, 2, 2, 2, 1]
    assert len(report["answers"]) == 2
    assert report["ad_text"]["forwards"] < report["ad_text"]["plain_forwards"]
    assert report["machine"]["isa"] == report["isa"]
