"""Many texts at the same time on a tiny real model: those of one after another, in their order."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import active_count
from typing import Any

import pytest

import adtrie
from adtrie.creative import Creative, Writer
from adtrie.errors import AdtrieError, CapacityError, InputError
from adtrie.search.generate import Beams

GOLDEN = Path(__file__).parent / "golden"
SHORT = adtrie.PromptTemplate("F: ", "\nAd:")
FACTS = [
    f"name: {name}; type: {kind}" for name in ("Aromi", "Blue Spice", "Mill") for kind in ("pub", "café")
]
LIMITS = adtrie.TextRules(max_tokens=16)
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "without drafts": {"draft": False},
    "drawn": {"sampling": adtrie.Sampling(temperature=1.2, top_p=0.9, seed=4)},
    "beams": {"beams": Beams(3, fact_weight=0.5)},
    "rules": {"rules": adtrie.TextRules(max_tokens=16, max_chars=30, must_mention=("a pub",))},
}


@pytest.fixture(scope="module", params=[1, 2])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[adtrie.Model]:
    folder = tmp_path_factory.mktemp("model") / "qwen3"
    shutil.copytree(GOLDEN / "qwen3", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADTRIE_CACHE", str(tmp_path_factory.mktemp("cache")))
        with adtrie.load_model(folder, threads=request.param) as loaded:
            yield loaded


def shown(made: Creative | AdtrieError) -> tuple[object, ...]:
    assert isinstance(made, Creative)
    return made.text, made.tokens, made.finish_reason


@pytest.mark.parametrize("concurrency", [1, 3, 16])
@pytest.mark.parametrize("way", WAYS)
def test_texts_are_those_of_one_after_another(model: adtrie.Model, way: str, concurrency: int) -> None:
    asked: dict[str, Any] = {"rules": LIMITS, "template": SHORT, **WAYS[way]}
    expected = [shown(model.create(facts, **asked)) for facts in FACTS]
    assert [shown(made) for made in model.create_many(FACTS, concurrency=concurrency, **asked)] == expected


def test_drafts_are_used_and_change_no_text(model: adtrie.Model) -> None:
    asked: dict[str, Any] = {"rules": LIMITS, "template": SHORT}
    plain = [model.create(facts, **asked) for facts in FACTS]
    past = adtrie.Drafts([made.text for made in plain], model, SHORT)
    found = list(model.create_many(FACTS, concurrency=4, drafts=past, **asked))
    assert [shown(made) for made in found] == [shown(made) for made in plain]


def test_an_error_is_that_of_its_facts_alone(model: adtrie.Model) -> None:
    long = "word " * 3000
    found = list(model.create_many([FACTS[0], "", long, FACTS[1]], LIMITS, template=SHORT, concurrency=2))
    assert isinstance(found[1], InputError) and isinstance(found[2], InputError | CapacityError)
    expected = [shown(model.create(facts, LIMITS, template=SHORT)) for facts in FACTS[:2]]
    assert [shown(found[0]), shown(found[3])] == expected


def test_what_holds_for_all_is_raised_at_once(model: adtrie.Model) -> None:
    with pytest.raises(InputError, match="concurrency"):
        model.create_many(FACTS, concurrency=0)
    with pytest.raises(InputError, match="beams"):
        model.create_many(FACTS, sampling=adtrie.Sampling(temperature=1.0), beams=2)


def test_a_reader_that_stops_leaves_no_thread(model: adtrie.Model) -> None:
    before = active_count()
    texts = model.create_many(FACTS * 20, LIMITS, template=SHORT, concurrency=4)
    next(texts)
    texts.close()  # type: ignore[attr-defined]
    assert active_count() == before


def test_full_queue(model: adtrie.Model) -> None:
    writer = Writer(LIMITS, adtrie.Sampling(), Beams())
    with (
        model.concurrent_writer(writer, SHORT, concurrency=1) as company,
        pytest.raises(CapacityError, match="waiting"),
    ):
        for _ in range(50):
            company.submit(FACTS[0])
