"""Turns are taken by all, another one first each time, and repeated while others disturb them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from benchmarks import speed_engines, speed_targeting
from benchmarks.engine_rounds import Effort, Running, slow, take_rounds
from benchmarks.engines import ENGINES
from benchmarks.machine import ForeignLoad
from benchmarks.speed_engines import agreement
from benchmarks.speed_targeting import Participant, Request, take_turns
from benchmarks.undisturbed import MOST_FOREIGN, Patience, Sample, undisturbed
from hypothesis import given
from hypothesis import strategies as st


class Loads:
    """Foreign load as a script: one share for each try; and the sleeps in between."""

    def __init__(self, *shares: float) -> None:
        self.shares, self.slept = list(shares), 0.0

    def watch(self) -> Callable[[], float]:
        return lambda: self.shares.pop(0)

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


def test_a_quiet_sample_is_taken_once() -> None:
    loads = Loads(0.01)
    assert undisturbed(lambda: "a", loads.watch, sleep=loads.sleep) == Sample("a", 0.01, 1)
    assert loads.slept == 0


def test_a_disturbed_sample_is_repeated_until_it_is_quiet() -> None:
    loads, values = Loads(0.5, 0.02, 0.0), iter("abc")
    assert undisturbed(lambda: next(values), loads.watch, sleep=loads.sleep) == Sample("b", 0.02, 2)
    assert loads.slept > 0


@given(st.lists(st.floats(MOST_FOREIGN + 0.001, 1.0), min_size=1, max_size=5))
def test_of_disturbed_samples_the_quietest_is_kept_and_says_so(shares: list[float]) -> None:
    loads, values = Loads(*shares), iter(range(5))
    found = undisturbed(lambda: next(values), loads.watch, tries=len(shares), sleep=loads.sleep)
    assert (found.value, found.tries) == (shares.index(min(shares)), len(shares))
    assert found.foreign == min(shares) and found.disturbed


def test_patience_ends_and_each_sample_is_then_made_once() -> None:
    loads = Loads(*[0.5] * 9)
    patience = Patience(tries=3, repeats=3, sleep=loads.sleep)
    assert [patience.sample(lambda: 0, loads.watch).tries for _ in range(4)] == [3, 2, 1, 1]


def test_own_children_are_no_foreign_load() -> None:
    assert 0.0 <= ForeignLoad([1, 999_999_999]).share() <= 1.0


def running(name: str) -> Running:
    kind = next(kind for kind in ENGINES if kind.name == name)
    return Running(kind, name, [1.0])  # type: ignore[arg-type]


def test_each_round_begins_with_another_engine() -> None:
    engines, order = [running("adtrie-int4"), running("llama-q4_0"), running("torch-int8")], []

    def one_turn(process: Any, lengths: Any) -> dict[str, float]:
        order.append(process)
        return {"decode": 0.01, "prefill_32": 0.1}

    take_rounds(engines, Effort(rounds=3), one_turn, lambda process: lambda: 0.0)
    assert [len(engine.turns) for engine in engines] == [3, 3, 3]
    assert [order[0], order[3], order[6]] == ["adtrie-int4", "llama-q4_0", "torch-int8"]
    assert sorted(order[3:6]) == sorted(order[:3])


@pytest.mark.parametrize(("decode_s", "rounds"), [(0.01, 5), (0.1, 1)])
def test_an_engine_far_behind_in_everything_takes_part_in_one_round(decode_s: float, rounds: int) -> None:
    engines = [running("adtrie-int4"), running("transformers-bf16")]
    seconds = {"adtrie-int4": (0.01, 0.1), "transformers-bf16": (decode_s, 0.5)}

    def one_turn(process: Any, lengths: Any) -> dict[str, float]:
        decode, prefill = seconds[process]
        return {"decode": decode, "prefill_128": prefill}

    take_rounds(engines, Effort(), one_turn, lambda process: lambda: 0.0)
    assert [len(engine.turns) for engine in engines] == [5, rounds]
    assert slow(engines[1], engines) == (rounds == 1) and not slow(engines[0], engines)


def test_the_longest_prompt_comes_every_other_round() -> None:
    engine, seen = running("adtrie-int4"), []

    def one_turn(process: Any, lengths: Any) -> dict[str, float]:
        seen.append(list(lengths))
        return {"decode": 0.1} | {f"prefill_{length}": 1.0 for length in lengths}

    take_rounds([engine], Effort(rounds=3), one_turn, lambda process: lambda: 0.0)
    assert seen == [[32, 128, 512], [32, 128], [32, 128, 512]]
    assert speed_engines._rates("prefill_512", engine.turns)["samples"] == [512.0, 512.0]


def test_an_engine_that_dies_is_out_and_the_others_go_on() -> None:
    engines = [running("adtrie-int4"), running("llama-q4_0")]

    def one_turn(process: Any, lengths: Any) -> dict[str, float]:
        if process == "llama-q4_0" and engines[1].turns:
            raise RuntimeError("the llama process stopped")
        return {"decode": 0.01}

    take_rounds(engines, Effort(rounds=3), one_turn, lambda process: lambda: 0.0)
    assert [len(engine.turns) for engine in engines] == [3, 1]
    assert engines[1].failed == "the llama process stopped" and engines[0].failed is None


def test_agreement_counts_what_comes_before_the_first_difference() -> None:
    assert agreement([1, 2, 3], [1, 2, 3]) == 3
    assert agreement([1, 9, 3], [1, 2, 3]) == 1


class Answers:
    """A process that gives its answers one after the other."""

    def __init__(self, *answers: list[int]) -> None:
        self.answers = list(answers)

    def ask(self, message: Any, timeout_s: float = 0) -> dict[str, Any]:
        return {"tokens": self.answers.pop(0)}

    def pause(self) -> None: ...

    def resume(self) -> None: ...


def test_engines_with_wrong_answers_are_refused() -> None:
    wanted = list(range(speed_engines.CHECKED))
    wrong, other = [0, 1, *[77] * (len(wanted) - 2)], [*wanted[:-1], 77]

    def check(name: str, *answers: list[int], against: list[int] | None = wanted) -> str | None:
        engine = running(name)
        engine.process = Answers(*answers)  # type: ignore[assignment]
        speed_engines.check(engine, against, [1])
        return engine.failed

    assert check("llama-q4_0", wanted, wanted) is None
    assert check("llama-q4_0", other, other) is None
    assert "only 2 of 16" in str(check("llama-q4_0", wrong, wrong))
    assert "differ" in str(check("llama-q4_0", wanted, other))
    assert check("llama-q4_0", wrong, wrong, against=None) is None  # random weights
    assert check("adtrie-mixed", wrong, wrong) is None  # pruned without calibration: for speed only


def test_queries_go_round_and_slow_peers_get_fewer() -> None:
    seen: list[str] = []

    def answering(name: str) -> Callable[[str], Request]:
        def ask(query: str) -> Request:
            seen.append(f"{name}{query}")
            return Request(random.random(), 1)

        return ask

    fast, peer = Participant("fast", answering("f"), 3), Participant("peer", answering("p"), 1)
    found = take_turns([peer, fast], "xyz", lambda pids: lambda: 0.0)
    assert seen == ["px", "fx", "fy", "fz"]
    assert [len(found[name]) for name in ("fast", "peer")] == [3, 1]


def test_ratios_are_of_the_same_query() -> None:
    ours = [Sample(Request(1.0, 2, 3), 0.0, 1), Sample(Request(4.0, 2, 3), 0.2, 2)]
    peer = [Sample(Request(20.0, 9), 0.0, 1), Sample(Request(40.0, 9), 0.0, 1)]
    row = speed_targeting.summary("adtrie INT4 exact k=1", ours, {"peer": peer})
    assert row["times_faster_than"] == {"peer": 15.0}
    assert (row["p50_ms"], row["repeated"], row["disturbed"]) == (2.5, 1, 1)
