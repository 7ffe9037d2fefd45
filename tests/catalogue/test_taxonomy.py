"""Blocked categories: with everything below them, by the code itself or by a table of the IAB."""

from __future__ import annotations

from pathlib import Path

import pytest
from byte_tokenizer import ByteTokenizer

from adtrie.catalogue import Catalogue
from adtrie.catalogue.taxonomy import Taxonomy, blocking
from adtrie.errors import CatalogueError, InputError

ROWS = [
    {"text": "a", "iab": "IAB25"},
    {"text": "b", "iab": ["IAB2", "IAB25-3"]},
    {"text": "c", "iab": "IAB2"},
    {"text": "d", "iab": "IAB250-1"},
    {"text": "e"},
    {"text": "f", "iab": 483, "path": "Pets > Dog Food"},
    {"text": "g", "iab": "484", "path": "Petshops"},
    {"text": "h", "iab": "iab25-3", "path": "Pets"},
]
TABLE = (
    "Relational ID System\t\t\tmade up for this test\nUnique ID\tParent\tName\tTier 1\n"
    "1\t\tCars\tCars\n483\t1\tVans\tCars\n484\t483\tSmall vans\tCars\n485\t485\tBoats\tBoats\n\t\t\t\n9\n"
)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.build(ROWS, ByteTokenizer())


def left(catalogue: Catalogue, where: str) -> str:
    return "".join(catalogue.text(entry) for entry in catalogue.select(where).entries.members().tolist())


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ("iab under [IAB25]", "ab"),
        ("iab not under [IAB25]", "cdefgh"),
        ("iab under [IAB25-3, IAB2]", "bc"),
        ("iab under [IAB25-30]", ""),
        ("iab under []", ""),
        ("path under [Pets]", "fh"),
        ("path under ['Pets > Dog Food']", "f"),
    ],
)
def test_under(catalogue: Catalogue, where: str, wanted: str) -> None:
    assert left(catalogue, where) == wanted


def test_under_as_a_name_and_wrongly() -> None:
    catalogue = Catalogue.build([{"text": "a", "under": "x"}, {"text": "b"}], ByteTokenizer())
    assert (
        left(catalogue, "under = x") == left(catalogue, "under") == left(catalogue, "under under [x]") == "a"
    )
    with pytest.raises(InputError, match=r"expected '\['"):
        catalogue.select("under under x")


def test_blocking(catalogue: Catalogue, tmp_path: Path) -> None:
    path = tmp_path / "taxonomy.tsv"
    path.write_text(TABLE, encoding="utf-8")
    taxonomy = Taxonomy.read(path)
    assert len(taxonomy) == 4 and "483" in taxonomy and "9" not in taxonomy
    assert taxonomy.below(["1"]) == ["1", "483", "484"]
    assert taxonomy.below(["485", "no such"]) == ["485", "no such"]
    assert left(catalogue, blocking("iab", ["1"], taxonomy)) == "abcdeh"
    assert left(catalogue, blocking("iab", ["484"], taxonomy)) == "abcdefh"
    assert left(catalogue, blocking("iab", ["IAB25", "IAB2"])) == "defgh"
    assert left(catalogue, blocking("iab", ["IAB25", "IAB2"]) + " and has iab and not path = Pets") == "dfg"
    assert (
        left(catalogue, " and ".join(blocking("iab", [code]) for code in ("IAB2", "IAB25", "IAB250")))
        == "efgh"
    )
    for codes in ([], "IAB1"):
        with pytest.raises(InputError, match="block: expected"):
            blocking("iab", codes)


def test_everything_blocked_is_an_empty_selection(catalogue: Catalogue) -> None:
    assert len(catalogue.select(f"has path and {blocking('path', ['Pets', 'Petshops'])}")) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no columns"),
        (b"a\tb\n1\t2\n", "no columns"),
        (b"Unique ID\tParent\n", "no columns"),
        (b"\xff", "UTF-8"),
    ],
)
def test_no_taxonomy(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "taxonomy.tsv"
    path.write_bytes(content)
    with pytest.raises(CatalogueError, match=message):
        Taxonomy.read(path)
    with pytest.raises(CatalogueError, match="cannot read"):
        Taxonomy.read(tmp_path / "none.tsv")


def test_circles_end() -> None:
    assert Taxonomy({"a": "b", "b": "a"}).below(["a"]) == ["a", "b"]
