"""Whatever is changed, a live catalogue holds what a dictionary says, and searches as one made anew."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from live_model import FILTERS, TOKENIZER, Model, Row, content_of, held, rebuilt
from search_fakes import HashScorer

from adtrie.catalogue import EntrySet, Selection
from adtrie.errors import CatalogueError, InputError
from adtrie.live import LiveCatalogue, Version
from adtrie.search import RowCost, exact, stepwise

PROMPT = np.array([7, 3, 9], np.int32)
TEXTS = ["a", "ab", "Ab", "abc", "b", "ba", "bab", "B", "c a", "c b", "cabin", "Cab", "ab ab ab"]
IDS = ["1", "2", "3", "4", "5"]

ids = st.lists(st.sampled_from([*IDS, "unknown"]), min_size=1, max_size=3, unique=True)
bids = st.sampled_from([0.5, 1.0, 2.0, 7.25])


@st.composite
def new_rows(draw: st.DrawFn, most: int = 4) -> list[Row]:
    rows = []
    for _ in range(draw(st.integers(1, most))):
        row: Row = {"id": draw(st.sampled_from(IDS)), "text": draw(st.sampled_from(TEXTS))}
        row |= draw(st.fixed_dictionaries({}, optional={"bid": bids, "c": st.sampled_from(["x", "y"])}))
        rows.append(row | draw(st.fixed_dictionaries({}, optional={"n": st.integers(0, 4)})))
    return rows


def same_answers(version: Version, selection: Selection, rows: list[Row], seed: int) -> None:
    """Searches over a selection find what they find over a catalogue of its rows."""
    if not rows:
        assert len(selection) == 0
        return
    new = rebuilt(rows)
    for renormalised in (False, True):
        k = min(3, len(new))
        wanted = exact(HashScorer(seed, renormalised=renormalised), new.trie, PROMPT, k, RowCost.kneed(4))
        found = exact(
            HashScorer(seed, renormalised=renormalised), selection.trie, PROMPT, k, RowCost.kneed(4)
        )
        assert [version.trie.tokens(e).tolist() for e in found.entries.tolist()] == [
            new.trie.tokens(e).tolist() for e in wanted.entries.tolist()
        ]
        assert found.scores.tolist() == wanted.scores.tolist() and found.gap == wanted.gap == 0.0
    wanted = stepwise(HashScorer(seed), new.trie, PROMPT, 2, 2)
    found = stepwise(HashScorer(seed), selection.trie, PROMPT, 2, 2)
    assert found.scores.tolist() == wanted.scores.tolist()


class LiveMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp()) / "live"
        self.models: dict[int, Model] = {}  # by version
        self.kept: list[Version] = []

    @initialize(rows=new_rows(12), repeat=st.booleans())
    def create(self, rows: list[Row], repeat: bool) -> None:
        distinct = list(Model(rows).rows.values())
        if repeat:  # without ids, texts are the ids
            distinct = [{"text": row["text"], "id": row["text"]} for row in distinct]
            distinct = list({row["text"].lower(): row for row in distinct}.values())
        given = [{"text": row["text"]} for row in distinct] if repeat else distinct
        LiveCatalogue.create(self.folder, rebuilt(given))
        self.live = LiveCatalogue.open(self.folder, TOKENIZER)
        self.reader = LiveCatalogue.open(self.folder, write=False)
        self.model = Model(distinct)
        self.models[0] = self.model.copy()

    def noted(self) -> None:
        self.models[self.live.version] = self.model.copy()

    @rule(rows=new_rows())
    def add(self, rows: list[Row]) -> None:
        before = len(self.model.rows)
        self.model.add(rows)
        done = self.live.add(rows)
        assert done.added == len(self.model.rows) - before
        assert done.added + done.replaced == len(rows)
        self.noted()

    @rule(ids=ids)
    def remove(self, ids: list[str]) -> None:
        known = {key[0] for key in self.model.rows}
        before = len(self.model.rows)
        self.model.remove(ids)
        done = self.live.remove(ids)
        assert done.removed == before - len(self.model.rows)
        assert done.unknown == len(set(ids) - known)
        self.noted()

    @rule(ids=ids, data=st.data())
    def set_bid(self, ids: list[str], data: st.DataObject) -> None:
        values = data.draw(st.lists(bids, min_size=len(ids), max_size=len(ids)))
        self.model.set_bid(ids, values)
        self.live.set_bid(ids, values)
        self.noted()

    @rule(where=st.sampled_from(list(FILTERS)))
    def pause(self, where: str) -> None:
        try:
            self.live.pause(where)
        except InputError:  # no row has such an attribute
            return
        self.model.pauses = tuple(dict.fromkeys([*self.model.pauses, where]))
        self.noted()

    @rule(where=st.sampled_from(list(FILTERS)))
    def resume(self, where: str) -> None:
        done = self.live.resume(where)
        assert (done.resumed, done.unknown) == ((1, 0) if where in self.model.pauses else (0, 1))
        self.model.pauses = tuple(one for one in self.model.pauses if one != where)
        self.noted()

    @rule(rows=new_rows(), ids=ids)
    def several_at_once(self, rows: list[Row], ids: list[str]) -> None:
        batch = self.live.batch()
        batch.add(rows)
        batch.remove(ids)
        batch.add(rows[:1])
        self.live.apply(batch)
        self.model.add(rows)
        self.model.remove(ids)
        self.model.add(rows[:1])
        self.noted()

    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        version = data.draw(st.integers(0, self.live.version + 1))
        try:
            self.live.rollback(version)
        except InputError as error:
            assert "is not held" in str(error)
            assert version < self.live.oldest or version > self.live.version or self.live.oldest > 0
            return
        self.model = self.models[version].copy()
        self.noted()

    @rule()
    def compact(self) -> None:
        version = self.live.version
        try:
            self.live.compact()
        except CatalogueError as error:
            assert not self.model.rows and "no row is left" in str(error)
        assert self.live.version == version

    @rule()
    def reopen(self) -> None:
        self.live.close()
        self.live = LiveCatalogue.open(self.folder, TOKENIZER)

    @rule()
    def keep(self) -> None:
        self.kept = [*self.kept[-2:], self.live.snapshot()]

    @rule()
    def read(self) -> None:
        assert self.reader.refresh() == self.live.version
        assert held(self.reader.snapshot()) == self.model.content()

    @rule()
    def reopen_reader(self) -> None:
        self.reader = LiveCatalogue.open(self.folder, write=False)

    @rule(seed=st.integers(0, 1000), data=st.data())
    def search(self, seed: int, data: st.DataObject) -> None:
        version, rows = self.live.snapshot(), self.model.live()
        same_answers(version, version.everything, rows, seed)
        where = data.draw(st.sampled_from(list(FILTERS)))
        allow, deny = data.draw(st.none() | ids), data.draw(st.none() | ids)
        try:
            selection = version.select(where, allow_ids=allow, deny_ids=deny)
        except InputError:
            return
        rows = [row for row in rows if FILTERS[where](row)]
        rows = [row for row in rows if allow is None or str(row["id"]) in allow]
        rows = [row for row in rows if deny is None or str(row["id"]) not in deny]
        assert held(version, selection) == content_of(rows)
        same_answers(version, selection, rows, seed)
        again = version.select(selection.entries)
        assert again.entries.members().tolist() == selection.entries.members().tolist()

    @invariant()
    def holds_what_the_model_says(self) -> None:
        if not hasattr(self, "live"):
            return
        version = self.live.snapshot()
        assert held(version) == self.model.content()
        assert version.pauses == self.model.pauses
        bids = version.entry_bids()
        assert bids.shape == (version.num_entries,)
        for entry in version.everything.entries.members().tolist():
            assert bids[entry] == version.bid(entry)
        for old in self.kept:
            assert held(old) == self.models[old.number].content()

    def teardown(self) -> None:
        if hasattr(self, "live"):
            self.live.close()
        shutil.rmtree(self.folder.parent)


TestLive: Any = pytest.mark.filterwarnings("ignore")(LiveMachine.TestCase)
TestLive.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


def test_a_set_of_entries_of_another_version_is_refused(tmp_path: Path) -> None:
    LiveCatalogue.create(tmp_path / "live", rebuilt([{"text": "a", "id": "1"}, {"text": "b", "id": "2"}]))
    with LiveCatalogue.open(tmp_path / "live", TOKENIZER) as live:
        before = live.snapshot()
        live.add([{"text": "c", "id": "3"}])
        with pytest.raises(InputError, match="over 3 entries"):
            live.snapshot().select(EntrySet.every(before.num_entries))
