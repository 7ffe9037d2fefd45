"""Facts read from a text, and which of them another text states."""

from __future__ import annotations

import pytest

from adtrie.search.facts import facts_of, num_stated

FACTS = facts_of(
    "name: Café Brazil; price range: £20-25; family friendly: no; near: The Bakers' Inn; area; : x"
)


def test_facts_are_names_and_values() -> None:
    assert FACTS == (
        ("name", "Café Brazil"),
        ("price range", "£20-25"),
        ("family friendly", "no"),
        ("near", "The Bakers' Inn"),
    )
    assert facts_of("a plain text, 3:1") == (("a plain text, 3", "1"),)
    assert facts_of("") == ()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("cafe brazil", 1),
        ("Prices at CAFÉ BRAZIL are £20 - 25.", 2),
        ("It is not family-friendly and near the bakers’ inn", 2),
        ("Brazil has a café; 120-25 families", 0),
        ("", 0),
    ],
)
def test_a_value_is_stated_by_its_words(text: str, number: int) -> None:
    assert num_stated(text, FACTS) == number


def test_the_last_word_may_go_on_and_the_first_may_not_have_begun() -> None:
    facts = facts_of("price: moderate")
    assert num_stated("moderately priced", facts) == 1
    assert num_stated("immoderate", facts) == 0


def test_a_value_without_words_is_never_stated() -> None:
    assert num_stated("anything", facts_of("rating: ***")) == 0
