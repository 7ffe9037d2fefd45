"""Neighbours of a query: by the text of entries, by past queries, within their counts."""

from __future__ import annotations

import pytest
from byte_tokenizer import ByteTokenizer

from adtrie.catalogue import Catalogue, Neighbours
from adtrie.errors import InputError

TEXTS = ["red shoe", "blue shoe", "green hat", "wool beret", "45678901"]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.build(TEXTS, ByteTokenizer())


def names(catalogue: Catalogue, neighbours: Neighbours, query: str) -> set[str]:
    found = neighbours.of(query)
    assert len(found) == len(set(found.tolist()))
    return {catalogue.text(entry) for entry in found.tolist()}


def test_by_text(catalogue: Catalogue) -> None:
    assert names(catalogue, Neighbours(catalogue, count=1), "a blue one") == {"blue shoe"}
    assert names(catalogue, Neighbours(catalogue, count=2), "shoes") == {"red shoe", "blue shoe"}
    assert names(catalogue, Neighbours(catalogue, count=5), "zzz") == set()


def test_past_queries_add_their_entries(catalogue: Catalogue) -> None:
    entry = {catalogue.text(i): i for i in range(len(TEXTS))}
    beret, hat = entry["wool beret"], entry["green hat"]
    past = [("french cap", beret), ("frenchman", beret), ("cap", hat)]
    assert names(catalogue, Neighbours(catalogue, past, 1), "french blue") == {"blue shoe", "wool beret"}
    assert names(catalogue, Neighbours(catalogue, past, 1), "french cap") == {"wool beret"}
    assert names(catalogue, Neighbours(catalogue, past, 2), "french cap") == {"wool beret", "green hat"}


def test_the_likest_come_first(catalogue: Catalogue) -> None:
    entry = {catalogue.text(i): i for i in range(len(TEXTS))}
    past = [("cap", entry["green hat"]), ("french cap", entry["wool beret"])]
    for query, first in (("french cap", "wool beret"), ("cap", "green hat"), ("red shoe", "red shoe")):
        assert catalogue.text(int(Neighbours(catalogue, past, 5).of(query)[0])) == first


def test_titles_stand_for_codes(catalogue: Catalogue) -> None:
    titles = ["garlic" if catalogue.text(i) == "45678901" else catalogue.text(i) for i in range(len(TEXTS))]
    assert names(catalogue, Neighbours(catalogue, count=1, texts=titles), "fresh garlic") == {"45678901"}


@pytest.mark.parametrize("count", [0, -1, 257])
def test_a_count_out_of_range(catalogue: Catalogue, count: int) -> None:
    with pytest.raises(InputError, match="expected a count from 1 to 256"):
        Neighbours(catalogue, count=count)


def test_what_does_not_fit_the_catalogue(catalogue: Catalogue) -> None:
    with pytest.raises(InputError, match="entries 0 to 4"):
        Neighbours(catalogue, [("query", 5)])
    with pytest.raises(InputError, match="expected 5 texts"):
        Neighbours(catalogue, texts=["one"])
