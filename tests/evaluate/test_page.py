"""The page: well-formed, alone, and deaf to hostile text; plots and tables show the numbers of the report."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.evaluate.creating import CreativeReport, DraftCheck, TextExample, TextScore, WritingCost
from adtrie.evaluate.metrics import Interval
from adtrie.evaluate.page import page
from adtrie.evaluate.plots import STYLES, Axis, Curve, line_plot
from adtrie.evaluate.questions import Counts
from adtrie.evaluate.tables import Report, Table, tables_and_notes
from adtrie.evaluate.targeting import Example, RequestCost, Score, TargetingReport

VOID = {"meta", "br", "line", "polyline"}
HOSTILE = (
    "</title></style></p><script>alert(1)</script><img src=//evil.example/x onerror='a()'>\"'&\x1b[31m\u202e"
)


def interval(value: float) -> Interval:
    return Interval(value, value - 0.1, value + 0.1, 0.95)


def targeting(text: str) -> TargetingReport:
    scores = [
        Score(group, method, 7, (0.25, 0.5, 1.0), 0.6, 1.0, interval(0.25), interval(1.0), ahead, ahead)
        for group in ("warm", "cold")
        for method, ahead in (("adtrie", None), (text, interval(-0.125)))
    ]
    cost = RequestCost("warm", 7, 12.5, 20.0, 4.0, 31.0, 3, 2, tuple(map(float, range(101))))
    nothing = RequestCost("cold", 0, *[float("nan")] * 4, 0, 7, (float("nan"),) * 101)
    examples = (
        Example("warm", text, text, 1, ((text, -1.0), ("other", -2.0))),
        Example("cold", text, text, 0, ()),
    )
    counts = Counts(14, 5, 2, 3, 4, (f"line 3: {text}",))
    return TargetingReport(
        text, {"model": text, "width": None}, counts, tuple(scores), (cost, nothing), examples, 1.0
    )


def creative(text: str) -> CreativeReport:
    metrics = {"bleu": interval(0.5), "coverage": interval(0.75)}
    scores = (
        TextScore("adtrie", metrics, {}, 0.1, 0.2, 21.0),
        TextScore(text, metrics, {"bleu": interval(0.0), "coverage": interval(0.25)}, 0.3, 0.4, 9.0),
    )
    cost = WritingCost(text, 7, 12.5, 20.0, 700, 2.5, {"end": 6, text: 1}, 0, tuple(map(float, range(101))))
    examples = (TextExample(text, text, text, ()), TextExample(text, text, text, (text,)))
    return CreativeReport(text, {"model": text}, 7, scores, (cost,), DraftCheck(7, 6, text), examples, 1.0)


class Reader(HTMLParser):
    """Checks that tags close in order; collects attributes and what a reader sees."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if "style" not in self.open else ""


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


@pytest.mark.parametrize("make", [targeting, creative])
def test_a_page_is_whole_and_loads_nothing(make) -> None:  # type: ignore[no-untyped-def]
    for text in ("plain", HOSTILE):
        made = page(make(text))
        reader = read(made)
        assert made.startswith("<!DOCTYPE html>") and made.count("<svg") == made.count("<figure>") >= 1
        assert not reader.tags & {
            "script",
            "img",
            "link",
            "iframe",
            "object",
            "embed",
            "base",
            "form",
            "image",
        }
        names = {name for name, _ in reader.attributes}
        assert not names & {"src", "href", "srcset", "xlink:href", "data", "action", "background"}
        assert not [name for name in names if name.startswith("on")]
        style = made.split("<style>")[1].split("</style>")[0]
        assert "url(" not in style and "@import" not in style
        assert "http:" not in made and "https:" not in made
        assert ("Content-Security-Policy" in made) and "default-src 'none'" in made


@pytest.mark.parametrize("make", [targeting, creative])
def test_hostile_text_is_text(make) -> None:  # type: ignore[no-untyped-def]
    made = page(make(HOSTILE))
    visible = "".join(char if char.isprintable() else "\ufffd" for char in HOSTILE)
    assert visible in read(made).text
    assert "\x1b" not in made and "\u202e" not in made
    made.encode("utf-8")
    page(make("lone \udc80")).encode("utf-8")


@given(st.text(max_size=30))
@settings(max_examples=30, deadline=None)
def test_any_text_is_shown_as_it_is(text: str) -> None:
    visible = "".join(char if char.isprintable() else "\ufffd" for char in text)
    assert visible in read(page(targeting(text))).text


def test_a_page_shows_tables_notes_and_examples() -> None:
    text = " ".join(read(page(targeting("TF-IDF"))).text.split())
    for part in (
        "Warm (labels with training rows), 7 rows",
        "0.250 [0.150 0.350]",
        "-0.125 [-0.225 -0.025]",
        "100.0 %",
        "12.5",
        "3/7",
        "2 rows ask for a label that is no entry",
        "3 rows without a usable query or label were left out",
        "4 train rows have the query of a held-out row",
        "line 3: TF-IDF",
        "label: TF-IDF (place 1)",
        "label: TF-IDF (not found)",
    ):
        assert part in text, part
    assert "width" not in text  # what does not apply is left out
    text = " ".join(read(page(creative("nearest"))).text.split())
    for part in ("exact and Porter stem", "2.50", "identical for 6 of 7 facts", "missing: nearest", "+0.250"):
        assert part in text, part


@pytest.mark.parametrize("report", [targeting("floor"), creative("floor")])
def test_tables_are_aligned(report: Report) -> None:
    tables, _ = tables_and_notes(report)
    for table in tables:
        assert {len(row) for row in table.rows} == {len(table.head)}
    plain = Table("t", ("", "R@1"), (("long name", "0.5"), ("x", "10.25")))
    assert plain.lines() == ["t", "               R@1", "  long name    0.5", "  x          10.25"]


def test_a_report_without_floors_or_train_rows_says_less() -> None:
    full = targeting("floor")
    only = tuple(one for one in full.scores if one.method == "adtrie")
    tables, notes = tables_and_notes(replace(full, scores=only, counts=Counts(14, 0, 0, 0, 0, ())))
    assert [table.title.split(",")[0] for table in tables] == [
        "Warm (labels with training rows)",
        "Cold (labels without a training row)",
        "One request (medians of forwards and rows)",
    ]
    assert len(notes) == 1


def test_a_plot_places_points_by_their_axes() -> None:
    svg = line_plot(
        [Curve("a & b", [(0, 0.0), (5, 0.5), (10, 1.0)])], Axis("x", 0, 10), Axis("y<", 0, 1, 1, 0.5)
    )
    points = re.findall(r'points="([^"]+)" fill', svg)[0].split()
    places = [tuple(map(float, point.split(","))) for point in points]
    (left, bottom), (middle, centre), (right, top) = places
    assert middle == pytest.approx((left + right) / 2) and centre == pytest.approx((top + bottom) / 2)
    assert left < right and top < bottom
    assert "a &amp; b" in svg and "y&lt;" in svg
    assert all(f">{tick}</text>" in svg for tick in ("0", "2", "10", "0.0", "0.5", "1.0"))
    assert svg.count("<polyline") == 2


@given(
    st.lists(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), max_size=5), max_size=len(STYLES)),
    st.floats(-3, 3),
    st.floats(0, 3),
)
def test_nothing_leaves_the_frame(curves: list[list[tuple[float, float]]], low: float, span: float) -> None:
    axis = Axis("", low, low + span)
    svg = line_plot([Curve("c", points) for points in curves], axis, axis)
    for points in re.findall(r'points="([^"]*)"', svg):
        for x, y in (map(float, point.split(",")) for point in points.split()):
            assert 0 <= x <= 560 and 0 <= y <= 320 + 20 * len(curves)
