"""Decode, prefill, memory and start-up of all engines on one model: `python -m benchmarks.speed_engines`.

Every engine is a process of its own, loaded once, stopped while others are timed. In each round each engine
has one turn, another one first each time; a turn during which other processes ran is repeated. Answers come
first: nothing is timed of an engine whose continuation of a repeated text is wrong.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adtrie import _core
from adtrie.models import open_checkpoint
from benchmarks import machine
from benchmarks.decode import PROMPT
from benchmarks.engine_rounds import (
    PREFILLS,
    ROUNDS,
    STARTS,
    Effort,
    Running,
    Turn,
    take_rounds,
)
from benchmarks.engines import OUR_REFERENCE, REFERENCE, THREADS, EngineKind, chosen
from benchmarks.json_process import JsonProcess
from benchmarks.peer_models import SHAPES, Shape, model_in, size_bytes
from benchmarks.undisturbed import TRIES, Sample

CONTEXT = 128
CHECKED = 16  # greedy tokens that are compared
FIRST_TOKEN = 1_000  # ordinary tokens of every vocabulary from here on
MOST_WRONG = 4  # of these, for an engine with quantized weights; unquantized ones in float32 may have none
BANDWIDTH_BYTES = 512 << 20  # far above the last cache


def prompt(length: int) -> list[int]:
    """Tokens of a text repeated up to `length`: a model that works goes on repeating it."""
    with open_checkpoint("smollm2-135m") as checkpoint:
        tokens = checkpoint.tokenizer.encode(PROMPT)
    return np.resize(tokens, length).tolist()


def turn(
    process: JsonProcess, tokens: Sequence[int], decoded: int, prefills: Sequence[int], number: Iterator[int]
) -> Turn:
    """Seconds of each measure, once; the process is awake only meanwhile.

    Each prompt begins with a token of its own, from `number`: an engine that keeps the prompts it has seen
    must not find this one among them.
    """

    def unseen(length: int) -> list[int]:
        return [FIRST_TOKEN + next(number), *tokens[1:length]]

    process.resume()
    try:
        _generate(process, unseen(32), 3)  # wakes threads and fills caches
        seconds = {"decode": _generate(process, unseen(CONTEXT), 1 + decoded)["rest_s"] / decoded}
        for length in prefills:
            seconds[f"prefill_{length}"] = _generate(process, unseen(length), 1)["first_s"]
        return seconds
    finally:
        process.pause()


def _generate(process: JsonProcess, tokens: Sequence[int], count: int) -> dict[str, Any]:
    return process.ask({"do": "generate", "tokens": list(tokens), "count": count}, timeout_s=300.0)


def agreement(found: Sequence[int], wanted: Sequence[int]) -> int:
    """How many tokens agree before the first that differs."""
    return next((at for at, (a, b) in enumerate(zip(found, wanted, strict=True)) if a != b), len(wanted))


def check(engine: Running, wanted: Sequence[int] | None, tokens: Sequence[int]) -> None:
    """Fails an engine with wrong answers; `wanted` None: only that two answers to one prompt differ."""
    engine.process.resume()
    try:
        first, again = (_generate(engine.process, tokens, CHECKED)["tokens"] for _ in range(2))
    except RuntimeError as error:
        engine.failed = str(error)[-400:]
        return
    finally:
        engine.process.pause()
    if first != again:
        engine.failed = "two greedy answers to one prompt differ"
    if wanted is None:
        return
    engine.agreeing = agreement(first, wanted)
    if engine.kind.checked and CHECKED - engine.agreeing > MOST_WRONG:
        engine.failed = (
            f"only {engine.agreeing} of {CHECKED} greedy tokens agree with transformers in float32"
        )


def references(shape: Shape, tokens: Sequence[int]) -> list[int]:
    """Greedy tokens of transformers in float32, kept; SystemExit unless ours in float32 are the same."""
    path = model_in("hf", shape.name).with_name("greedy.json")
    if path.exists():
        kept: dict[str, list[int]] = json.loads(path.read_text(encoding="utf-8"))
        if kept["prompt"] == list(tokens):
            return kept["answer"]
    answers = []
    for kind in (REFERENCE, OUR_REFERENCE):
        with kind.start(shape.name) as process:
            answers.append(_generate(process, tokens, CHECKED)["tokens"])
    if answers[0] != answers[1]:
        raise SystemExit(f"float32 answers differ from transformers': {answers}: nothing was timed")
    path.write_text(json.dumps({"prompt": list(tokens), "answer": answers[0]}), encoding="utf-8")
    return list(answers[0])


def start(kind: EngineKind, shape: Shape, starts: int, stack: ExitStack) -> Running:
    """The engine, started `starts` times; the last one is kept, stopped until its turn."""
    if kind.ours:  # makes the plan that the starts to be timed find in its cache
        kind.start(shape.name).close()
    seconds = []
    for _ in range(starts - 1):
        with kind.start(shape.name) as process:
            seconds.append(process.ready["load_s"])
    process = stack.enter_context(kind.start(shape.name))
    process.pause()
    return Running(kind, process, [*seconds, process.ready["load_s"]])


def summary(engine: Running, shape: Shape) -> dict[str, Any]:
    """One engine's figures, with the samples they come from; of a failed one why it failed."""
    kind = engine.kind
    if engine.failed:
        return {"engine": kind.name, "label": kind.label, "failed": engine.failed}
    engine.process.resume()
    memory = engine.process.ask({"do": "memory"})
    turns = engine.turns
    return {
        "engine": kind.name,
        "label": kind.label,
        "ours": kind.ours,
        "bits": kind.bits,
        "versions": engine.process.ready["versions"],
        "settings": engine.process.ready["settings"] | dict(kind.settings),
        "agreeing_tokens": engine.agreeing,
        "load_s": round(float(np.median(engine.starts)), 3),
        "import_s": round(engine.process.ready.get("import_s", 0.0), 3),
        "loads": len(engine.starts),
        "ready_s": round(engine.process.start_s, 3),
        "model_bytes": size_bytes(model_in(kind.model_form, shape.name)),
        "peak_bytes": memory["peak_bytes"],
        "rounds": len(turns),
        "repeated": sum(sample.tries - 1 for sample in turns),
        "most_foreign_load": round(max(sample.foreign for sample in turns), 3),
        "disturbed_rounds": sum(sample.disturbed for sample in turns),
        "tokens_s": {name: _rates(name, turns) for name in turns[0].value},
    }


def _rates(name: str, turns: Sequence[Sample[Turn]]) -> dict[str, Any]:
    count = 1 if name == "decode" else int(name.split("_")[1])
    rates = [count / sample.value[name] for sample in turns if name in sample.value]
    return {
        "median": round(float(np.median(rates)), 1),
        "min": round(min(rates), 1),
        "max": round(max(rates), 1),
        "samples": [round(rate, 2) for rate in rates],
    }


@dataclass
class Probes:
    """What the machine itself gives, measured once a round: bytes a second read, INT8 operations a second."""

    reads: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)

    def take(self, number: int) -> None:
        """One more of each; cores that cannot measure their peak have none."""
        print(f"round {number + 1}", file=sys.stderr)
        self.reads.append(float(np.median(_core.read_bandwidth(BANDWIDTH_BYTES, THREADS, 5))))
        if hasattr(_core, "int8_peak"):
            self.peaks.append(max(_core.int8_peak(THREADS, 3)))

    def as_json(self) -> dict[str, float | None]:
        """Medians in 10^9."""
        peak = round(float(np.median(self.peaks)) / 1e9, 1) if self.peaks else None
        return {"read_gb_s": round(float(np.median(self.reads)) / 1e9, 2), "int8_peak_gop_s": peak}


def start_all(
    shape: Shape, kinds: Sequence[EngineKind], starts: int, stack: ExitStack
) -> tuple[list[Running], list[dict[str, Any]]]:
    """The engines that started, and those that could not be had with the reason.

    Those that read unquantized weights take most memory while they load, and start before others have theirs.
    """
    running, failed = [], []
    for kind in sorted(kinds, key=lambda kind: kind.model_form != "hf"):
        print(f"{shape.name}: starting {kind.label}", file=sys.stderr)
        try:
            running.append(start(kind, shape, starts if kind.ours else 1, stack))
        except RuntimeError as error:
            failed.append({"engine": kind.name, "label": kind.label, "failed": str(error)[-400:]})
    return sorted(running, key=lambda engine: kinds.index(engine.kind)), failed


def measure(shape: Shape, kinds: Sequence[EngineKind], effort: Effort) -> dict[str, Any]:
    """All engines on one model."""
    tokens, probes, number = prompt(max(PREFILLS)), Probes(), itertools.count()
    wanted = references(shape, tokens[:CONTEXT]) if shape.real else None
    with ExitStack() as stack:
        running, failed = start_all(shape, kinds, effort.starts, stack)
        for engine in running:
            check(engine, wanted, tokens[:CONTEXT])
        started = time.perf_counter()
        take_rounds(
            running,
            effort,
            lambda process, lengths: turn(process, tokens, shape.decoded, lengths, number),
            lambda process: machine.ForeignLoad([process.pid]).share,
            probes.take,
        )
        return {
            "shape": shape.name,
            "label": shape.label,
            "real_weights": shape.real,
            "parameters": shape.num_parameters,
            "threads": THREADS,
            "context": CONTEXT,
            "rounds": effort.rounds,
            "rounds_s": round(time.perf_counter() - started, 1),
            **probes.as_json(),
            "engines": [summary(engine, shape) for engine in running] + failed,
        }


def main() -> None:
    """Measures one shape and writes its JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=list(SHAPES), default="135m")
    parser.add_argument("--engines", nargs="*", default=[], help="names; by default all")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--starts", type=int, default=STARTS, help="of ours; peers start once")
    parser.add_argument("--tries", type=int, default=TRIES, help="of a turn that other processes disturb")
    parser.add_argument("--prefills", type=int, nargs="*", default=list(PREFILLS), choices=PREFILLS)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    effort = Effort(options.rounds, options.starts, options.tries, tuple(options.prefills))
    result = measure(SHAPES[options.shape], chosen(options.engines), effort)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for engine in result["engines"]:
        rates = {name: rate["median"] for name, rate in engine.get("tokens_s", {}).items()}
        print(engine["label"], engine.get("failed") or rates)


if __name__ == "__main__":
    main()
