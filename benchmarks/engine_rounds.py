"""Engines take turns, another one first each round; the slow and the dead are out. Knows no protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.engines import EngineKind
from benchmarks.json_process import JsonProcess
from benchmarks.undisturbed import TRIES, Patience, Sample

PREFILLS = (32, 128, 512)
ROUNDS, STARTS = 5, 5
SLOW, SLOW_ROUNDS = 3.0, 1  # so many times slower than the fastest in everything: out after so many rounds

Turn = Mapping[str, float]  # seconds: decode (one token), prefill_N


@dataclass(frozen=True)
class Effort:
    """How much is measured: rounds, starts of our own engine, tries of a disturbed turn, prompt lengths."""

    rounds: int = ROUNDS
    starts: int = STARTS
    tries: int = TRIES
    prefills: tuple[int, ...] = PREFILLS


@dataclass
class Running:
    """An engine at work: its process, how it started, the samples of its turns, why it is out."""

    kind: EngineKind
    process: JsonProcess
    starts: list[float]
    agreeing: int | None = None
    turns: list[Sample[Turn]] = field(default_factory=list)
    failed: str | None = None


def take_rounds(
    engines: Sequence[Running],
    effort: Effort,
    one_turn: Callable[[JsonProcess, Sequence[int]], Turn],
    watch: Callable[[JsonProcess], Callable[[], float]],
    between: Callable[[int], None] = lambda number: None,
) -> None:
    """Adds the turns of all rounds to `engines`; `between(round)` runs before each round.

    The longest prompt takes as long as all else together: every other round goes without it.
    """
    patience = Patience(effort.tries, effort.rounds * len(engines) // 2)
    for number in range(effort.rounds):
        between(number)
        lengths = [n for n in effort.prefills if number % 2 == 0 or n < max(PREFILLS)]
        racing = [engine for engine in engines if number < SLOW_ROUNDS or not slow(engine, engines)]
        at = number % max(1, len(racing))
        for engine in [*racing[at:], *racing[:at]]:
            if engine.failed:
                continue
            process = engine.process
            try:
                sample = patience.sample(
                    lambda p=process, lengths=lengths: one_turn(p, lengths), lambda p=process: watch(p)
                )
            except RuntimeError as error:
                engine.failed = str(error)[-400:]
                continue
            engine.turns.append(sample)


def slow(engine: Running, engines: Sequence[Running]) -> bool:
    """Whether in every measure its best turn took SLOW times that of the fastest engine."""
    if not engine.turns:
        return False
    fastest = [best(other) for other in engines if other.turns]
    return all(
        value >= SLOW * min(other[name] for other in fastest if name in other)
        for name, value in best(engine).items()
    )


def best(engine: Running) -> Turn:
    """Least seconds of each measure over its turns."""
    names = engine.turns[0].value
    return {
        name: min(sample.value[name] for sample in engine.turns if name in sample.value) for name in names
    }
