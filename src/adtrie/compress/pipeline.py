"""The one loop: a checkpoint, texts and settings to a plan and the codes of every linear.

Calibrate, measure every way of every linear, plan, refine, solve. Each finished piece is kept in a work
folder; a run that is continued there gives the same bytes. Knows no file format of the result.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import RLock

import msgspec
import numpy as np
from numpy.typing import NDArray

from adtrie import __version__
from adtrie.compress.block import BLOCK_LINEARS, float_matrix
from adtrie.compress.calibrate import Calibration, Sensitivity
from adtrie.compress.divergence import Comparison, Divergence
from adtrie.compress.in_order import in_order
from adtrie.compress.measurements import MeasuredLinear, Measurements, Option
from adtrie.compress.plan import Choice, Frontier, Plan
from adtrie.compress.refine import Refinement, Trial, Trials, propose
from adtrie.compress.replaced_source import ReplacedSource
from adtrie.compress.samples import Sample, fingerprint, make_batches
from adtrie.compress.settings import Settings
from adtrie.compress.sparsify import prune
from adtrie.compress.ways import PanelMs, measure_linear, solve_linear
from adtrie.compress.work_folder import WorkFolder
from adtrie.config import OUTER_LINEARS, QuantizedMatrix
from adtrie.engine.source import WeightSource
from adtrie.errors import InputError
from adtrie.format.codes import CompressedLinear, check_grid, check_pattern, num_panels
from adtrie.models.packed import canonical_shapes

CURRENCY = "nats of divergence per answered token"
Progress = Callable[[str, float], None]  # what is being done, share of all work that is done
# Seconds of the parts for a model of 135M, for the progress only.
_FORWARD, _BACKWARD, _MEASURE, _SOLVE, _TRIAL = 1.0, 4.0, 8.0, 10.0, 6.0


@dataclass(frozen=True)
class Texts:
    """Samples to calibrate on, to choose plans by, and to judge the result by; no sample in two of them."""

    calibration: Sequence[Sample]
    search: Sequence[Sample]
    check: Sequence[Sample]
    name: str = "texts"

    def shortened(self, num_tokens: int) -> Texts:
        """The same with samples cut to the last `num_tokens` tokens, where a model takes no more."""
        calibration, search, check = (
            _shortened(part, num_tokens) for part in (self.calibration, self.search, self.check)
        )
        return Texts(calibration, search, check, self.name)


def _shortened(samples: Sequence[Sample], num_tokens: int) -> list[Sample]:
    cut = [(sample.tokens[-num_tokens:], max(0, len(sample.tokens) - num_tokens)) for sample in samples]
    return [
        Sample(tokens, max(1, sample.start - gone))
        for sample, (tokens, gone) in zip(samples, cut, strict=True)
    ]


class Compression:
    """One run. `source` is the uncompressed model, with its adapter merged."""

    def __init__(
        self,
        source: WeightSource,
        texts: Texts,
        settings: Settings,
        work: Path,
        resume: bool = False,
        panel_ms: PanelMs | None = None,
        progress: Progress | None = None,
        deadline: float | None = None,
    ) -> None:
        """deadline: of time.monotonic(), after which no trial of the refinement begins.

        Raises InputError for texts that hold nothing to calibrate on, or a work folder of another run.
        """
        if not texts.calibration:
            raise InputError("calibration: no text is left to calibrate on; give more or longer texts")
        self.source, self.texts, self.settings = source, texts, settings
        self._lock, self._known = RLock(), ("", dict[str, Sensitivity]())
        self._shapes = canonical_shapes(source.spec)
        self._deadline = math.inf if deadline is None else deadline
        self._panel_ms = panel_ms or (lambda way, num_outputs, num_inputs: 0.0)
        self._work = WorkFolder(work, self._identity(), resume)
        self._calibration = Calibration(source, make_batches(texts.calibration), self._work, settings.seed)
        self._steps = _Steps(
            progress or (lambda what, share: None), source.spec.num_layers, settings.refine_trials
        )

    def calibrate(self) -> None:
        """Statistics of all linears, where they are not finished."""
        self._calibration.run(lambda: self._steps.step("calibrating"))

    def measure(self) -> Measurements:
        """What every allowed way of every linear costs; calibrates first."""
        self.calibrate()
        linears: list[MeasuredLinear] = []
        for title, names in self._groups():
            piece = f"measured-{title}"
            found = self._work.load_bytes(piece)
            if found is None:
                measured = list(in_order(self._measure, names))
                found = msgspec.json.encode(measured)
                self._work.save_bytes(piece, found)
            linears += msgspec.json.decode(found, type=list[MeasuredLinear])
            self._steps.step("measuring", _MEASURE)
        return Measurements(CURRENCY, tuple(linears), self.source.fingerprint)

    def frontier(self, table: Measurements) -> Frontier:
        """The plans of a table under the settings. Raises InputError for a table of another model."""
        table.check_model(self.source.fingerprint)
        _check_names(table, self.names())
        resource = "bytes" if self.settings.budget is None else self.settings.budget.resource
        return Frontier(table, resource, self.settings.overrides)

    def plan(self, table: Measurements) -> Plan:
        """The plan of the settings' budget."""
        return self.frontier(table).plan(self.limit(table))

    def check_budget(self) -> None:
        """Raises InputError, before anything is computed, for overrides or bytes that no plan can keep."""
        bare = Measurements(CURRENCY, tuple(self._unmeasured(name) for name in self.names()))
        smallest, budget = Frontier(bare, "bytes", self.settings.overrides).smallest, self.settings.budget
        if budget is not None and budget.resource == "bytes" and budget.limit(bare.num_weights) < smallest:
            raise InputError(
                f"budget {budget}: below the smallest possible, {8 * smallest / bare.num_weights:.3f}bpw or "
                f"{smallest / 1e6:.3f}mb; raise it or allow sparser patterns"
            )

    def _unmeasured(self, name: str) -> MeasuredLinear:
        """All ways of a linear, none of which costs anything."""
        num_outputs, num_inputs = self._shapes[name]
        nothing = (0.0,) * num_panels(num_outputs)
        ways = self.settings.allowed(name).ways(num_inputs)
        options = [Option(way.bits, way.group, way.kept, nothing, 0.0) for way in ways]
        return MeasuredLinear(name, num_outputs, num_inputs, tuple(options))

    def limit(self, table: Measurements) -> float:
        """The budget in bytes or milliseconds; that of the most exact plan where none is set."""
        budget = self.settings.budget
        return self.frontier(table).largest if budget is None else budget.limit(table.num_weights)

    def check_plan(self, plan: Plan) -> None:
        """Raises InputError unless `plan` is for this model and every choice can be stored."""
        if plan.model != self.source.fingerprint:
            raise InputError(
                f"plan: made for another model, {plan.model[:12] or 'unknown'}; this one is "
                f"{self.source.fingerprint[:12]}; plan again"
            )
        if [choice.name for choice in plan.choices] != self.names():
            raise InputError("plan: its linears are not those of the model; plan again")
        for choice in plan.choices:
            num_outputs, num_inputs = self._shapes[choice.name]
            check_grid(num_inputs, choice.bits, choice.group)
            for kept in set(choice.kept):
                check_pattern(num_inputs, kept, choice.bits)
            if len(choice.kept) != num_panels(num_outputs):
                raise InputError(
                    f"plan: linear {choice.name!r:.80} has {num_panels(num_outputs)} panels, "
                    f"the plan {len(choice.kept)}"
                )

    def refine(self, frontier: Frontier, plan: Plan, budget: float) -> tuple[Plan, Refinement | None]:
        """`plan`, or one of the same cost that diverges less on both the search texts and those held out.

        Verdicts are pieces, so a continued run repeats none and decides alike.
        """
        samples, trials = self.texts.search, self.settings.refine_trials
        if not samples or trials == 0:
            return plan, None
        search = Trials(self.source, make_batches(samples), self.solved)
        best = first = search.first(plan)
        kept, number = 0, 0
        for number in self._trials_in_time(trials, f"trials-{_short(plan)}"):
            tried = propose(frontier, best.plan, budget, self.settings.seed, number)
            if tried.choices != best.plan.choices:
                verdict = self._verdict(search, best, tried, f"trial-{_short(plan)}-{number}")
                best, kept = verdict or best, kept + (verdict is not None)
            self._steps.step("refining", _TRIAL)
        found = Refinement(number + 1, kept, first.kl, best.kl)
        if best is not first and self._better(best.plan, plan):
            return best.plan, found
        return plan, replace(found, kept=0, kl_after=first.kl)

    def _trials_in_time(self, trials: int, piece: str) -> Iterator[int]:
        """Numbers of trials until the deadline, which falls at the same trial in a continued run."""
        fell = self._work.load_bytes(piece)
        for number in range(trials if fell is None else int(fell)):
            if fell is None and time.monotonic() > self._deadline:
                self._work.save_bytes(piece, str(number).encode())
                return
            yield number

    def _verdict(self, search: Trials, best: Trial, tried: Plan, piece: str) -> Trial | None:
        """The trial of `tried` if it beats `best`."""
        known = self._work.load_bytes(piece)
        if known == b"worse":
            return None
        trial = search.beside(best, tried)
        better = trial.kl < best.kl
        if known is None:
            self._work.save_bytes(piece, b"better" if better else b"worse")
        return trial if better else None

    def _better(self, plan: Plan, than: Plan) -> bool:
        """Whether `plan` diverges less on the texts to judge by."""
        if not self.texts.check:
            return True
        return self.divergence(self.replaced(plan)).kl_mean < self.divergence(self.replaced(than)).kl_mean

    def solve(self, plan: Plan) -> Iterator[tuple[str, CompressedLinear]]:
        """Name and codes of each linear in order, kept as pieces; calibrates first."""
        self.check_plan(plan)
        self.calibrate()
        choices = {choice.name: choice for choice in plan.choices}
        for _, names in self._groups():
            solved = list(in_order(self.solved, [choices[name] for name in names]))
            yield from zip(names, solved, strict=True)
            self._steps.step("solving", _SOLVE)

    def solved(self, choice: Choice) -> CompressedLinear:
        """The codes of one linear, from a piece where it is finished."""
        piece = f"solved-{choice.name}-{_short((choice, self.settings.method))}"
        found = self._work.load(piece)
        if found is None:
            weights = float_matrix(self.source, choice.name)
            linear = solve_linear(weights, self.sensitivity(choice.name), choice, self.settings.method)
            found = {
                "codes": linear.values.codes,
                "scales": linear.values.scales,
                "kept": linear.kept,
                "mask": np.packbits(linear.mask, axis=1),
            }
            self._work.save(piece, found)
        mask = np.unpackbits(found["mask"], axis=1, count=found["codes"].shape[1]).astype(bool)
        values = QuantizedMatrix(found["codes"], found["scales"], None, choice.bits, choice.group)
        return CompressedLinear(values, found["kept"], mask)

    def sensitivity(self, name: str) -> Sensitivity:
        """What an error in the linear `name` costs."""
        group, part = (
            ("embedding", name) if name in OUTER_LINEARS else (name.split(".")[1], name.split(".")[2])
        )
        with self._lock:
            # Linears are visited block by block: one block's statistics are worth keeping.
            if self._known[0] != group:
                outer = group == "embedding"
                found = self._calibration.embedding() if outer else self._calibration.block(int(group))
                self._known = group, found
            return self._known[1][part]

    def replaced(self, plan: Plan) -> ReplacedSource:
        """The compressed model, in memory."""
        return ReplacedSource(self.source, dict(self.solve(plan)))

    def pruned(self, kept: int) -> ReplacedSource:
        """The model with `kept` of four weights of every linear of its blocks, not rounded; in memory."""
        self.calibrate()
        values: dict[str, NDArray[np.float32]] = {}
        for name in (name for name in self.names() if name not in OUTER_LINEARS):
            weights = float_matrix(self.source, name)
            values[name] = prune(weights, self.sensitivity(name).curvature, kept).values
        return ReplacedSource(self.source, values)

    @cached_property
    def judge(self) -> Comparison:
        """The uncompressed model on the texts to judge by; those of the search where there are none."""
        samples = self.texts.check or self.texts.search or self.texts.calibration
        return Comparison(self.source, make_batches(samples))

    def divergence(self, replaced: WeightSource) -> Divergence:
        """The true divergence of a compressed model from the uncompressed one."""
        return self.judge.of(replaced)

    def finish(self) -> None:
        """Deletes the work folder."""
        self._work.remove()

    def _measure(self, name: str) -> MeasuredLinear:
        weights = float_matrix(self.source, name)
        try:
            ways = self.settings.allowed(name).ways(weights.shape[1])
            return measure_linear(name, weights, self.sensitivity(name), ways, self._panel_ms)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None

    def _groups(self) -> list[tuple[str, list[str]]]:
        """Linears whose pieces are made together: the embedding, then each block."""
        outer = ["embed", *([] if self.source.spec.tied_head else ["head"])]
        blocks = [
            (f"block-{index}", [f"layers.{index}.{part}" for part in BLOCK_LINEARS])
            for index in range(self.source.spec.num_layers)
        ]
        return [("embedding", outer), *blocks]

    def names(self) -> list[str]:
        """Names of all linears, in the order of plans."""
        return [name for _, names in self._groups() for name in names]

    def _identity(self) -> str:
        """Everything that decides the bytes of pieces; a piece names the rest."""
        settings = asdict(self.settings)
        deciding = {key: settings[key] for key in ("linears", "embedding", "method", "seed")}
        parts = [
            __version__,
            self.source.fingerprint,
            fingerprint(self.texts.calibration),
            json.dumps(deciding),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _short(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value)).hexdigest()[:16]


class _Steps:
    """Counts work done against all of it."""

    def __init__(self, progress: Progress, num_blocks: int, trials: int) -> None:
        self._progress, self._done = progress, 0.0
        self._total = num_blocks * (_FORWARD + _BACKWARD) + (num_blocks + 1) * (_MEASURE + _SOLVE)
        self._total += trials * _TRIAL

    def step(self, what: str, work: float = (_FORWARD + _BACKWARD) / 2) -> None:
        self._done = min(self._done + work, self._total)
        self._progress(what, self._done / self._total)


def _check_names(table: Measurements, names: Sequence[str]) -> None:
    measured = [linear.name for linear in table.linears]
    if measured != list(names):
        raise InputError("measurements: the linears are not those of the model; measure it again")
