"""Texts to calibrate on: a task's own train rows as it is asked, a file of the user's, and general text.

Knows tasks, files and prompts; what calibrating does with the tokens is the business of compress.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adtrie.compress.pipeline import Texts
from adtrie.compress.samples import Sample
from adtrie.errors import InputError
from adtrie.evaluate.creative_tasks import load_creative_task
from adtrie.evaluate.tasks import load_task
from adtrie.models.tokenizer import Tokenizer
from adtrie.prompt import PromptTemplate, normalise_query
from adtrie.train.pairs import LABEL_END, LABEL_PREFIX, TUNE_TASKS, task_data
from adtrie.train.recipe import PAIRS_TEMPLATE, TASK_MAX_TOKENS, TASK_TEMPLATES, Recipe

WINDOW = 192  # tokens of one sample of running text
FEWEST_TOKENS = 256
MAX_FILE_BYTES = 256 << 20
GENERAL_SHARE = 0.15  # of the calibration tokens of a task
HELD_OUT_SHARE = 0.125  # of the tokens to search by, and as many to judge by
_PIECE_CHARS = 20_000  # tokenized at once: a file may be one long line
_ENOUGH = 8  # times the tokens wanted are read of a file


def task_texts(name: str, tokenizer: Tokenizer, template: str | None, max_tokens: int) -> Texts:
    """Train rows of a task with their answers, as in training, and general text; never rows of other splits.

    template: the model's prompt, None for the task's own. Raises InputError for a task that is unknown.
    """
    if name not in TUNE_TASKS:
        raise InputError(f"task {name!r:.60} is unknown; use one of {', '.join(TUNE_TASKS)}, or --text FILE")
    recipe = Recipe(
        template=template or TASK_TEMPLATES[name], max_tokens=TASK_MAX_TOKENS.get(name, Recipe.max_tokens)
    )
    rows = [Sample(each.tokens, each.start) for each in task_data(name, tokenizer, recipe).train]
    general = round(GENERAL_SHARE * max_tokens)
    task, rest = split_texts(rows, max_tokens - general), split_texts(general_samples(tokenizer), general)
    return Texts(
        [*task.calibration, *rest.calibration], task.search, task.check, f"train rows of {name}, general text"
    )


def general_texts(tokenizer: Tokenizer, max_tokens: int) -> Texts:
    """General text only, for a model without a task."""
    texts = split_texts(general_samples(tokenizer), max_tokens)
    return Texts(texts.calibration, texts.search, texts.check, "general text")


def file_texts(path: Path, tokenizer: Tokenizer, template: str | None, max_tokens: int) -> Texts:
    """A UTF-8 file: running text, or lines of JSON if it is called .jsonl.

    A line has `text`, or `prompt` and `completion`, or `query` and `label` for the model's prompt. Raises
    InputError for a file that is not readable, not UTF-8 or too short.
    """
    text = _read(path)
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        samples = _json_samples(text, path, tokenizer, template or PAIRS_TEMPLATE, max_tokens)
    else:
        samples = _windows(_tokens(text, tokenizer, _ENOUGH * max_tokens), tokenizer)
    found = sum(len(sample.tokens) for sample in samples)
    if found < FEWEST_TOKENS:
        raise InputError(
            f"--text: {path} gives {found} tokens to calibrate on, at least {FEWEST_TOKENS} are needed; "
            "give more text, some thousand words at best"
        )
    texts = split_texts(samples, max_tokens)
    return Texts(texts.calibration, texts.search, texts.check, path.name)


def split_texts(samples: Iterable[Sample], max_tokens: int) -> Texts:
    """Distinct samples in an order that depends on their tokens only: the first `max_tokens` to calibrate on.

    Of fewer, an eighth each is kept to search and to judge by.
    """
    distinct = {sample.tokens.tobytes(): sample for sample in samples}
    ordered = sorted(distinct.values(), key=lambda each: hashlib.sha256(each.tokens.tobytes()).digest())
    total = sum(len(sample.tokens) for sample in ordered)
    held_out = HELD_OUT_SHARE * min(max_tokens, total / (1 + 2 * HELD_OUT_SHARE))
    parts: list[list[Sample]] = []
    rest = iter(ordered)
    for wanted in (held_out, held_out):
        parts.append(_take(rest, wanted))
    search, check = parts
    return Texts(_take(rest, max_tokens), search, check)


def general_samples(tokenizer: Tokenizer) -> list[Sample]:
    """Running text of the train splits that ship: descriptions, activities, product titles."""
    sentences = [text for brief in load_creative_task("e2e").briefs_of("train") for text in brief.references]
    for name in ("naics", "unspsc", "pricerunner"):
        sentences += [row.query for row in load_task(name).sample("train", 1_000)]
    sentences.sort(key=lambda text: hashlib.sha256(text.encode()).digest())
    return _windows(tokenizer.encode_batch([sentence + "\n" for sentence in sentences])[0], tokenizer)


def _take(samples: Iterable[Sample], num_tokens: float) -> list[Sample]:
    """The next samples until they hold `num_tokens`."""
    taken: list[Sample] = []
    held = 0
    if num_tokens <= 0:
        return taken
    for sample in samples:
        taken.append(sample)
        held += len(sample.tokens)
        if held >= num_tokens:
            break
    return taken


def _windows(tokens: NDArray[np.int32], tokenizer: Tokenizer) -> list[Sample]:
    """Running text in windows, every token of which counts but the first."""
    start = tokenizer.encode_template("")  # a start token where the model has one
    pieces = [tokens[first : first + WINDOW] for first in range(0, len(tokens), WINDOW)]
    return [Sample(np.concatenate([start, piece]), 1) for piece in pieces if len(start) + len(piece) > 1]


def _tokens(text: str, tokenizer: Tokenizer, enough: int) -> NDArray[np.int32]:
    parts: list[NDArray[np.int32]] = []
    held = 0
    for first in range(0, len(text), _PIECE_CHARS):
        parts.append(tokenizer.encode(text[first : first + _PIECE_CHARS]))
        held += len(parts[-1])
        if held >= enough:
            break
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def _json_samples(
    text: str, path: Path, tokenizer: Tokenizer, template: str, max_tokens: int
) -> list[Sample]:
    samples: list[Sample] = []
    held = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and held < _ENOUGH * max_tokens:
            new = _json_line(line, f"--text: {path} line {number}", tokenizer, template)
            samples += new
            held += sum(len(sample.tokens) for sample in new)
    return samples


def _json_line(line: str, where: str, tokenizer: Tokenizer, template: str) -> list[Sample]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: no JSON ({error}); write one object a line") from None
    keys = ("text",), ("prompt", "completion"), ("query", "label")
    for names in keys:
        values = [fields.get(name) for name in names] if isinstance(fields, dict) else [None]
        if all(isinstance(value, str) for value in values):
            return _samples_of(names[0], [str(value) for value in values], tokenizer, template)
    raise InputError(
        f"{where}: expected an object with the text 'text', or 'prompt' and 'completion', "
        "or 'query' and 'label'"
    )


def _samples_of(kind: str, values: Sequence[str], tokenizer: Tokenizer, template: str) -> list[Sample]:
    if kind == "text":
        return _windows(_tokens(values[0], tokenizer, MAX_FILE_BYTES), tokenizer)
    if kind == "prompt":
        before, answer = tokenizer.encode_template(values[0]), tokenizer.encode(values[1])
    else:
        prompt = PromptTemplate.from_text(template)
        query = prompt.query_tokens(normalise_query(values[0]), tokenizer)
        before = np.concatenate([prompt.prefix_tokens(tokenizer), query])
        answer = tokenizer.encode(LABEL_PREFIX + values[1] + LABEL_END)
    before, answer = before[-WINDOW:], answer[:WINDOW]
    if not len(before) or not len(answer):
        return []
    return [Sample(np.concatenate([before, answer]).astype(np.int32), len(before))]


def _read(path: Path) -> str:
    try:
        if not path.is_file():
            raise InputError(f"--text: {path} is no file; give a text file or a .jsonl file")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"--text: cannot read {str(path)!r:.200}: {reason}") from None
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"--text: {path} is above {MAX_FILE_BYTES:,} bytes; a few megabytes are plenty")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"--text: {path} is not UTF-8 at byte {error.start}; re-save it as UTF-8") from None
