"""What `adtrie evaluate` measures: the model of a plan on a task, on pairs of a user's own, or on ad text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from adtrie.cli.download import announce
from adtrie.cli.fusing import learned
from adtrie.cli.neighbours import DEFAULT_COUNT, made
from adtrie.cli.options import WeightsChoice
from adtrie.cli.terminal import note, progress

if TYPE_CHECKING:
    from adtrie.api import Model
    from adtrie.catalogue import Catalogue, Fusion, Neighbours, Prior
    from adtrie.evaluate.creating import CreativeReport
    from adtrie.evaluate.floors import Floor
    from adtrie.evaluate.questions import Questions
    from adtrie.evaluate.targeting import TargetingReport
    from adtrie.prompt import PromptTemplate
    from adtrie.request import TargetOptions
    from adtrie.search.generate import Beams

DevRows = Callable[[int], "Questions"]  # so many dev rows, warm and cold each
AUTO, NUM_DEV = -1.0, 200  # alpha to be chosen, and on how many dev rows, warm and cold each


@dataclass(frozen=True)
class Plan:
    """What both kinds of evaluation are told."""

    model: str
    adapter: str | None
    template: PromptTemplate | None
    weights: WeightsChoice
    threads: int | None
    split: str
    num_rows: int | None
    with_floors: bool
    alpha: float | None = None  # AUTO: chosen on dev
    neighbours: int | None = None  # entries of nearest text, and of nearest train query, scored besides
    fusion: Fusion | None = None  # what their resemblance adds
    learn_fusion: Path | None = None  # the same, learned on dev rows and written there

    def load(self) -> Model:
        """The model, with its adapter."""
        from adtrie.api import load_model

        announce(self.model)
        return load_model(self.model, adapter=self.adapter, weights=self.weights.value, threads=self.threads)

    def setting(self, model: Model, template: PromptTemplate) -> dict[str, object]:
        """What was measured, for every report."""
        from adtrie.prompt import CREATE_TEMPLATE, DEFAULT_TEMPLATE

        return {
            "model": self.model,
            "adapter": self.adapter,
            "weights": model.engine.weights,
            "prompt": "default" if template in (DEFAULT_TEMPLATE, CREATE_TEMPLATE) else template.text,
            "split": self.split,
            "isa": model.engine.isa,
            "threads": model.engine.num_threads,
        }


def target_task(plan: Plan, name: str, options: TargetOptions) -> TargetingReport:
    """Measures a task that comes with adtrie."""
    from adtrie.catalogue import Catalogue
    from adtrie.evaluate import load_task
    from adtrie.evaluate.questions import Labels, task_questions

    task = load_task(name)
    with plan.load() as model:
        note(f"indexing {len(task.keywords):,} entries ...")
        catalogue = Catalogue.build(list(zip(task.ids, task.keywords, strict=True)), model)
        labels = Labels(catalogue)
        questions = task_questions(task, labels, plan.split, plan.num_rows)
        return _measured(
            plan, model, catalogue, questions, options, name, partial(task_questions, task, labels, "dev")
        )


def target_pairs(plan: Plan, pairs: Path, catalogue: Path, options: TargetOptions) -> TargetingReport:
    """Measures pairs of a user's own; their file is read before the model, because that is quick."""
    from adtrie.catalogue import Catalogue
    from adtrie.catalogue.snapshot import is_snapshot
    from adtrie.evaluate.pair_files import read_pairs
    from adtrie.evaluate.questions import Labels, file_questions

    rows = read_pairs(pairs, plan.split)
    with plan.load() as model:
        if is_snapshot(catalogue):
            opened = Catalogue.open(catalogue)
            opened.check_tokenizer(model.fingerprint)
        else:
            with progress(f"indexing {catalogue.name}") as advance:
                opened = Catalogue.build_from_file(catalogue, model, progress=advance)
        labels = Labels(opened)
        questions = file_questions(rows, labels, plan.split, plan.num_rows)
        return _measured(
            plan, model, opened, questions, options, pairs.name, partial(file_questions, rows, labels, "dev")
        )


def _measured(
    plan: Plan,
    model: Model,
    catalogue: Catalogue,
    questions: Questions,
    options: TargetOptions,
    name: str,
    dev: DevRows,
) -> TargetingReport:
    from adtrie.evaluate.targeting import measure_targeting

    seeds, floors = _resembling(plan, model, catalogue, questions, dev)
    alpha, prior = _prior(plan, model, catalogue, dev, seeds.fusion.alpha if seeds and seeds.fusion else None)
    setting = {
        **plan.setting(model, plan.template or model.template),
        "entries": catalogue.num_entries,
        "rows_refused_by_index": catalogue.report.num_refused,
        "mode": options.mode,
        "k": options.k,
        "width": options.beam_width if options.mode != "exact" else None,
        "alpha": alpha,
        "neighbours": seeds.count if seeds else None,
        "fusion": dict(seeds.fusion.nats) if seeds and seeds.fusion else None,
    }
    note("measuring what rows cost on this machine, and the floors ...")
    model.warm(options, plan.template)
    with progress("asking") as advance:
        return measure_targeting(
            name,
            questions,
            lambda query: model.answer(query, catalogue, options, plan.template, prior, seeds=seeds),
            options.k,
            with_floors=plan.with_floors,
            more_floors=floors,
            setting=setting,
            advance=advance,
        )


def _resembling(
    plan: Plan, model: Model, catalogue: Catalogue, questions: Questions, dev: DevRows
) -> tuple[Neighbours | None, dict[str, Floor]]:
    """The neighbours that the plan asks for, their fusion given or learned; what ranks without the model."""
    from adtrie.evaluate.fusing import FusedFloor
    from adtrie.train.save import replace_file

    if plan.neighbours is None and plan.fusion is None and plan.learn_fusion is None:
        return None, {}
    count = plan.neighbours or DEFAULT_COUNT
    neighbours = made(catalogue, count, questions.train, questions.titles, plan.fusion)
    if plan.learn_fusion is not None:
        replace_file(plan.learn_fusion, learned(model, catalogue, neighbours, dev, plan.template).to_json())
        note(f"{plan.learn_fusion}: written")
    if neighbours.fusion is None:
        return neighbours, {}
    texts = [catalogue.text(entry) for entry in range(catalogue.num_entries)]
    return neighbours, {"text and past queries, fused": FusedFloor(neighbours, texts)}


def _prior(
    plan: Plan, model: Model, catalogue: Catalogue, dev: DevRows, fused: float | None
) -> tuple[float | None, Prior | None]:
    """The alpha that was given, chosen on dev rows or `fused`, and the prior it makes; None without one."""
    from adtrie.catalogue import Prior
    from adtrie.evaluate.familiarity import NUM_CANDIDATES, best_alpha
    from adtrie.request import TargetOptions

    alpha = plan.alpha if plan.alpha is not None else fused
    if alpha is None:
        return None, None
    with progress("scoring entries without a query") as advance:
        unconditional = model.unconditional(catalogue, plan.template, advance)
    if alpha == AUTO:
        entry_of = {catalogue.text(entry): entry for entry in range(catalogue.num_entries)}
        wide = TargetOptions(NUM_CANDIDATES, "verify", width=NUM_CANDIDATES)
        rows = [question for group in dev(NUM_DEV).groups.values() for question in group]
        with progress("choosing alpha on dev rows") as advance:
            alpha = best_alpha(
                rows,
                lambda query: model.answer(query, catalogue, wide, plan.template),
                entry_of,
                unconditional,
                advance,
            )
    return alpha, Prior.from_unconditional(unconditional, alpha)


def write_task(plan: Plan, name: str, beams: Beams, check_draft: bool) -> CreativeReport:
    """Measures ad text; the references of the training facts are guesses, which change no text."""
    from adtrie.creative import Drafts
    from adtrie.evaluate import load_creative_task
    from adtrie.evaluate.creating import measure_creative
    from adtrie.evaluate.creative_tasks import templates_of

    task = load_creative_task(name)
    briefs = task.sample(plan.split, plan.num_rows)
    with plan.load() as model:
        template = plan.template or model.create_template
        past = [text for brief in task.briefs_of("train") for text in templates_of(brief)]
        drafts = Drafts(past, model, template)
        note("measuring what rows cost on this machine, and the floors ...")
        model.engine.latency()
        with progress("writing") as advance:
            return measure_creative(
                task,
                briefs,
                lambda facts, draft: model.create(
                    facts, beams=beams, template=template, drafts=drafts, draft=draft
                ),
                check_draft=check_draft,
                with_floors=plan.with_floors,
                setting=plan.setting(model, template) | (asdict(beams) if beams.width > 1 else {}),
                way="drafted" if beams.width == 1 else "beam",
                advance=advance,
            )
