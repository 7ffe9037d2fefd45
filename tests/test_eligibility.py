"""Requests with a selection, end to end on a tiny model: what is returned, and that nothing else ever is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adtrie
from adtrie.errors import InputError

SHORT = adtrie.PromptTemplate("Q: ", "\nA:")
ROWS: list[dict[str, Any]] = [
    {"text": "red shoe", "id": "0", "country": "DE"},
    {"text": "red shoes", "id": "1", "country": "FR", "adult": True},
    {"text": "blue shoe", "id": "2", "country": "DE"},
    {"text": "green hat", "id": "3", "country": "FR"},
    {"text": "grey hat", "id": "4", "country": "DE", "adult": True},
    {"text": "red shoe", "id": "5", "country": "FR"},
]
MODES = ("exact", "verify", "stepwise")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[adtrie.Model]:
    folder = tmp_path_factory.mktemp("model") / "llama"
    shutil.copytree(Path(__file__).parent / "golden" / "llama", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADTRIE_CACHE", str(tmp_path_factory.mktemp("cache")))
        with adtrie.load_model(folder, weights="float32", activations="float32", threads=1) as loaded:
            yield loaded


@pytest.fixture(scope="module")
def catalogue(model: adtrie.Model) -> adtrie.Catalogue:
    return adtrie.Catalogue.build(ROWS, model)


@pytest.mark.parametrize("mode", MODES)
def test_raw_scores_are_those_of_the_whole_catalogue(
    model: adtrie.Model, catalogue: adtrie.Catalogue, mode: Any
) -> None:
    whole = model.target("shoe", catalogue, 10, mode, template=SHORT)
    hits = model.target("shoe", catalogue, 10, mode, template=SHORT, where="country = DE and not adult")
    assert sorted(hit.text for hit in hits) == ["blue shoe", "red shoe"]
    scores = {hit.text: hit.score for hit in whole}
    assert [hit.score for hit in hits] == [scores[hit.text] for hit in hits]
    assert hits.gap == 0.0


@pytest.mark.parametrize("mode", MODES)
def test_renormalised_scores_are_those_of_the_eligible_entries_alone(
    model: adtrie.Model, catalogue: adtrie.Catalogue, mode: Any
) -> None:
    alone = adtrie.Catalogue.build([row for row in ROWS if row["country"] == "DE"], model)
    wanted = model.target("shoe", alone, 10, mode, "renormalised", template=SHORT)
    hits = model.target("shoe", catalogue, 10, mode, "renormalised", template=SHORT, where="country = DE")
    assert [(hit.text, hit.score, hit.ids) for hit in hits] == [(h.text, h.score, h.ids) for h in wanted]


def test_only_the_ids_of_eligible_rows_are_returned(model: adtrie.Model, catalogue: adtrie.Catalogue) -> None:
    (hit,) = model.target("shoe", catalogue, template=SHORT, allow_ids=["5", "none"])
    assert (hit.id, hit.ids, hit.text) == ("5", ("5",), "red shoe")
    hits = model.target("shoe", catalogue, template=SHORT, deny_ids=["0", 3])
    assert sorted(hit.id for hit in hits) == ["1", "2", "4", "5"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bound", [{"where": "country = UK"}, {"allow_ids": []}, {"deny_ids": range(6)}])
def test_nothing_eligible_is_an_empty_answer(
    model: adtrie.Model, catalogue: adtrie.Catalogue, mode: Any, bound: dict[str, Any]
) -> None:
    hits = model.target("shoe", catalogue, 3, mode, template=SHORT, **bound)
    assert (len(hits), hits.gap, hits.forwards, hits.rows) == (0, 0.0, 0, 0)


def test_a_selection_serves_many_requests_of_its_catalogue(
    model: adtrie.Model, catalogue: adtrie.Catalogue
) -> None:
    selection = catalogue.select(adtrie.EntrySet.of_mask(np.array([True, False, True, False, False])))
    options = adtrie.TargetOptions(k=3)
    for query in ("shoe", "hat"):
        hits = model.answer(query, catalogue, options, SHORT, selection=selection)
        assert {hit.text for hit in hits} == {catalogue.text(0), catalogue.text(2)}
    other = adtrie.Catalogue.build(ROWS, model)
    with pytest.raises(InputError, match="made for another catalogue"):
        model.answer("shoe", other, options, SHORT, selection=selection)


def test_a_wrong_filter_is_one_error(model: adtrie.Model, catalogue: adtrie.Catalogue) -> None:
    with pytest.raises(InputError, match="the closest is 'country'"):
        model.target("shoe", catalogue, template=SHORT, where="county = DE")
