"""The report of ad text: costs and counts by hand, floors, drafted against plain."""

from __future__ import annotations

import math
from typing import Literal

import pytest

from adtrie.creative import Creative
from adtrie.errors import CapacityError, InputError
from adtrie.evaluate import Brief, CreativeTask, bleu, distinct
from adtrie.evaluate.creating import OURS, floor_texts, listed, measure_creative
from adtrie.evaluate.creative_tasks import facts_text, slots_of

pytest.importorskip("sacrebleu")
pytest.importorskip("sklearn")


def brief(meaning: str, split: Literal["train", "test"], *references: str) -> Brief:
    slots = slots_of(meaning)
    return Brief(facts_text(slots), references, split, slots)


TASK = CreativeTask(
    "e2e",
    (
        brief("name[Aromi], eatType[pub]", "train", "Aromi is a pub", "Pub: Aromi"),
        brief("name[Cotto], area[riverside]", "train", "Cotto lies by the river"),
        brief("name[Eagle], eatType[pub]", "test", "The Eagle is a pub", "Eagle, a pub"),
        brief("name[Mill], eatType[pub], familyFriendly[no]", "test", "Mill is a pub for adults only"),
        brief("name[Vaults], area[riverside]", "test", "The Vaults lie by the river"),
    ),
)
ASKED = TASK.briefs_of("test")


def made(text: str, tokens: int, forwards: int, ms: float) -> Creative:
    return Creative(text, tokens, forwards, ms, "end")


DRAFTED = {
    "name: Eagle; type: pub": made("Eagle is a pub", 6, 2, 10.0),
    "name: Mill; type: pub; family friendly: no": made("Mill is a pub", 9, 3, 30.0),
    "name: Vaults; area: riverside": made("Vaults is a restaurant", 5, 5, 20.0),
}


def test_the_numbers_by_hand() -> None:
    seen: list[tuple[int, int]] = []
    report = measure_creative(
        TASK,
        ASKED,
        lambda facts, draft: DRAFTED[facts],
        setting={"a": 1},
        advance=lambda *at: seen.append(at),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert (report.task, report.num_briefs, report.setting) == ("e2e", 3, {"a": 1})
    (cost,) = report.costs
    assert (cost.way, cost.num_texts, cost.tokens, cost.num_refused) == ("drafted", 3, 20, 0)
    assert (cost.p50_ms, cost.p99_ms, cost.tokens_per_forward) == (20.0, 30.0, 2.0)
    assert cost.finish_reasons == {"end": 3}
    ours, copied, nearest = report.scores
    texts = [DRAFTED[one.facts].text for one in ASKED]
    assert (ours.method, ours.ahead) == (OURS, {})
    assert ours.metrics["bleu"].mean == pytest.approx(bleu(texts, [one.references for one in ASKED]))
    assert ours.metrics["coverage"].mean == pytest.approx(5 / 7)
    assert ours.metrics["complete"].mean == pytest.approx(1 / 3)
    assert (ours.distinct_2, ours.mean_length) == (distinct(texts, 2), 4.0)
    assert copied.metrics["coverage"].mean == 1.0
    assert copied.ahead["coverage"].mean == pytest.approx(5 / 7 - 1)
    assert nearest.method == "nearest training text" and set(nearest.ahead) == set(ours.metrics)
    assert report.draft_check is None and report.defect is None
    assert [(one.text, one.missing) for one in report.examples] == [
        ("Eagle is a pub", ()),
        ("Mill is a pub", ("familyFriendly",)),
        ("Vaults is a restaurant", ("area",)),
    ]


def test_floors_state_the_facts_and_copy_the_nearest() -> None:
    floors = floor_texts(TASK, ASKED)
    assert floors["the facts listed"] == [
        "Eagle: type pub.",
        "Mill: type pub, family friendly no.",
        "Vaults: area riverside.",
    ]
    assert floors["nearest training text"] == ["Aromi is a pub", "Aromi is a pub", "Cotto lies by the river"]
    assert listed(Brief("Acme sells: x; y", ("Buy",), "test")) == "Acme sells: x; y"
    alone = CreativeTask("slogans", (Brief("Acme sells x", ("Buy",), "test"),))
    assert list(floor_texts(alone, alone.briefs)) == ["the facts listed"]


def test_texts_without_slots_are_not_shown() -> None:
    alone = CreativeTask("slogans", (Brief("Acme sells x", ("Buy x",), "test"),))
    report = measure_creative(alone, alone.briefs, lambda facts, draft: made("Buy", 1, 1, 1.0))
    assert report.examples == ()
    assert "coverage" not in report.scores[0].metrics


@pytest.mark.parametrize(
    ("plain", "identical"),
    [
        (made("Eagle is a pub", 6, 7, 99.0), 3),
        (made("Eagle is a bar", 6, 7, 99.0), 2),
        (made("Eagle is a pub", 5, 7, 99.0), 2),
    ],
)
def test_drafted_text_is_compared_with_plain(plain: Creative, identical: int) -> None:
    calls: list[tuple[str, bool]] = []

    def write(facts: str, draft: bool) -> Creative:
        calls.append((facts, draft))
        return plain if facts.startswith("name: Eagle") and not draft else DRAFTED[facts]

    report = measure_creative(TASK, ASKED, write, check_draft=True, with_floors=False)
    assert [draft for _, draft in calls] == [True, False, False, True, True, False]
    check = report.draft_check
    assert check is not None and (check.num_texts, check.num_identical) == (3, identical)
    assert (report.defect is None) == (identical == 3)
    assert [cost.way for cost in report.costs] == ["drafted", "plain"]
    assert [one.method for one in report.scores] == [OURS]


def test_facts_that_do_not_fit_have_an_empty_text() -> None:
    def write(facts: str, draft: bool) -> Creative:
        if "Mill" in facts:
            raise CapacityError("too long")
        return DRAFTED[facts]

    report = measure_creative(TASK, ASKED, write, with_floors=False)
    (cost,) = report.costs
    assert (cost.num_texts, cost.num_refused, cost.tokens) == (2, 1, 11)
    assert report.scores[0].metrics["coverage"].mean == pytest.approx(3 / 7)

    def refuse(facts: str, draft: bool) -> Creative:
        raise CapacityError("too long")

    with pytest.raises(CapacityError, match="too long"):
        measure_creative(TASK, ASKED, refuse, with_floors=False)
    with pytest.raises(InputError, match="no facts"):
        measure_creative(TASK, [], write)


def test_refused_in_one_way_only_is_a_difference() -> None:
    def write(facts: str, draft: bool) -> Creative:
        if "Mill" in facts and draft:
            raise CapacityError("too long")
        return DRAFTED[facts]

    report = measure_creative(TASK, ASKED, write, check_draft=True, with_floors=False)
    assert report.draft_check is not None and report.draft_check.num_identical == 2
    assert not math.isnan(report.costs[0].tokens_per_forward)
