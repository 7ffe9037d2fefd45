"""Pairs (query, label) for tuning: read, cleaned by counted rules, split, turned into tokens.

Knows tasks, CSV files and the prompt; no torch. Nothing is dropped without being counted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.normalise import normalise
from adtrie.errors import AdtrieError, InputError
from adtrie.evaluate.creative_tasks import load_creative_task
from adtrie.evaluate.pair_files import query_key, read_pairs
from adtrie.evaluate.tasks import TASK_NAMES, Pair, load_task
from adtrie.models.tokenizer import Tokenizer
from adtrie.prompt import PromptTemplate, normalise_query
from adtrie.train.recipe import Recipe

WRITING_TASKS = ("e2e",)  # labels are texts to write, not entries
TUNE_TASKS = (*TASK_NAMES, *WRITING_TASKS)
LABEL_PREFIX, LABEL_END = " ", "\n"  # as the catalogue tokenizes entries
DEV_SHARE, MAX_SHOWN = 20, 10  # one query in 20 of a file without splits is held out


@dataclass(frozen=True)
class Example:
    """Tokens int32[n] of one pair; the completion are those from `start` on."""

    tokens: NDArray[np.int32]
    start: int


@dataclass
class PairReport:
    """What became of the rows, of which `num_titles` were titles of the catalogue to train on.

    `contradictory` counts queries with several labels, which are kept.
    """

    num_rows: int = 0
    num_titles: int = 0
    num_train: int = 0
    num_dev: int = 0
    unusable: int = 0
    too_long: int = 0
    duplicate: int = 0
    contradictory: int = 0
    also_in_test: int = 0
    notes: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """One line for people."""
        titles = f" ({self.num_titles:,} of them titles)" if self.num_titles else ""
        return (
            f"{self.num_rows:,} rows{titles}: {self.num_train:,} to train on, {self.num_dev:,} for dev; "
            f"left out: {self.unusable:,} unusable, {self.too_long:,} too long, "
            f"{self.duplicate:,} duplicate, {self.also_in_test:,} also held out; "
            f"{self.contradictory:,} queries with several labels"
        )


@dataclass(frozen=True)
class TuneData:
    """Examples and their report; `fingerprint` (sha256 hex) is that of all tokens in order."""

    name: str
    train: list[Example]
    dev: list[Example]
    report: PairReport

    @property
    def fingerprint(self) -> str:
        """Identity of the data as the model sees it."""
        digest = hashlib.sha256()
        for part in (self.train, self.dev):
            digest.update(f"{len(part)}\n".encode())
            for example in part:
                digest.update(f"{example.start} {len(example.tokens)}\n".encode())
                digest.update(example.tokens.astype("<i4").tobytes())
        return digest.hexdigest()


def task_data(name: str, tokenizer: Tokenizer, recipe: Recipe) -> TuneData:
    """Rows of a built-in task, one of TUNE_TASKS; raises InputError for another.

    A targeting task gives its train rows, the title of every code where it decodes codes, and with
    `recipe.titles` every entry as a query for itself; its dev rows are half of labels no train row has.
    `e2e` gives facts with each of their references.
    """
    if name not in TUNE_TASKS:
        raise InputError(
            f"task {name!r:.60} is unknown; use one of {', '.join(TUNE_TASKS)}, or --pairs FILE.csv"
        )
    if name in WRITING_TASKS:
        return _writing_data(name, tokenizer, recipe)
    task = load_task(name)
    half = recipe.dev_rows // 2
    dev = task.sample("dev", half) + task.sample("cold_dev", recipe.dev_rows - half)
    held_out = [row for row in task.rows if row.split != "train"]
    titles = task.title_rows(recipe.titles)
    data = _prepare(name, task.rows_of("train") + titles, dev, held_out, tokenizer, recipe)
    data.report.num_titles = len(titles)
    return data


def _writing_data(name: str, tokenizer: Tokenizer, recipe: Recipe) -> TuneData:
    """Facts with each reference of the train split; of the dev split the rows with the smallest hashes."""
    task = load_creative_task(name)
    rows = [Pair(brief.facts, text, brief.split) for brief in task.briefs for text in brief.references]
    dev = sorted((row for row in rows if row.split == "dev"), key=_hash)[: recipe.dev_rows]
    train = [row for row in rows if row.split == "train"]
    held_out = [row for row in rows if row.split != "train"]
    return _prepare(name, train, dev, held_out, tokenizer, recipe)


def file_data(path: Path, tokenizer: Tokenizer, recipe: Recipe) -> TuneData:
    """Rows of a CSV file with the columns query and label, and split (train, dev, test) if it has one.

    Without splits a fixed twentieth of the queries is held out. Raises InputError for an unusable file.
    """
    rows = [row for _, row in read_pairs(path, "train")]
    if all(row.split == "train" for row in rows):
        rows = _split(rows)
    train = [row for row in rows if row.split == "train"]
    if recipe.titles:
        train += [Pair(label, label, "train") for label in dict.fromkeys(row.label for row in train)]
    dev = [row for row in rows if row.split == "dev"][: recipe.dev_rows]
    held_out = [row for row in rows if row.split != "train"]
    return _prepare(path.name, train, dev, held_out, tokenizer, recipe)


def _prepare(
    name: str,
    train: Sequence[Pair],
    dev: Sequence[Pair],
    held_out: Sequence[Pair],
    tokenizer: Tokenizer,
    recipe: Recipe,
) -> TuneData:
    report = PairReport(num_rows=len(train) + len(dev))
    forbidden = {query_key(row.query) for row in held_out}
    kept_train = _cleaned(train, forbidden, report)
    kept_dev = _cleaned(dev, set(), report)
    build = _Builder(PromptTemplate.from_text(recipe.template), tokenizer, recipe.max_tokens)
    data = TuneData(name, build.examples(kept_train, report), build.examples(kept_dev, report), report)
    report.num_train, report.num_dev = len(data.train), len(data.dev)
    if not data.train or not data.dev:
        raise InputError(
            f"{name}: {report.num_train} rows to train on and {report.num_dev} dev rows are left, one "
            f"of each is needed at least; {report.summary()}"
        )
    return data


def _cleaned(rows: Iterable[Pair], forbidden: set[str], report: PairReport) -> list[tuple[str, str]]:
    """Normalised (query, label), each once, in the order given."""
    kept: dict[tuple[str, str], None] = {}
    for number, row in enumerate(rows, start=1):
        try:
            pair = (normalise_query(row.query), normalise(row.label))
        except AdtrieError as error:
            report.unusable += 1
            if len(report.notes) < MAX_SHOWN:
                report.notes.append(f"row {number}: {error}")
            continue
        if query_key(pair[0]) in forbidden:
            report.also_in_test += 1
        elif pair in kept:
            report.duplicate += 1
        else:
            kept[pair] = None
    report.contradictory += sum(count > 1 for count in Counter(query for query, _ in kept).values())
    return list(kept)


class _Builder:
    """Tokens of pairs, exactly as a request and a catalogue entry are tokenized."""

    def __init__(self, template: PromptTemplate, tokenizer: Tokenizer, max_tokens: int) -> None:
        self._template, self._tokenizer, self._max_tokens = template, tokenizer, max_tokens
        self._prefix = template.prefix_tokens(tokenizer)
        self._end = tokenizer.encode(LABEL_END)

    def examples(self, pairs: Sequence[tuple[str, str]], report: PairReport) -> list[Example]:
        """One example per pair that fits `max_tokens`."""
        flat, offsets = self._tokenizer.encode_batch([LABEL_PREFIX + label for _, label in pairs])
        examples = []
        for index, (query, _) in enumerate(pairs):
            prompt = self._template.query_tokens(query, self._tokenizer)
            label = flat[offsets[index] : offsets[index + 1]]
            start = len(self._prefix) + len(prompt)
            if start + len(label) + len(self._end) > self._max_tokens or start == 0:
                report.too_long += 1
                continue
            examples.append(Example(np.concatenate([self._prefix, prompt, label, self._end]), start))
        return examples


def _hash(row: Pair) -> bytes:
    return hashlib.sha256(f"{row.query}\x1f{row.label}".encode()).digest()


def _split(rows: Sequence[Pair]) -> list[Pair]:
    """`rows` with the queries of the smallest hashes as dev rows: all rows of a query stay together."""
    queries = sorted(
        {query_key(row.query) for row in rows}, key=lambda q: hashlib.sha256(q.encode()).digest()
    )
    dev = set(queries[: max(len(queries) // DEV_SHARE, 1)])
    return [Pair(row.query, row.label, "dev" if query_key(row.query) in dev else "train") for row in rows]
