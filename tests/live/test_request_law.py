"""One law: whatever is asked for, while others change the catalogue, is what enumeration finds there.

Filters, bids, caps, seeds and a prior of bids at once; rows that share an entry, texts that begin others.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from live_model import FILTERS, TOKENIZER, Model, Row, rebuilt
from search_fakes import COSTS, HashScorer

from adtrie.errors import InputError
from adtrie.live import LiveCatalogue, Version
from adtrie.lookup import NOTHING, Lookup
from adtrie.request import TargetOptions
from adtrie.search import enumerate_all

PROMPT = np.array([7, 3, 9], np.int32)
TEXTS = ["a", "ab", "Ab", "abc", "b", "ba", "bab", "B", "c a", "c b", "cabin", "Cab", "ab ab ab"]
IDS = ["1", "2", "3", "4", "5"]
NUM_THREADS = 3
Answer = list[tuple[str, float]]


@st.composite
def new_rows(draw: st.DrawFn, most: int = 4) -> list[Row]:
    values = {"bid": st.sampled_from([0.5, 1.0, 2.0, 7.25]), "c": st.sampled_from(["x", "y", "1", 1, "1.0"])}
    rows = []
    for _ in range(draw(st.integers(1, most))):
        row: Row = {"id": draw(st.sampled_from(IDS)), "text": draw(st.sampled_from(TEXTS))}
        rows.append(row | draw(st.fixed_dictionaries({}, optional=values)))
    return rows


@st.composite
def questions(draw: st.DrawFn) -> tuple[str | None, TargetOptions, int, bool]:
    """A filter, options, the seed of the scores, whether they are renormalised."""
    options = TargetOptions(
        k=draw(st.integers(1, 6)),
        prefer=draw(st.sampled_from(["auto", "rows", "forwards"])),
        bid_weight=draw(st.sampled_from([0.0, 1.0, 30.0])),
        at_most=draw(st.sampled_from([None, (1, "c"), (2, "c")])),
    )
    where = draw(st.sampled_from([None, "c = x", "c != 1", "c > 0"]))
    return where, options, draw(st.integers(0, 99)), draw(st.booleans())


CHANGES = st.one_of(
    st.tuples(st.just("add"), new_rows()),
    st.tuples(st.just("remove"), st.lists(st.sampled_from(IDS), min_size=1, max_size=2, unique=True)),
    st.tuples(st.just("set_bid"), st.sampled_from(IDS), st.sampled_from([0.25, 3.0, 100.0])),
    st.tuples(st.just("pause"), st.just("c = x")),
    st.tuples(st.just("compact")),
)
PASSES = {
    None: lambda row: True,
    "c = x": lambda row: row.get("c") == "x",
    "c != 1": lambda row: group_of(row) != 1.0,
    "c > 0": lambda row: group_of(row) == 1.0,
}


def group_of(row: Row) -> Any:
    """What a row counts for: a text that is a number is that number."""
    value = row.get("c")
    return float(value) if value in (1, "1", "1.0") else value


def expected(model: Model, where: str | None, options: TargetOptions, scorer: HashScorer) -> Answer:
    """Enumeration of the rows that may be returned, then down the list."""
    rows = [row for row in model.live() if PASSES[where](row)]
    if not rows:
        return []
    catalogue = rebuilt(rows)
    found, taken, answer = enumerate_all(scorer, catalogue.trie, PROMPT), list[Any](), list[Any]()
    totals = {}
    for entry, score in zip(found.entries.tolist(), found.scores.tolist(), strict=True):
        mine = [row for row in rows if row["text"].lower() == catalogue.text(entry).lower()]
        best = max(mine, key=lambda row: row.get("bid", 1.0))
        totals[entry] = (score + options.bid_weight * float(np.log(best.get("bid", 1.0))), group_of(best))
    for entry in sorted(totals, key=lambda one: (-totals[one][0], one)):
        total, group = totals[entry]
        if options.cap and group is not None and taken.count(group) >= options.cap[0]:
            continue
        taken.append(group)
        answer.append((catalogue.text(entry).lower(), total))
    return answer[: options.k]


def answered(version: Version, question: Any, cost: Any) -> Answer | None:
    """What a request finds; None where no row has the attribute."""
    where, options, seed, renormalised = question
    try:
        selection = version.everything if where is None else version.select(where)
        lookup = Lookup.of(version, options, None, selection, selection.entries.members()[:2])
    except InputError:
        return None
    scorer = HashScorer(seed, renormalised=renormalised)
    found = NOTHING if lookup is None else lookup.run(scorer, PROMPT, lambda: cost)
    assert found.gap == 0.0
    texts = [version.text(entry).lower() for entry in found.entries.tolist()]
    return list(zip(texts, found.scores.tolist(), strict=True))


def changed(live: LiveCatalogue, model: Model, change: Any) -> None:
    kind, *values = change
    if kind == "set_bid":
        model.set_bid([values[0]], [values[1]])
        live.set_bid([values[0]], [values[1]])
    elif kind == "pause":
        try:
            live.pause(values[0])
        except InputError:
            return
        model.pauses = (values[0],)
    elif kind == "compact":
        if model.rows:
            live.compact()
    else:
        getattr(model, kind)(values[0])
        getattr(live, kind)(values[0])


@given(
    new_rows(14),
    st.lists(CHANGES, max_size=6),
    st.lists(questions(), min_size=1, max_size=3),
    st.sampled_from(COSTS),
)
@settings(max_examples=60, deadline=None)
def test_every_request_is_what_enumeration_finds(
    rows: list[Row], changes: list[Any], asked: list[Any], cost: Any
) -> None:
    assert FILTERS["c = x"]({"c": "x"})
    folder = Path(tempfile.mkdtemp()) / "live"
    model = Model(rows)
    LiveCatalogue.create(folder, rebuilt(list(model.rows.values())))
    answers: list[tuple[int, Any, Answer | None]] = []
    failed: list[BaseException] = []
    with LiveCatalogue.open(folder, TOKENIZER) as live:
        models, done = {0: model.copy()}, threading.Event()

        def ask() -> None:
            try:
                while True:
                    last = done.is_set()
                    for question in asked:
                        version = live.snapshot()
                        answers.append((version.number, question, answered(version, question, cost)))
                    if last:
                        return
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=ask) for _ in range(NUM_THREADS)]
        for thread in threads:
            thread.start()
        try:
            for change in changes:
                changed(live, model, change)
                models[live.version] = model.copy()
        finally:
            done.set()
            for thread in threads:
                thread.join()
    shutil.rmtree(folder.parent)
    if failed:
        raise failed[0]
    for number, (where, options, seed, renormalised), found in answers:
        if found is not None:
            scorer = HashScorer(seed, renormalised=renormalised)
            wanted = expected(models[number], where, options, scorer)
            assert [text for text, _ in found] == [text for text, _ in wanted]
            np.testing.assert_allclose([s for _, s in found], [s for _, s in wanted], rtol=1e-12, atol=1e-12)
