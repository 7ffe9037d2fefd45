"""Drafts change what a text costs, never the text: greedy, sampled, under every constraint."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_fakes import CODEC, PROMPT, HashModel, models, rules, samplings

from adtrie.config import RowCost
from adtrie.errors import CapacityError, InputError
from adtrie.search.draft import generate_with_drafts
from adtrie.search.generate import generate
from adtrie.search.ngrams import START, GrowingNGrams, NGramTable, likely_next
from adtrie.search.text_rules import TextRules

tables = st.just(()) | st.lists(st.text("abcde .\n", max_size=12), max_size=4).map(
    lambda texts: (NGramTable([[START, *CODEC.encode(text)] for text in texts]),)
)
costs = st.sampled_from([RowCost.flat(), RowCost.kneed(4), RowCost.kneed(1)])


@settings(max_examples=300, deadline=None)
@given(rules, samplings, models, tables, costs, st.integers(0, 80))
def test_a_draft_never_changes_the_text(rules, samplings, models, tables, costs, spare):  # type: ignore[no-untyped-def]
    try:
        plain = generate(HashModel(**models), CODEC, PROMPT, rules, samplings)
    except InputError as error:
        with pytest.raises(InputError, match="^" + str(error)[:10]):
            generate_with_drafts(HashModel(**models), CODEC, PROMPT, rules, samplings)
        return
    model = HashModel(**models)
    room = PROMPT.size + rules.max_tokens - 1 + spare
    ours = generate_with_drafts(
        model, CODEC, PROMPT, rules, samplings, drafts=tables, cost=costs, max_rows=room
    )
    assert (ours.text, ours.finish_reason) == (plain.text, plain.finish_reason)
    assert ours.tokens.tolist() == plain.tokens.tolist()
    assert ours.forwards == len(model.calls) <= plain.forwards
    assert ours.rows == sum(model.calls) <= room


def test_earlier_output_saves_forwards() -> None:
    limit = TextRules(max_tokens=40, stop=())
    plain = generate(HashModel(seed=5, end=-20), CODEC, PROMPT, limit)
    assert plain.forwards == plain.tokens.size == 40
    table = NGramTable([[START, *plain.tokens]])
    ours = generate_with_drafts(HashModel(seed=5, end=-20), CODEC, PROMPT, limit, drafts=[table])
    assert ours.tokens.tolist() == plain.tokens.tolist()
    assert ours.forwards <= 8


def test_repetition_in_the_text_itself_saves_forwards() -> None:
    limit = TextRules(max_tokens=60, stop=())
    model = {"seed": 3, "end": -20, "order": 1}  # order 1 under greedy ends in a cycle
    plain = generate(HashModel(**model), CODEC, PROMPT, limit)
    ours = generate_with_drafts(HashModel(**model), CODEC, PROMPT, limit)
    assert ours.tokens.tolist() == plain.tokens.tolist()
    assert ours.forwards < 30


def test_forced_phrases_ride_in_one_forward() -> None:
    only = TextRules(max_tokens=10, must_mention=("abcdeabcde",), stop=())
    ours = generate_with_drafts(HashModel(), CODEC, PROMPT, only)
    assert ours.text == "abcdeabcde"
    assert ours.forwards == 2


def test_costly_rows_are_not_guessed() -> None:
    limit = TextRules(max_tokens=20, stop=())
    table = NGramTable([CODEC.encode("bed bad cab")])
    cost = RowCost.measured([1, 2], [1.0, 1000.0])
    model = HashModel(end=-20)
    generate_with_drafts(model, CODEC, PROMPT, limit, drafts=[table], cost=cost)
    assert set(model.calls[1:]) == {1}


def test_too_little_room_is_a_capacity_error() -> None:
    with pytest.raises(CapacityError, match="do not fit"):
        generate_with_drafts(HashModel(), CODEC, PROMPT, TextRules(max_tokens=9), max_rows=PROMPT.size + 7)


def test_a_table_counts_what_followed() -> None:
    table = NGramTable([[START, 1, 2, 3], [START, 1, 2, 4], [9, 2, 4]])
    assert table.continuations([START, 1, 2]) == [
        (3, {3: 1, 4: 1}),
        (2, {3: 1, 4: 1}),
        (1, {4: 2, 3: 1}),
    ]
    assert table.continuations([START]) == [(1, {1: 2})]
    assert table.continuations([7]) == [] == NGramTable([]).continuations([1])
    chances = likely_next([table], [9, 2])
    assert chances.keys() == {3, 4} and chances[4] > chances[3] and sum(chances.values()) <= 1.0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), max_size=9), max_size=5), st.lists(st.integers(0, 3), max_size=8))
def test_counts_equal_a_plain_scan(sequences: list[list[int]], context: list[int]) -> None:
    table, growing = NGramTable(sequences), GrowingNGrams()
    for row in sequences:
        growing.begin(row)
    assert growing.continuations(context) == table.continuations(context) == table.continuations(context)
    found = dict(table.continuations(context))
    for size in range(1, min(len(context), 6) + 1):
        suffix = context[-size:]
        expected: dict[int, int] = {}
        for row in sequences:
            for at in range(size, len(row)):
                if row[at - size : at] == suffix:
                    expected[row[at]] = expected.get(row[at], 0) + 1
        assert found.get(size, {}) == expected


def test_a_table_is_bounded() -> None:
    with pytest.raises(InputError, match="drafts"):
        NGramTable([np.zeros(4_000_001, np.int32)])
