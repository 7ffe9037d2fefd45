"""Plans: no schedule changes a bit; one of another machine, model or version, or damaged, is rebuilt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_session import random_tree, score_in_pieces

from adtrie.engine import Engine, execution_plan, latency, machine, optimize
from adtrie.engine.execution_plan import ExecutionPlan
from adtrie.engine.plan_stages import Sizes, row_plan, stages_of
from adtrie.errors import InputError
from adtrie.models import Checkpoint


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, searches that measure little, and a machine that nobody else keeps busy."""
    monkeypatch.setenv("ADTRIE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(latency, "ROW_COUNTS", (1, 4))
    monkeypatch.setattr(latency, "_ENOUGH_MS", 0.0)
    monkeypatch.setattr(optimize, "QUICK_COUNTS", {1: 2, 8: 512})
    monkeypatch.setattr(optimize, "ROW_COUNTS", (1, 8, 64))
    monkeypatch.setattr(machine.OtherLoad, "share", lambda load: 0.0)
    return tmp_path / "cache" / "plans"


def fail_to_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimize, "build", lambda *args, **kwargs: pytest.fail("searched again"))


gemms = st.tuples(st.integers(0, 1), st.integers(1, 14), st.integers(0, 3), st.integers(0, 1))
row_plans = st.tuples(
    st.integers(1, 40),
    *[st.integers(0, 1)] * 4,
    st.integers(0, 4).map(lambda pairs: 2 * pairs),
    gemms,
    gemms,
    gemms,
    gemms,
    gemms,
).map(lambda plan: [*plan[:6], *plan[6], *plan[7], *plan[8], *plan[9], *plan[10]])
schedules = st.lists(row_plans, min_size=1, max_size=3, unique_by=lambda plan: plan[0]).map(sorted)


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("score", ["raw", "renormalised"])
def test_no_schedule_changes_a_bit(llama: Checkpoint, isa: str, weights: str, score: str) -> None:
    engines = [Engine(llama, weights=weights, isa=isa, threads=n) for n in (1, 3)]  # type: ignore[arg-type]
    prefix = np.arange(5, 25, dtype=np.int32)
    plain = Engine(llama, weights=weights, isa=isa, threads=1)  # type: ignore[arg-type]

    @settings(max_examples=12, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 50), schedules, st.data())
    def check(seed: int, size: int, schedule: list[list[int]], data: st.DataObject) -> None:
        tokens, parents = random_tree(seed, size, llama.spec.vocab_size)
        cuts = sorted(data.draw(st.lists(st.integers(0, size), max_size=3)))
        expected = score_in_pieces(plain.session(prefix, score), tokens, parents, [])
        for engine in engines:
            engine._model.set_schedule(np.array(schedule, np.int32))
            np.testing.assert_array_equal(
                score_in_pieces(engine.session(prefix, score), tokens, parents, cuts), expected
            )

    check()


def test_rows_nobody_asks_about_change_no_bit(llama: Checkpoint) -> None:
    """The last layer skips them; what continues them later still finds them."""
    engine, rng = Engine(llama, threads=2), np.random.default_rng(4)
    tokens, parents = random_tree(3, 60, llama.spec.vocab_size)
    children = np.array([3, 17, 200], np.int32)
    everything = score_in_pieces(engine.session(), tokens, parents, []).reshape(60, -1)
    for share in (0.0, 0.1, 0.7):
        asked = rng.random(60) < share
        session, ptr = engine.session(), np.concatenate([[0], np.cumsum(3 * asked)])
        got = session.score(tokens, parents, ptr.astype(np.int64), np.tile(children, int(asked.sum())))
        np.testing.assert_array_equal(got.reshape(-1, 3), everything[asked][:, [1, 2, 3]])
        last = session.score(tokens[:1], np.array([59], np.int32), np.array([0, 3]), children)
        whole = engine.session()
        score_in_pieces(whole, tokens, parents, [])
        expected = whole.score(tokens[:1], np.array([59], np.int32), np.array([0, 3]), children)
        np.testing.assert_array_equal(last, expected)


def test_found_once_then_loaded(llama: Checkpoint, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Engine(llama, threads=2).plan()
    assert first.quick
    assert len(list(cache.iterdir())) == 1
    fail_to_build(monkeypatch)
    engine = Engine(llama, threads=2)
    assert engine.plan().to_json() == first.to_json()
    assert [tuple(row) for row in engine._model.schedule.tolist()] == list(first.schedule)


@pytest.mark.parametrize(("then", "now", "again"), [(0.5, 0.0, True), (0.5, 0.4, False), (0.1, 0.0, False)])
def test_found_on_a_busy_machine_is_searched_again_on_a_quieter_one(
    llama: Checkpoint, cache: Path, monkeypatch: pytest.MonkeyPatch, then: float, now: float, again: bool
) -> None:
    Engine(llama, threads=1).plan()
    (path,) = cache.iterdir()
    busy = {**json.loads(path.read_text()), "others_share": then}
    path.write_text(json.dumps(busy))
    monkeypatch.setattr(machine.OtherLoad, "share", lambda load: now)
    assert Engine(llama, threads=1).plan().others_share == (now if again else then)
    assert json.loads(path.read_text())["others_share"] == (now if again else then)


def test_full_search_measures_every_stage_and_replaces_the_short_one(llama: Checkpoint) -> None:
    Engine(llama, threads=1).plan()
    plan = Engine(llama, threads=1).optimize()
    assert not plan.quick
    assert [row[0] for row in plan.schedule] == [1, 8, 64]
    stages = {"norm", "qkv", "place", "attend", "o", "mlp_norm", "gate_up", "down", "head"}
    assert {(s.rows, s.stage) for s in plan.stages} == {(n, stage) for n in (1, 8, 64) for stage in stages}
    assert all(s.bound_ms >= 0 and s.predicted_ms >= 0 and s.measured_ms >= 0 for s in plan.stages)
    assert Engine(llama, threads=1).plan().to_json() == plan.to_json()


@pytest.mark.parametrize("name", ["adtrie", "revision", "machine", "cores", "model", "threads", "isa"])
def test_a_plan_of_something_else_is_rebuilt(
    llama: Checkpoint, cache: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version, machine, model, thread count or instruction set: even under the right file name."""
    plan = Engine(llama, threads=1).plan()
    (path,) = cache.iterdir()
    foreign = plan.to_json() | {"key": {**plan.key, name: "another"}}
    path.write_text(json.dumps(foreign))
    assert execution_plan.load(plan.key) is None
    again = Engine(llama, threads=1)
    assert again._plan is None
    assert again.plan().key == plan.key
    assert json.loads(path.read_text())["key"] == plan.key


def _with(name: str, value: Any) -> Any:
    return lambda content: content | {name: value}


DAMAGE = {
    "empty": lambda content: "",
    "no JSON": lambda content: "{",
    "a list": lambda content: [],
    "deep": lambda content: "[" * 60_000,
    "huge": lambda content: "x" * (2 << 20),
    "no schedule": _with("schedule", []),
    "short row plan": _with("schedule", [[1, 2]]),
    "text in a row plan": _with("schedule", [["1"] * 26]),
    "negative": _with("schedule", [[-1] * 26]),
    "odd panels": _with("schedule", [[1, 0, 0, 0, 0, 3, *[0, 6, 1, 0] * 5]]),
    "no panels": _with("schedule", [[1, 0, 0, 0, 0, 2, *[0, 0, 1, 0] * 5]]),
    "rows fall": lambda content: content | {"schedule": content["schedule"][::-1]},
    "nan": _with("ms", [float("nan")] * 10),
    "no rows": _with("rows", []),
    "stages": _with("stages", [{"rows": 1}]),
    "infinite": _with("bytes_per_s", float("inf")),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_plan_is_rebuilt(llama: Checkpoint, cache: Path, damage: Any) -> None:
    plan = Engine(llama, threads=1).plan()
    (path,) = cache.iterdir()
    content = damage(plan.to_json())
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    engine = Engine(llama, threads=1)
    assert engine._plan is None
    assert engine.plan().key == plan.key
    assert ExecutionPlan.from_json(json.loads(path.read_text())).schedule == engine.plan().schedule


def test_unwritable_cache_is_no_error(
    llama: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ADTRIE_CACHE", str(tmp_path / "file"))
    assert Engine(llama, threads=1).latency().ms(1) > 0


def test_other_threads_or_instruction_set_find_their_own_plan(
    llama: Checkpoint, cache: Path, isa: str
) -> None:
    """Fewer cores than planned, or ADTRIE_ISA forced lower: another key, and the same bits as before."""
    Engine(llama, threads=2).plan()
    for threads in (1, 2):
        engine = Engine(llama, threads=threads, isa=isa)
        before = engine.logits(np.arange(9))
        engine.plan()
        np.testing.assert_array_equal(engine.logits(np.arange(9)), before)
    assert len(list(cache.iterdir())) == (3 if isa != Engine(llama).isa else 2)


def test_the_core_refuses_schedules_out_of_range(llama: Checkpoint) -> None:
    model = Engine(llama)._model
    good = model.schedule
    for row in ([], [[1] * 25], [[0, *[0] * 5, *[0, 6, 1, 0] * 5]]):
        with pytest.raises((ValueError, TypeError)):
            model.set_schedule(np.array(row, np.int32))
    np.testing.assert_array_equal(model.schedule, good)


def test_stages_cover_all_numbers_of_a_row_plan(llama: Checkpoint) -> None:
    sizes = Sizes(dict.fromkeys(("qkv", "o", "gate_up", "down", "head"), 1.0), 8, 2)
    for rows in (1, 8, 64):
        for quick in (False, True):
            stages = stages_of(llama.spec, rows, sizes, quick)
            settings_by_stage = {stage.name: stage.options[0].settings for stage in stages}
            assert len(row_plan(rows, settings_by_stage)) == 26


def test_a_plan_that_is_no_plan_says_so() -> None:
    with pytest.raises(InputError, match="execution plan"):
        ExecutionPlan.from_json({"key": {}})
