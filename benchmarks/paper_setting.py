"""What all rows of a scenario share: the tuned model, one calibration and measurement, held-out text.

Everything slow is kept in a work folder, so that a later run of another row finds it. Knows no table.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from adtrie.api import Model, load_model
from adtrie.compress.block import float_matrix
from adtrie.compress.divergence import Comparison
from adtrie.compress.pipeline import Texts
from adtrie.compress.replaced_source import ReplacedSource
from adtrie.compress.samples import Sample, fingerprint, make_batches
from adtrie.compress.sparsify import prune
from adtrie.compression import Job, calibration_texts
from adtrie.config import OUTER_LINEARS
from adtrie.engine import Engine
from adtrie.engine.source import WeightSource
from adtrie.engine.weights import WeightFormat
from adtrie.evaluate import load_creative_task, load_task
from adtrie.format.panels import pack
from adtrie.models import open_tuned, packed_writer
from adtrie.models.tokenizer import Tokenizer
from adtrie.prompt import PromptTemplate, normalise_query
from adtrie.train.pairs import LABEL_END, LABEL_PREFIX
from benchmarks import machine
from benchmarks.paper_parts import identity
from benchmarks.paper_plans import SETTINGS, PanelRun, linear_shapes, make_plan
from benchmarks.paper_rows import Row, Scenario

REFERENCE = "reference.safetensors"


@dataclass(frozen=True)
class Sizes:
    """Calibration tokens, held-out texts, and requests of the metrics (of targeting: warm and cold each)."""

    tokens: int = 8_192
    texts: int = 200
    sample: int = 200


def full_format() -> WeightFormat:
    """The 16-bit weights of the engine where it has them, else float32."""
    return next((name for name in get_args(WeightFormat) if name.startswith("bf")), "float32")


class Bench:
    """One scenario in a work folder. Close it after use."""

    def __init__(
        self,
        scenario: Scenario,
        work: Path,
        sizes: Sizes,
        model: str = "smollm2-135m",
        threads: int | None = None,
        recovered: Path | None = None,
    ) -> None:
        self.scenario, self.sizes, self.model_name, self.threads = scenario, sizes, model, threads
        self._recovered = recovered
        self.source, self.template = open_tuned(model, scenario.task)
        key = identity(self.source.fingerprint, sizes.tokens)
        self.work = work / scenario.name / key
        self.work.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        """Closes the checkpoint."""
        self.source.close()

    @cached_property
    def texts(self) -> Texts:
        """What is calibrated on: train rows only."""
        job = Job(self.model_name, self.work / "unused", self.scenario.task, self.scenario.task)
        return calibration_texts(job, self.source, self.template, self.sizes.tokens)

    @cached_property
    def run(self) -> PanelRun:
        """The one compression behind all rows."""
        return PanelRun(self.source, self.texts, SETTINGS, self.work / "run", resume=True)

    @cached_property
    def held_out(self) -> list[Sample]:
        """Test rows with their answers, of which only the answers count."""
        tokenizer, count = self.source.tokenizer, self.sizes.texts
        return [answered(query, text, self.template or "", tokenizer) for query, text in self._pairs(count)]

    def _pairs(self, count: int) -> list[tuple[str, str]]:
        if self.scenario.name == "creative":
            briefs = load_creative_task(self.scenario.task).sample("test", count)
            return [(brief.facts, brief.references[0]) for brief in briefs]
        task = load_task(self.scenario.task)
        warm, cold = task.sample("test", count - count // 2), task.sample("cold_test", count // 2)
        return [(row.query, row.label) for row in (*warm, *cold)]

    @cached_property
    def reference(self) -> Comparison:
        """The full-precision model on the held-out texts; its states are kept, from which logits are made."""
        batches = make_batches(self.held_out)
        key = identity(self.source.fingerprint, fingerprint(self.held_out))
        path = self.work / f"{key}-{REFERENCE}"
        if path.exists():
            states = load_file(path)
            return Comparison(self.source, batches, [states[str(at)] for at in range(len(batches))])
        made = Comparison(self.source, batches)
        part = path.with_suffix(".part")
        save_file({str(at): np.ascontiguousarray(each) for at, each in enumerate(made.hidden)}, part)
        part.rename(path)
        return made

    @property
    def about(self) -> dict[str, Any]:
        """What rows must share to be compared, and the size of the calibration."""
        return {
            "source": self.source.fingerprint[:16],
            "sample": self.sizes.sample,
            "calibration_tokens": self.sizes.tokens,
        }

    def identity(self, row: Row) -> str:
        """Of the quality of a row: equal only where model, texts, sample and recipe are."""
        calibrated = fingerprint(self.texts.calibration) if row.recipe else None
        return identity(
            self.source.fingerprint, calibrated, row.recipe, self.sizes.sample, fingerprint(self.held_out)
        )

    def packed(self, row: Row) -> Path:
        """The packed checkpoint of a row, made where it is not there."""
        if row.recipe is None:
            raise ValueError(f"{row.name}: has no packed checkpoint")
        out = self._packed_path(row)
        if not out.exists():
            out.parent.mkdir(exist_ok=True)
            plan = make_plan(row.recipe, self.run)
            self.run.use(row.recipe.method)
            with packed_writer(out, self.source, self.template) as writer:
                for name, linear in self.run.solve(plan):
                    writer.add_linear(name, pack(linear))
                for name in (name for name, shape in writer.shapes.items() if len(shape) == 1):
                    writer.add_vector(name, self.source.vector(name))
                writer.finish({"row": row.name, "plan_bytes": plan.num_bytes})
        return out

    def recovered(self, row: Row) -> Path | None:
        """The packed checkpoint that recovering made of a row, None where there is none."""
        path = None if self._recovered is None else self._recovered / self.scenario.name / row.file_name
        return path if path is not None and path.is_dir() else None

    def recover_command(self, row: Row) -> str:
        """What makes the recovered checkpoint of a row."""
        kept = Path(os.path.relpath(self._packed_path(row), machine.ROOT))
        task = self.scenario.task
        return (
            f"adtrie recover {kept} RECOVERED/{self.scenario.name}/{row.file_name} "
            f"--teacher {self.model_name} --adapter {task} --task {task}"
        )

    def _packed_path(self, row: Row) -> Path:
        return self.work / "models" / f"{row.file_name}-{identity(row.recipe)}"

    def pruned(self, row: Row) -> ReplacedSource:
        """The model with float32 survivors in all blocks, in memory."""
        assert row.recipe is not None
        self.run.calibrate()
        values = {}
        for name in (name for name in linear_shapes(self.source) if name not in OUTER_LINEARS):
            weights = float_matrix(self.source, name)
            values[name] = prune(weights, self.run.sensitivity(name).curvature, row.recipe.patterns[0]).values
        return ReplacedSource(self.source, values)

    def full_model(self) -> Model:
        """The tuned model in full precision: activations in the form of the weights, the faster baseline."""
        return load_model(
            self.model_name,
            adapter=self.scenario.task,
            weights=full_format(),
            threads=self.threads,
        )

    def packed_model(self, path: Path) -> Model:
        """A packed checkpoint as it is served."""
        return load_model(path, threads=self.threads)

    def float_model(self, source: WeightSource) -> Model:
        """A model of weights in memory, in float32."""
        checkpoint, text = open_tuned(self.model_name, self.scenario.task)
        template = None if text is None else PromptTemplate.from_text(text)
        engine = Engine(source, weights="float32", activations="float32", threads=self.threads)
        return Model(checkpoint, engine, template)


def answered(query: str, text: str, template: str, tokenizer: Tokenizer) -> Sample:
    """A prompt and its answer as requests and entries are tokenized; the answer's tokens count."""
    prompt = PromptTemplate.from_text(template)
    before = [prompt.prefix_tokens(tokenizer), prompt.query_tokens(normalise_query(query), tokenizer)]
    after = [tokenizer.encode(LABEL_PREFIX + text), tokenizer.encode(LABEL_END)]
    return Sample(_joined([*before, *after]), sum(map(len, before)))


def _joined(parts: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.concatenate(parts).astype(np.int32)
