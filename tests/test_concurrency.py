"""Many queries at the same time on a tiny real model: the answers of one after another, in their order."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from threading import active_count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adtrie
from adtrie.errors import AdtrieError, CapacityError, CatalogueError, InputError
from adtrie.request import Mode, Score, TargetOptions

GOLDEN = Path(__file__).parent / "golden"
SHORT = adtrie.PromptTemplate("Q: ", "\nA:")
COLOURS, THINGS = ("red", "blue", "green", "grey"), ("shoe", "shoes", "hat", "hats", "old hat", "shoe box")
NAMES = [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]
QUERIES = st.lists(st.text("abcdehorst ", min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=8)


@pytest.fixture(scope="module", params=[1, 2])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[adtrie.Model]:
    folder = tmp_path_factory.mktemp("model") / "llama"
    shutil.copytree(GOLDEN / "llama", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADTRIE_CACHE", str(tmp_path_factory.mktemp("cache")))
        loaded = adtrie.load_model(folder, weights="int8", threads=request.param)
        yield loaded
        loaded.close()


@pytest.fixture(scope="module")
def catalogue(model: adtrie.Model) -> adtrie.Catalogue:
    rows = [{"id": str(i), "text": name, "colour": name.split()[0]} for i, name in enumerate(NAMES)]
    return adtrie.Catalogue.build(rows, model)


def shown(answer: adtrie.Hits | AdtrieError) -> tuple[object, ...]:
    assert isinstance(answer, adtrie.Hits)
    return answer.query, [(hit.id, hit.ids, hit.score) for hit in answer], answer.gap


@pytest.mark.parametrize("mode", ["exact", "verify", "stepwise"])
@pytest.mark.parametrize("score", ["raw", "renormalised"])
def test_answers_are_those_of_one_after_another(
    model: adtrie.Model, catalogue: adtrie.Catalogue, mode: Mode, score: Score
) -> None:
    @settings(max_examples=3, deadline=None)
    @given(QUERIES, st.integers(1, 30), st.integers(1, 16), st.booleans())
    def check(queries: list[str], k: int, concurrency: int, few: bool) -> None:
        where = "colour in [red, grey]" if few else None
        asked = {"template": SHORT, "where": where}
        expected = [shown(model.target(query, catalogue, k, mode, score, **asked)) for query in queries]
        found = model.target_many(queries, catalogue, k, mode, score, concurrency=concurrency, **asked)
        assert [shown(answer) for answer in found] == expected

    check()


def test_what_is_not_proven_is_that_of_prefer_rows(model: adtrie.Model, catalogue: adtrie.Catalogue) -> None:
    queries = [f"a {name}" for name in NAMES]
    options = {"max_rows": 9, "template": SHORT}
    alone = [model.target(query, catalogue, 5, prefer="rows", **options) for query in queries]
    assert any(hits.gap > 0 for hits in alone)
    found = list(model.target_many(queries, catalogue, 5, **options))
    assert [shown(hits) for hits in found] == [shown(hits) for hits in alone]
    counts = [(hits.forwards, hits.rows) for hits in found if isinstance(hits, adtrie.Hits)]
    assert max(rows for _, rows in counts) <= 9


def test_a_bad_query_is_an_error_in_its_place(model: adtrie.Model, catalogue: adtrie.Catalogue) -> None:
    queries = ["hat", "", "shoe", "x" * 600, "\ud800", "box"]
    found = list(model.target_many(queries, catalogue, 2, template=SHORT, concurrency=3))
    kinds = [type(answer) for answer in found]
    assert kinds == [adtrie.Hits, InputError, adtrie.Hits, CapacityError, InputError, adtrie.Hits]
    for query, answer in zip(queries, found, strict=True):
        if isinstance(answer, AdtrieError):
            with pytest.raises(type(answer)) as alone:
                model.target(query, catalogue, 2, template=SHORT)
            assert "does not fit" in str(answer) or str(answer) == str(alone.value)


def test_what_is_wrong_for_all_is_raised_at_once(model: adtrie.Model, catalogue: adtrie.Catalogue) -> None:
    for options in ({"concurrency": 0}, {"concurrency": 1025}, {"mode": "magic"}, {"where": "size = 3 ="}):
        with pytest.raises(InputError):
            model.target_many(["hat"], catalogue, **options)
    with pytest.raises(TypeError):
        model.target_many(["hat"], catalogue, colour="red")
    with model.concurrent("raw", SHORT) as company, pytest.raises(InputError, match="renormalised"):
        company.submit("hat", catalogue, TargetOptions(score="renormalised"))


def test_answers_that_nobody_takes_end(model: adtrie.Model, catalogue: adtrie.Catalogue) -> None:
    before = active_count()
    answers = model.target_many(iter(["hat"] * 1000), catalogue, template=SHORT, concurrency=4)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    for _ in range(100):  # a cancelled request ends by itself
        if active_count() <= before:
            break
        time.sleep(0.05)
    assert active_count() <= before
    model.target_many(["hat"], catalogue)  # never begun


def test_other_requests_go_on_beside_a_batch(model: adtrie.Model, catalogue: adtrie.Catalogue) -> None:
    alone = shown(model.target("hat", catalogue, 3, template=SHORT))
    with model.concurrent("raw", SHORT, 4) as company:
        pending = [company.submit("hat", catalogue, TargetOptions(3)) for _ in range(4)]
        assert shown(model.target("hat", catalogue, 3, template=SHORT)) == alone
        assert [shown(one.result(60)) for one in pending] == [alone] * 4


def test_a_deadline_counts_from_the_arrival(model: adtrie.Model, catalogue: adtrie.Catalogue) -> None:
    late, early = (
        list(model.target_many(["hat"] * 5, catalogue, 3, template=SHORT, deadline_ms=ms)) for ms in (0, 1e8)
    )
    for hits in late:
        assert isinstance(hits, adtrie.Hits) and len(hits) == 0 and hits.gap == float("inf")
    assert all(len(hits) == 3 for hits in early if isinstance(hits, adtrie.Hits))


def test_a_foreign_catalogue_is_refused(model: adtrie.Model) -> None:
    class Other:
        fingerprint, vocab_size = "0" * 64, 300

        def encode(self, text: str) -> object:
            return model.tokenizer.encode(text)

        def encode_batch(self, texts: list[str]) -> object:
            return model.tokenizer.encode_batch(texts)

    foreign = adtrie.Catalogue.build(["hat"], Other())  # type: ignore[arg-type]
    with pytest.raises(CatalogueError):
        model.target_many(["hat"], foreign)
