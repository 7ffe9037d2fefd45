"""The packaged E2E task: sizes and splits; tasks that do not ship; the rules of fact coverage."""

from __future__ import annotations

import gzip
import runpy
from pathlib import Path

import pytest

from adtrie.errors import FormatError, InputError
from adtrie.evaluate import (
    Brief,
    Coverage,
    CreativeTask,
    coverage,
    covered,
    creative_tasks,
    load_creative_task,
)
from adtrie.evaluate.creative_tasks import CREATIVE_SPLITS, facts_text, slots_of, templates_of

ROOT = Path(__file__).resolve().parents[2]
SLOTS = slots_of(
    "name[The Eagle], eatType[coffee shop], familyFriendly[no], near[Café Rouge], priceRange[cheap]"
)


@pytest.fixture(scope="module")
def task() -> CreativeTask:
    return load_creative_task("e2e")


def test_sizes_are_those_of_the_notice(task: CreativeTask) -> None:
    sizes = {
        split: (len(task.briefs_of(split)), sum(len(brief.references) for brief in task.briefs_of(split)))
        for split in CREATIVE_SPLITS
    }
    assert sizes == {"train": (502, 4_183), "dev": (45, 338), "test": (630, 4_577)}


def test_no_facts_are_in_two_splits(task: CreativeTask) -> None:
    assert len({brief.facts for brief in task.briefs}) == len(task.briefs) == 1_177
    assert all(len(set(brief.references)) == len(brief.references) > 0 for brief in task.briefs)


def test_the_split_rule_gives_the_committed_column(task: CreativeTask) -> None:
    split_of = runpy.run_path(str(ROOT / "benchmarks" / "make_e2e.py"))["split_of"]
    for brief in task.briefs:
        meaning = ", ".join(f"{name}[{value}]" for name, value in brief.slots)
        assert brief.split in ("test", split_of(meaning))


def test_facts_are_readable() -> None:
    assert facts_text(SLOTS) == (
        "name: The Eagle; type: coffee shop; family friendly: no; near: Café Rouge; price range: cheap"
    )


def test_templates_have_places_for_values() -> None:
    brief = Brief("", ("The Eagle is a cheap pub near Café Rouge, not The Eagles",), "train", SLOTS)
    assert templates_of(brief) == ["{name} is a {price range} pub near {near}, not The Eagles"]


def test_most_human_texts_state_most_facts(task: CreativeTask) -> None:
    rows = [(text, brief.slots) for brief in task.briefs_of("test") for text in brief.references]
    found = coverage([text for text, _ in rows], [slots for _, slots in rows])
    assert 0.89 < found.facts < 0.92
    assert found.num_facts > 30_000


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("Eagle is a cheap coffee shop near Cafe Rouge, not for kids.", (1, 1, 1, 1, 1)),
        ("The Eagle, a low priced pub by Café Rouge, isn't child-friendly", (1, 0, 1, 1, 1)),
        ("The Eagles is family friendly. Low rating.", (0, 0, 0, 0, 0)),
        ("For adults only: the EAGLE café, inexpensive.", (1, 1, 1, 0, 1)),
        ("", (0, 0, 0, 0, 0)),
    ],
)
def test_facts_that_are_stated(text: str, stated: tuple[int, ...]) -> None:
    assert tuple(map(int, covered(text, SLOTS).values())) == stated


@pytest.mark.parametrize(
    ("slot", "value", "yes", "no"),
    [
        ("familyFriendly", "yes", "a family friendly pub", "not a family friendly pub"),
        ("familyFriendly", "yes", "children are welcome", "no children allowed"),
        ("area", "riverside", "next to the river", "in the city centre"),
        ("area", "city centre", "in the centre of the city", "by the river"),
        ("rating", "5 out of 5", "rated 5 out of 5 stars", "rated 1 out of 5"),
        ("customer rating", "5 out of 5", "a five-star pub", "a one-star pub"),
        ("customer rating", "low", "a low customer rating", "a low price range"),
        ("customer rating", "high", "it is highly rated by customers", "the price range is high"),
        ("priceRange", "high", "prices are high", "customer rating is high"),
        ("priceRange", "less than £20", "for under £20", "more than £30"),
        ("priceRange", "more than £30", "over £30 a head", "less than £20"),
        ("priceRange", "£20-25", "between £20 and £25", "about £30"),
        ("food", "Fast food", "serves fast-food", "serves food fast"),
        ("food", "Italian", "an Italian place", "a French place"),
    ],
)
def test_rules_of_values(slot: str, value: str, yes: str, no: str) -> None:
    assert covered(yes, [(slot, value)])[slot]
    assert not covered(no, [(slot, value)])[slot]


def test_coverage_counts_facts_and_texts() -> None:
    slots = [[("name", "A"), ("area", "riverside")], [("name", "B")]]
    assert coverage(["A", "B"], slots) == Coverage(2 / 3, 1 / 2, 3)
    for texts, given in (([], []), (["A"], slots), (["A"], [[]])):
        with pytest.raises(InputError):
            coverage(texts, given)


def test_tasks_that_do_not_ship_say_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"GPL-3\.0 and does not ship"):
        load_creative_task("slogans", tmp_path)
    with pytest.raises(InputError, match="measurements only"):
        load_creative_task("csl", tmp_path)


def test_tasks_beside_the_checkout_are_read(tmp_path: Path) -> None:
    for name in ("slogans", "csl"):
        (tmp_path / name).mkdir()
    rows = "desc,output,type,company,alias\n<company>  sells x.,Buy <company>,headline,acme,Acme\n"
    (tmp_path / "slogans" / "valid.csv.gz").write_bytes(gzip.compress(rows.encode()))
    (tmp_path / "csl" / "ts_dev.tsv").write_text("to title\t摘要\t题目\n", encoding="utf-8")
    (slogan,) = load_creative_task("slogans", tmp_path).briefs_of("test")
    assert (slogan.facts, slogan.references) == ("Acme sells x.", ("Buy Acme",))
    csl = load_creative_task("csl", tmp_path)
    assert csl.language == "zh" and csl.briefs[0].references == ("题目",)


@pytest.mark.parametrize("name", ["", "E2E", "../e2e"])
def test_an_unknown_task_or_split_is_an_input_error(name: str, task: CreativeTask) -> None:
    with pytest.raises(InputError, match="use one of"):
        load_creative_task(name)
    with pytest.raises(InputError, match="use one of"):
        task.briefs_of(name)


@pytest.mark.parametrize(
    "rows",
    [
        b"not gzip",
        gzip.compress(b"meaning,reference,split\nname[A],text,other\n", mtime=0),
        gzip.compress(b"meaning,reference,split\nname A,text,train\n", mtime=0),
        gzip.compress(b"meaning,reference,split\nname[A],,train\n", mtime=0),
        gzip.compress(b"meaning,split\nname[A],train\n", mtime=0),
        gzip.compress(b"\xff\xfe\n", mtime=0),
        gzip.compress(b"meaning,reference,split\nname[A],text,train\n", mtime=0)[:-9],
    ],
)
def test_damaged_data_is_a_format_error(rows: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "data" / "e2e"
    target.mkdir(parents=True)
    (target / "rows.csv.gz").write_bytes(rows)
    monkeypatch.setattr(creative_tasks, "files", lambda package: tmp_path)
    with pytest.raises(FormatError, match="reinstall"):
        load_creative_task("e2e")
