"""What compression costs a small model trained from random weights: `python -m benchmarks.scratch_model`.

The weights of a published 4-bit file lie on its grid, so rounding them again says nothing; these lie on none.
Trains once into build/scratch_model, from a fixed seed, then makes rows of `benchmarks.paper_rows` beside the
uncompressed model and beside a floor that knows only how often each token occurs. Training takes three and a
half minutes of one core, the rows another one. Three million weights in blocks, two in the embedding: says
which way a method moves, not how far it moves a model of use. Needs torch to train.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from adtrie.calibration_texts import split_texts
from adtrie.cli.training_progress import training_progress
from adtrie.compress.divergence import Comparison
from adtrie.compress.replaced_source import ReplacedSource
from adtrie.compress.samples import Sample, make_batches
from adtrie.evaluate import load_creative_task
from adtrie.format.panels import pack
from adtrie.models import Tokenizer, open_checkpoint
from adtrie.models.adapter_files import CARD_FILE
from adtrie.train.pairs import task_data
from adtrie.train.recipe import TASK_MAX_TOKENS, TASK_TEMPLATES, Recipe
from benchmarks import machine
from benchmarks.paper_plans import SETTINGS, PanelRun, linear_shapes, make_plan
from benchmarks.paper_quality import size_of
from benchmarks.paper_rows import ALL_ROWS, Row
from benchmarks.paper_setting import answered
from benchmarks.scratch_start import SPEC, random_checkpoint, unigram_loss

TOKENIZER = "smollm2-135m"
TASK = "e2e"  # learned sooner than pricerunner, the answers of which are names to copy
STEPS = 500
HELD_OUT = 200  # test rows
ROWS = {
    "rtn": "round-to-nearest INT4",
    "gptq": "GPTQ INT4",
    "group-64": "polished INT4",
    "adaptive": "adaptive INT4",
    "2:4+int4": "2:4 + INT4",
    "half-plan": "layer-adaptive mix",
    "1:4+int4": "1:4 + INT4",
}
# (the row that should diverge less, the one beside it in the same bytes)
DUELS = (("gptq", "rtn"), ("group-64", "gptq"), ("adaptive", "group-64"), ("half-plan", "2:4+int4"))
TIE = 0.05  # two divergences that differ by less are not told apart


def recipe_of(seed: int) -> Recipe:
    """A fixed number of updates, so that the seed decides the weights and no clock does."""
    return Recipe(
        template=TASK_TEMPLATES[TASK],
        learning_rate=3e-3,
        steps=STEPS,
        batch_tokens=1_024,
        max_tokens=TASK_MAX_TOKENS[TASK],
        evaluate_every=200,
        dev_rows=200,
        seed=seed,
    )


def is_trained(out: Path, recipe: Recipe) -> bool:
    """Whether `out` holds a finished model of just this recipe."""
    card = out / CARD_FILE
    as_json = json.loads(json.dumps(asdict(recipe)))
    return card.exists() and json.loads(card.read_text())["recipe"] == as_json


def train_once(out: Path, recipe: Recipe) -> None:
    """Trains into `out` unless the model is there."""
    if is_trained(out, recipe):
        return
    from benchmarks.scratch_training import train  # torch, which a trained model does without

    with open_checkpoint(TOKENIZER) as published:
        start = random_checkpoint(published.tokenizer, SPEC, recipe.seed)
    with training_progress() as watch:
        train(start, task_data(TASK, start.tokenizer, recipe), recipe, out, watch)


def held_out_samples(tokenizer: Tokenizer, template: str) -> list[Sample]:
    """Facts of test rows with one of their texts each, of which training and calibration have seen none."""
    briefs = load_creative_task(TASK).sample("test", HELD_OUT)
    return [answered(brief.facts, brief.references[0], template, tokenizer) for brief in briefs]


def measured(run: PanelRun, row: Row, judge: Comparison) -> dict[str, Any]:
    """Size and divergence of one row, its codes solved and packed in memory."""
    assert row.recipe is not None
    began = time.process_time()
    plan = make_plan(row.recipe, run)
    run.use(row.recipe.method)
    linears = dict(run.solve(plan))
    shapes = linear_shapes(run.source)
    sizes = {name: (pack(linear).num_bytes, math.prod(shapes[name])) for name, linear in linears.items()}
    found = asdict(judge.of(ReplacedSource(run.source, linears)))
    rounded = {key: round(value, 6) if isinstance(value, float) else value for key, value in found.items()}
    return {**size_of(sizes), **rounded, "cpu_s": round(time.process_time() - began, 1)}


def verdicts(rows: dict[str, dict[str, Any]], full_perplexity: float) -> list[str]:
    """Who diverges less in each of DUELS, and where perplexity says something else than divergence."""
    lines = []
    for name, other in DUELS:
        ours, theirs = rows[name]["kl_mean"], rows[other]["kl_mean"]
        word = "does not beat" if ours > theirs * (1 - TIE) else "beats"
        lines.append(f"{ROWS[name]} {word} {ROWS[other]}: {ours:.5f} and {theirs:.5f} nats")
    below = [ROWS[name] for name, row in rows.items() if row["perplexity"] < full_perplexity]
    if below:
        lines.append(f"perplexity is below that of the uncompressed model for: {', '.join(below)}")
    return lines


def compare(out: Path, recipe: Recipe) -> dict[str, Any]:
    """All rows of the model in `out`, with its floor and its training."""
    with open_checkpoint(out) as source, tempfile.TemporaryDirectory() as work:
        data = task_data(TASK, source.tokenizer, recipe)
        rows = [Sample(each.tokens, each.start) for each in data.train]
        held_out = held_out_samples(source.tokenizer, recipe.template)
        floor = unigram_loss(
            (each.tokens[each.start :] for each in rows),
            (each.tokens[each.start :] for each in held_out),
            source.spec.vocab_size,
        )
        run = PanelRun(source, split_texts(rows, SETTINGS.max_tokens), SETTINGS, Path(work))
        judge = Comparison(source, make_batches(held_out))
        found = {name: measured(run, ALL_ROWS[name], judge) for name in ROWS}
        shapes = linear_shapes(source)
        return {
            "task": TASK,
            "spec": asdict(source.spec),
            "training": json.loads((out / CARD_FILE).read_text()),
            "calibration_tokens": SETTINGS.max_tokens,
            "held_out_texts": len(held_out),
            "held_out_tokens": found["rtn"]["num_rows"],
            "full": {
                **size_of({name: (2 * math.prod(s), math.prod(s)) for name, s in shapes.items()}),
                "perplexity": found["rtn"]["reference_perplexity"],
            },
            "unigram_perplexity": round(math.exp(floor), 4),
            "rows": found,
            "verdicts": verdicts(found, found["rtn"]["reference_perplexity"]),
        }


def show(result: dict[str, Any]) -> None:
    """Bits of block weights, bytes, nats on held-out answers; and who beats whom."""
    trained, full = result["training"], result["full"]
    title = (
        f"{result['task']}: {trained['steps']} updates in {trained['cpu_seconds']:.0f} s of one core to "
        f"{math.exp(trained['best_dev_loss']):.2f} of dev perplexity; "
        f"{result['held_out_tokens']:,} held-out tokens of {result['held_out_texts']} texts"
    )
    table = Table("", "bits", "MB", "KL", "p99", "top-1", "ppl", title=title)
    table.columns[0].no_wrap = True
    table.add_row("unigram floor", "", "", "", "", "", f"{result['unigram_perplexity']:.2f}")
    size = (f"{full['block_bits_per_weight']:.2f}", f"{full['bytes'] / 1e6:.2f}")
    table.add_row("uncompressed", *size, "", "", "", f"{full['perplexity']:.4f}")
    for name, row in result["rows"].items():
        table.add_row(
            ROWS[name],
            f"{row['block_bits_per_weight']:.2f}",
            f"{row['bytes'] / 1e6:.2f}",
            f"{row['kl_mean']:.5f}",
            f"{row['kl_p99']:.3f}",
            f"{row['top1_agreement']:.1%}",
            f"{row['perplexity']:.4f}",
        )
    Console().print(table)
    print(*result["verdicts"], sep="\n")


def main() -> None:
    """Trains where there is no model yet, compresses it, and writes the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="another one is another model and result")
    options = parser.parse_args()
    name = f"scratch_model_{options.seed}" if options.seed else "scratch_model"
    out, recipe = machine.ROOT / "build" / name, recipe_of(options.seed)
    train_once(out, recipe)
    result = compare(out, recipe)
    show(result)
    print(f"written to {machine.write(name, result)}")


if __name__ == "__main__":
    main()
