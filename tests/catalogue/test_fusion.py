"""A fusion: its features against a plain computation, its file, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from byte_tokenizer import ByteTokenizer

from adtrie.catalogue import Catalogue, Fusion, Neighbours
from adtrie.catalogue.fusion import FEATURES
from adtrie.catalogue.lexical import LexicalIndex
from adtrie.errors import AdtrieError, FormatError, InputError

TEXTS = ["red shoe", "blue shoe", "green hat", "wool beret"]
FLAT = dict.fromkeys(FEATURES, 0.0)


def fusion(**nats: float) -> Fusion:
    return Fusion({**FLAT, **nats}, 0.5, FLAT, {"rows": 3})


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.build(TEXTS, ByteTokenizer())


def test_features_are_the_plain_ones(catalogue: Catalogue) -> None:
    past = [("french cap", 2), ("cap of wool", 2), ("shoelace", 0)]
    neighbours = Neighbours(catalogue, past)
    queries = [query for query, _ in past]
    own = LexicalIndex([catalogue.text(entry) for entry in range(4)], queries).cosines("woolen cap")
    answered = LexicalIndex(queries).cosines("woolen cap")
    for entry, row in enumerate(neighbours.features("woolen cap")):
        near = [float(answered[at]) for at, (_, label) in enumerate(past) if label == entry]
        best = max(near, default=0.0)
        expected = (own[entry], best, max(own[entry], best), float(len(near) > 0), np.log(1 + len(near)))
        assert row == pytest.approx(expected)


def test_without_past_queries_only_the_text_counts(catalogue: Catalogue) -> None:
    features = Neighbours(catalogue).features("a blue shoe")
    assert (features[:, 1] == 0).all() and (features[:, 3:] == 0).all()
    assert (features[:, 0] == features[:, 2]).all() and features[:, 0].argmax() == 0


def test_the_bonus_is_the_weighted_sum(catalogue: Catalogue) -> None:
    assert Neighbours(catalogue).bonus("red") is None
    neighbours = Neighbours(catalogue, [("cap", 1)], fusion=fusion(text=2.0, seen=-0.5))
    bonus, features = neighbours.bonus("red cap"), neighbours.features("red cap")
    assert bonus is not None and bonus == pytest.approx(2.0 * features[:, 0] - 0.5 * features[:, 3])


def test_with_a_fusion_its_own_ranking_counts_too(catalogue: Catalogue) -> None:
    odd = Fusion(FLAT, 0.0, {**FLAT, "seen": 1.0}, {})
    plain, fused = (Neighbours(catalogue, [("cap", 3)], 1, fusion=one) for one in (None, odd))
    assert [catalogue.text(at) for at in plain.of("blue one")] == ["blue shoe"]
    assert {catalogue.text(at) for at in fused.of("blue one")} == {"blue shoe", catalogue.text(3)}


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "fusion.json"
    made = fusion(past=7.25, frequency=-1)
    path.write_bytes(made.to_json())
    assert Fusion.read(path) == made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 1"),
        ({"more": 1}, "version 1"),
        ({"nats": [1]}, "expected objects"),
        ({"nats": {"text": 1.0}}, "one number for each"),
        ({"alone": {**FLAT, "text": "x"}}, "text is 'x'"),
        ({"alpha": None}, "alpha is None"),
        ({"nats": {**FLAT, "past": 1e9}}, "at most 100000"),
        ({"nats": {**FLAT, "past": float("nan")}}, "at most 100000"),
        ({"nats": {**FLAT, "past": True}}, "past is True"),
    ],
)
def test_a_file_of_another_content(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "fusion.json"
    document = json.loads(fusion().to_json()) | change
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(FormatError, match=message):
        Fusion.read(path)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[" * 60_000, b"[1]", b"{" + b" " * 70_000 + b"}"])
def test_a_file_that_is_no_fusion(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "fusion.json"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"fusion\.json"):
        Fusion.read(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="learn-fusion"):
        Fusion.read(tmp_path / "none.json")
    with pytest.raises(AdtrieError, match="expected a fusion"):
        Fusion.read(tmp_path)
