"""Finds the execution plan of an engine: measures the options of every stage, searches, freezes.

Options are timed by the processor seconds of the busiest thread, least of a few tries, so that a busy machine
spoils little. Knows the native core's stages; the search itself is in `plan.py`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adtrie import __version__, _core
from adtrie.engine import execution_plan, latency, machine
from adtrie.engine.execution_plan import ExecutionPlan, StageTime
from adtrie.engine.plan import Limits, Option, Stage, fitting, search
from adtrie.engine.plan_stages import REVISION, Sizes, row_plan, schedule_array, settings_of, stages_of

if TYPE_CHECKING:
    from adtrie.engine.engine import Engine
    from adtrie.engine.session import Session

ROW_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
QUICK_COUNTS = {1: 2, 8: 12, 64: 512}  # measured rows -> serves passes of up to so many
_PASS_ROWS = 256  # the core's largest pass: more rows take several
_CONTEXT = 128
_PROBE_BYTES = 256 << 20
_BUSY = 0.15  # others' share of the machine from which measured times are not to be kept for long
_LOOK_S = 0.1
_SHORT_ROWS, _ROUNDS = 16, 3  # up to here options differ by less than two moments do: by turns, several times
_MOST_ROUNDS = 12  # of one row, where all wait for memory
_GAIN, _QUICK_GAIN = 1.01, 1.05  # so many times faster than the likeliest an option must be to be believed
_ONE_THREAD_ROWS = 8  # up to here it may pay to let the other threads sleep


def cached(engine: Engine) -> ExecutionPlan | None:
    """The plan of this machine, model and options if there is one fit for use, in use from now on.

    A plan found while others kept the machine busy is not, once the machine is quieter.
    """
    plan = execution_plan.load(key_of(engine))
    return None if plan is None or _quieter_now(plan) or not _apply(engine, plan) else plan


def build(engine: Engine, quick: bool = False) -> ExecutionPlan:
    """Searches now, uses the plan in `engine` and caches it."""
    load, limits = machine.OtherLoad(), probe(engine)
    bench = _Bench.of(engine)
    counts = QUICK_COUNTS if quick else {n: n for n in ROW_COUNTS if n <= _PASS_ROWS}
    plans: list[tuple[int, ...]] = []
    times: list[StageTime] = []
    for rows, serves in counts.items():
        numbers, stages = _best_plan(bench, rows, limits, quick)
        plans.append((serves, *numbers[1:]))
        times += stages
    _use(engine, plans)
    plan = ExecutionPlan(
        key_of(engine),
        tuple(plans),
        latency.measure(engine),
        tuple(times),
        limits.bytes_per_s,
        limits.operations_per_s,
        limits.meeting_s,
        round(load.share(), 3),
        quick,
    )
    execution_plan.save(plan)
    return plan


def _quieter_now(plan: ExecutionPlan) -> bool:
    if plan.others_share <= _BUSY:
        return False
    load = machine.OtherLoad()
    time.sleep(_LOOK_S)
    return load.share() < plan.others_share / 2


def _apply(engine: Engine, plan: ExecutionPlan) -> bool:
    """Whether the core takes the schedule, which it does unless the file was tampered with."""
    try:
        _use(engine, plan.schedule)
    except ValueError:
        return False
    return True


def _use(engine: Engine, plans: Sequence[Sequence[int]]) -> None:
    """Between forwards of other threads, which follow the schedule they began with."""
    with engine._lock:
        engine._model.set_schedule(schedule_array(plans))


def key_of(engine: Engine) -> dict[str, Any]:
    """All that a plan depends on; a plan for anything else is not used."""
    return {
        "adtrie": __version__,
        "revision": REVISION,
        "machine": machine.processor(),
        "cores": os.cpu_count(),
        "model": engine.fingerprint,
        "weights": engine.weights,
        "activations": engine.activations,
        "threads": engine.num_threads,
        "isa": engine.isa,
    }


def probe(engine: Engine) -> Limits:
    """What the machine allows the engine's threads: reading its weights, INT8 arithmetic, a meeting."""
    size = max(1 << 20, min(engine.weight_bytes, _PROBE_BYTES))
    return Limits(
        machine.near_bytes(),
        max(_core.read_bandwidth(size, engine.num_threads, 7)),
        max(_core.int8_peak(engine.num_threads, 15)),
        _core.barrier_seconds(engine.num_threads) if engine.num_threads > 1 else 0.0,
    )


@dataclass(frozen=True)
class _Bench:
    """Forwards of any number of rows below a prefix, each row asked for one child."""

    engine: Engine
    session: Session
    context: int

    @classmethod
    def of(cls, engine: Engine) -> _Bench:
        context = max(1, min(_CONTEXT, engine.spec.max_positions - 1))
        session = engine.session(np.zeros(context - 1, np.int32), max_rows=_PASS_ROWS + 1)
        return cls(engine, session, context)

    def seconds(self, rows: int) -> float:
        """Of one forward by the clock."""
        tokens, parents = np.zeros(rows, np.int32), np.full(rows, -1, np.int32)
        self.session.reset()
        started = time.perf_counter()
        self.session.score(tokens, parents, np.arange(rows + 1, dtype=np.int64), np.zeros(rows, np.int32))
        return time.perf_counter() - started

    def stages(self, rows: int, numbers: Sequence[int], tries: int) -> dict[str, float]:
        """Least processor seconds of the busiest thread by stage."""
        model = self.engine._model
        _use(self.engine, [numbers])
        least: dict[str, float] = {}
        for _ in range(tries):
            model.profile(True)
            self.seconds(rows)
            for stage, threads in model.stage_seconds.items():
                work = max(work for work, _ in threads)
                least[stage] = min(work, least.get(stage, work))
        model.profile(False)
        return least


def _best_plan(bench: _Bench, rows: int, limits: Limits, quick: bool) -> tuple[list[int], list[StageTime]]:
    engine = bench.engine
    sizes = Sizes(engine._model.linear_bytes, bench.context, engine.num_threads)
    stages = stages_of(engine.spec, rows, sizes, quick)
    costs = _option_costs(bench, rows, stages, limits, quick)
    # A forward meets once per layer for each stage that is not fused, the head apart.
    meeting = limits.meeting_s * engine.spec.num_layers
    every_layer = Limits(limits.near_bytes, limits.bytes_per_s, limits.operations_per_s, meeting)
    gain = _QUICK_GAIN if quick else _GAIN

    def doubted(stage: Stage, option: Option) -> float:
        return costs[stage.name, option.name] * (1.0 if option is stage.options[0] else gain)

    found = search(stages, doubted, every_layer)
    numbers = row_plan(rows, settings_of(found))
    measured = bench.stages(rows, numbers, _tries(quick))
    if engine.num_threads > 1 and rows <= _ONE_THREAD_ROWS and _faster_alone(bench, rows, numbers):
        numbers[1] = 1
    return numbers, [
        StageTime(
            rows,
            choice.stage.name,
            choice.option.name,
            choice.fused,
            limits.bound_s(choice.stage) * 1e3,
            costs[choice.stage.name, choice.option.name] * 1e3,
            measured[choice.stage.name] * 1e3,
        )
        for choice in found
    ]


def _option_costs(
    bench: _Bench, rows: int, stages: Sequence[Stage], limits: Limits, quick: bool
) -> dict[tuple[str, str], float]:
    """Seconds of every fitting option. One forward times one option of every stage at once."""
    options = {stage.name: fitting(stage, limits) for stage in stages}
    costs: dict[tuple[str, str], float] = {}
    rounds = max(_ROUNDS, 0 if quick else _MOST_ROUNDS // rows) if rows <= _SHORT_ROWS else 1
    for turn in range(rounds * max(map(len, options.values()))):
        taken = {name: few[turn % len(few)] for name, few in options.items()}
        taken["place"] = _place_for(taken["qkv"], options["place"])
        seconds = bench.stages(rows, row_plan(rows, _settings(taken)), _tries(quick))
        for name, option in taken.items():
            known = costs.get((name, option.name), seconds[name])
            costs[name, option.name] = min(known, seconds[name])
    return costs


def _tries(quick: bool) -> int:
    return 2 if quick else 3


def _place_for(qkv: Option, places: Sequence[Option]) -> Option:
    whole = int(qkv.gives == "heads")
    return next(option for option in places if option.settings["whole_heads"] == whole)


def _settings(taken: Mapping[str, Option]) -> dict[str, Mapping[str, int]]:
    return {name: option.settings for name, option in taken.items()}


def _faster_alone(bench: _Bench, rows: int, numbers: Sequence[int]) -> bool:
    seconds = []
    for one_thread in (0, 1):
        _use(bench.engine, [[numbers[0], one_thread, *numbers[2:]]])
        seconds.append(min(bench.seconds(rows) for _ in range(5)))
    return seconds[1] < 0.95 * seconds[0]
