"""Training rows of the built-in tasks: none held out, codes with their titles, texts as `create` has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adtrie.errors import InputError
from adtrie.evaluate.creative_tasks import load_creative_task
from adtrie.evaluate.tasks import CODES, TASK_NAMES, load_task
from adtrie.models import Tokenizer, open_checkpoint
from adtrie.models.alias import cached_path
from adtrie.prompt import PromptTemplate, normalise_query
from adtrie.search.text_rules import TextRules
from adtrie.search.writing import Verdict, Writing
from adtrie.train.pairs import TUNE_TASKS, WRITING_TASKS, Example, TuneData, task_data
from adtrie.train.recipe import TASK_MAX_TOKENS, TASK_TEMPLATES, Recipe

ALIAS = "smollm2-135m"
BYTES_PER_PAIR = 1024  # of the tiny models, whose tokens are single bytes
Data = Callable[[str], TuneData]


def recipe_of(name: str) -> Recipe:
    """As the command line makes it."""
    max_tokens = TASK_MAX_TOKENS.get(name, Recipe.max_tokens)
    return Recipe(template=TASK_TEMPLATES[name], max_tokens=max_tokens)


@pytest.fixture(scope="module")
def tokenizer(models: Callable[[str], Path]) -> Iterator[Tokenizer]:
    with open_checkpoint(models("llama")) as checkpoint:
        yield checkpoint.tokenizer


@pytest.fixture(scope="module")
def data(tokenizer: Tokenizer) -> Data:
    """The data of a task in bytes; each task is read once."""
    made: dict[str, TuneData] = {}

    def of(name: str) -> TuneData:
        if name not in made:
            made[name] = task_data(name, tokenizer, replace(recipe_of(name), max_tokens=BYTES_PER_PAIR))
        return made[name]

    return of


def pair_of(example: Example, name: str, tokenizer: Tokenizer) -> tuple[str, str]:
    """(query, label) that the tokens spell."""
    before, after = TASK_TEMPLATES[name].split("{query}")
    prompt, label = tokenizer.decode(example.tokens[: example.start]), example.tokens[example.start :]
    prompt = prompt.removeprefix(tokenizer.decode(example.tokens[:1])) if tokenizer.add_bos else prompt
    assert prompt.startswith(before) and prompt.endswith(after)
    text = tokenizer.decode(label)
    assert text[0] == " " and text[-1] == "\n"
    return prompt[len(before) : len(prompt) - len(after)], text[1:-1]


def test_every_task_has_a_template() -> None:
    assert set(TUNE_TASKS) == set(TASK_TEMPLATES) >= set(TASK_MAX_TOKENS)
    assert set(WRITING_TASKS) == set(TUNE_TASKS) - set(TASK_NAMES)
    for text in TASK_TEMPLATES.values():
        assert PromptTemplate.from_text(text).text == text


@pytest.mark.parametrize("name", ["", "UNSPSC", "slogans"])
def test_an_unknown_task_is_an_input_error(name: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match=r"use one of pricerunner, unspsc, .*e2e, or --pairs"):
        task_data(name, tokenizer, Recipe(template="{query}"))


@pytest.mark.parametrize("name", TUNE_TASKS)
def test_every_row_is_counted(name: str, data: Data) -> None:
    report = data(name).report
    left_out = report.unusable + report.too_long + report.duplicate + report.also_in_test
    assert report.num_rows == report.num_train + report.num_dev + left_out
    assert (report.unusable, report.too_long) == (0, 0)
    assert report.num_dev == 320


@pytest.mark.parametrize("name", TASK_NAMES)
def test_train_is_the_train_rows_and_the_titles(name: str, data: Data, tokenizer: Tokenizer) -> None:
    task = load_task(name)
    held_out = {row.query.lower() for row in task.rows if row.split != "train"}
    rows = [(row.query, row.label) for row in task.rows_of("train")]
    titles = [(row.query, row.label) for row in task.title_rows()]
    expected = dict.fromkeys(pair for pair in rows + titles if pair[0].lower() not in held_out)
    trained = [pair_of(example, name, tokenizer) for example in data(name).train]
    assert trained == list(expected)
    assert set(rows) <= set(trained)
    report = data(name).report
    assert report.num_titles == len(titles)
    assert (len(titles) > 0) == (report.also_in_test > 0) == name.endswith(CODES)


@pytest.mark.parametrize("name", ["unspsc-codes", "naics-codes"])
def test_only_titles_name_cold_codes(name: str, data: Data, tokenizer: Tokenizer) -> None:
    task = load_task(name)
    cold = {row.label for row in task.rows if row.split in ("cold_dev", "cold_test")}
    trained = [pair_of(example, name, tokenizer) for example in data(name).train]
    of_cold = [(query, code) for query, code in trained if code in cold]
    assert of_cold and all(query == task.title_of[code] for query, code in of_cold)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_dev_is_half_cold(name: str, data: Data, tokenizer: Tokenizer) -> None:
    task = load_task(name)
    dev = {pair_of(example, name, tokenizer) for example in data(name).dev}
    for split in ("dev", "cold_dev"):
        assert len(dev & {(row.query, row.label) for row in task.rows_of(split)}) == 160


def test_facts_come_with_each_reference(data: Data, tokenizer: Tokenizer) -> None:
    task = load_creative_task("e2e")
    rows = {
        split: {(brief.facts, text) for brief in task.briefs_of(split) for text in brief.references}
        for split in ("train", "dev", "test")
    }
    trained = [pair_of(example, "e2e", tokenizer) for example in data("e2e").train]
    assert len(trained) == len(rows["train"]) == 4_183
    assert set(trained) == rows["train"]
    assert {pair_of(example, "e2e", tokenizer) for example in data("e2e").dev} <= rows["dev"]
    facts = {split: {facts for facts, _ in pairs} for split, pairs in rows.items()}
    assert not facts["train"] & (facts["dev"] | facts["test"])


def check_as_decoded(example: Example, tokenizer: Tokenizer) -> bool:
    """The completion, token by token, is a text that `create` writes and ends at its line end.

    False if its first token is a space alone, which `create` never takes: it writes the text without it.
    """
    facts, text = pair_of(example, "e2e", tokenizer)
    template = PromptTemplate.from_text(TASK_TEMPLATES["e2e"])
    asked = template.query_tokens(normalise_query(facts, "facts"), tokenizer)
    prompt = np.concatenate([template.prefix_tokens(tokenizer), asked])
    np.testing.assert_array_equal(example.tokens[: example.start], prompt)
    writing = Writing(TextRules(max_tokens=BYTES_PER_PAIR), tokenizer)
    *tokens, end = example.tokens[example.start :].tolist()
    whole = tokenizer.decode(tokens[:1]) != " "
    if not whole:
        assert writing.judge(tokens.pop(0)).verdict is Verdict.REFUSE
    for token in tokens:
        judged = writing.judge(token)
        assert judged.verdict is Verdict.TAKE
        writing.apply(token, judged)
    judged = writing.judge(end)
    assert (judged.verdict, judged.reason) == (Verdict.FINISH, "stop")
    writing.apply(end, judged)
    assert writing.result == text
    return whole


def test_texts_are_what_create_decodes(data: Data, tokenizer: Tokenizer) -> None:
    for example in data("e2e").train[::400]:
        check_as_decoded(example, tokenizer)


@pytest.mark.model
def test_with_the_real_tokenizer() -> None:
    """All pairs fit, codes are one token per digit, texts are what `create` decodes."""
    if not cached_path(ALIAS).exists():
        pytest.skip(f"{ALIAS} is not cached; run `adtrie demo` once")
    with open_checkpoint(ALIAS) as checkpoint:
        tokenizer = checkpoint.tokenizer
        for name, digits in (("unspsc-codes", 8), ("naics-codes", 6)):
            made = task_data(name, tokenizer, recipe_of(name))
            assert made.report.too_long == 0
            assert {len(one.tokens) - one.start for one in made.train} == {digits + 2}  # space, line end
        made = task_data("e2e", tokenizer, recipe_of("e2e"))
        assert made.report.too_long == 0
        sample = made.train[::20]
        whole = sum(check_as_decoded(example, tokenizer) for example in sample)
        assert whole >= 0.99 * len(sample)  # the others begin with a digit
