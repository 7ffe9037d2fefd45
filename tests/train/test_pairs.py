"""Pairs: all rows left out are counted, tokens are those of a request, batches hold every pair once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.errors import InputError
from adtrie.models import open_checkpoint
from adtrie.prompt import PromptTemplate
from adtrie.train.batches import BatchOrder, collate, in_order
from adtrie.train.curve import curve_svg
from adtrie.train.pairs import Example, file_data
from adtrie.train.recipe import Recipe

RECIPE = Recipe(template="Q: {query} =>", max_tokens=64, batch_tokens=128)


def test_what_is_left_out_is_counted(models: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    rows = [
        "red shoe,Red Shoe,train",
        "red  shoe,Red Shoe,train",  # duplicate once normalised
        "red shoe,Crimson Shoe,train",  # contradictory: kept
        ",Empty,train",
        "empty,,train",
        "bell\x07,Bell,train",
        "short row",
        f"{'long ' * 30},Long,train",
        "Held Out,Label,train",  # a test query in other letters
        "held out,Label,test",
        "dev row,Dev,dev",
    ]
    path.write_text("query,label,split\n" + "\n".join(rows) + "\n", encoding="utf-8")
    with open_checkpoint(models("llama")) as checkpoint:
        data = file_data(path, checkpoint.tokenizer, RECIPE)
        report = data.report
        assert (report.num_train, report.num_dev) == (2, 1)
        assert (report.unusable, report.too_long, report.duplicate) == (4, 1, 1)
        assert (report.contradictory, report.also_in_test) == (1, 1)
        left_out = report.unusable + report.too_long + report.duplicate + report.also_in_test
        assert report.num_rows == report.num_train + report.num_dev + left_out
        example = data.train[0]
        tokenizer = checkpoint.tokenizer
        template = PromptTemplate.from_text(RECIPE.template)
        prompt = [*template.prefix_tokens(tokenizer), *template.query_tokens("red shoe", tokenizer)]
        assert example.tokens[: example.start].tolist() == prompt
        assert example.tokens[example.start :].tolist() == tokenizer.encode(" Red Shoe\n").tolist()


def test_a_query_is_in_one_split(models: Callable[[str], Path], pairs_file: Path) -> None:
    with open_checkpoint(models("llama")) as checkpoint:
        data = file_data(pairs_file, checkpoint.tokenizer, RECIPE)
        again = file_data(pairs_file, checkpoint.tokenizer, RECIPE)
    assert data.report.num_dev == 4
    assert data.report.num_train == 76
    assert data.fingerprint == again.fingerprint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"a,b\n1,2\n", "columns"),
        (b"", "columns"),
        (b"query,label\n\xff\xfe,b\n", "UTF-8"),
        (b"query,label,split\na,b,validation\n", "split"),
        (b'query,label\n"a,b\n', "line"),
        (b"query,label\n", "at least"),
        (b"query,label\na,b\n", "at least"),
    ],
)
def test_unusable_files(models: Callable[[str], Path], tmp_path: Path, text: bytes, words: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(text)
    with open_checkpoint(models("llama")) as checkpoint, pytest.raises(InputError, match=words):
        file_data(path, checkpoint.tokenizer, RECIPE)


def test_missing_file(models: Callable[[str], Path], tmp_path: Path) -> None:
    with open_checkpoint(models("llama")) as checkpoint:
        for path in (tmp_path / "none.csv", tmp_path):
            with pytest.raises(InputError, match="--pairs"):
                file_data(path, checkpoint.tokenizer, RECIPE)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 40), min_size=1, max_size=60), st.integers(0, 5), st.integers(40, 200))
def test_every_pair_once_per_epoch(lengths: list[int], seed: int, batch_tokens: int) -> None:
    examples = [
        Example(np.full(length, index, np.int32), 1 + index % (length - 1))
        for index, length in enumerate(lengths)
    ]
    order = BatchOrder(examples, batch_tokens, seed)
    seen: Counter[int] = Counter()
    for step in range(order.batches_per_epoch):
        batch = order.batch(step)
        assert batch.tokens.size <= batch_tokens
        assert len(batch.rows) == len(batch.labels)
        # Each label is the token after the row that predicts it.
        np.testing.assert_array_equal(batch.tokens.ravel()[batch.rows + 1], batch.labels)
        seen.update(int(row[0]) for row in batch.tokens)
    assert seen == Counter(range(len(lengths)))
    other = BatchOrder(examples, batch_tokens, seed)
    later = order.batches_per_epoch + 1
    np.testing.assert_array_equal(other.batch(later).tokens, order.batch(later).tokens)
    np.testing.assert_array_equal(order.batch(0).tokens, other.batch(0).tokens)
    assert sum(len(batch.tokens) for batch in in_order(examples, batch_tokens)) == len(lengths)


def test_collate() -> None:
    batch = collate([Example(np.array([5, 6, 7], np.int32), 2), Example(np.array([8, 9], np.int32), 1)])
    assert batch.tokens.tolist() == [[5, 6, 7], [8, 9, 0]]
    assert batch.rows.tolist() == [1, 3]
    assert batch.labels.tolist() == [7, 9]
    assert batch.num_tokens == 5


@pytest.mark.parametrize(
    "change",
    [
        {"rank": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"epochs": 0},
        {"minutes": 0},
        {"batch_tokens": 10},
        {"targets": ("x",)},
        {"targets": ()},
        {"seed": -1},
    ],
)
def test_recipe_ranges(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Recipe(**{"template": "{query}", **change})  # type: ignore[arg-type]


def test_learning_rate_rises_and_falls() -> None:
    recipe = Recipe(template="{query}", warmup_steps=10)
    rates = [recipe.rate(step, 100) for step in range(100)]
    assert max(rates) == rates[9] == pytest.approx(recipe.learning_rate)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.1 * recipe.learning_rate


def test_curve_is_xml() -> None:
    from xml.etree import ElementTree

    for train, dev in (([], []), ([(5, 1.0), (10, 0.5)], [(0, 2.0), (10, 0.4)])):
        assert ElementTree.fromstring(curve_svg(train, dev, "a < b & c")).tag.endswith("svg")
