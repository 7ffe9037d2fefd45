"""Query rules and prompt templates."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from adtrie.errors import InputError
from adtrie.prompt import DEFAULT_TEMPLATE, MAX_QUERY_CHARS, PLACEHOLDER, PromptTemplate, normalise_query


class Letters:
    """A tokenizer of one token per character; 1 is the start token, 2 the control token <|end|>."""

    def __init__(self, add_bos: bool = False) -> None:
        self.add_bos = add_bos

    def encode(self, text: str) -> NDArray[np.int32]:
        return np.array([ord(char) + 10 for char in text], np.int32)

    def encode_template(self, text: str) -> NDArray[np.int32]:
        pieces = re.split(r"(<\|end\|>)", text)
        ids = [np.array([2]) if piece == "<|end|>" else self.encode(piece) for piece in pieces]
        return np.concatenate([np.array([1] * self.add_bos), *ids]).astype(np.int32)


def test_white_space_is_normalised() -> None:
    assert normalise_query("  a\tb\r\n\u00a0c ") == "a b c"
    assert normalise_query("e\u0301") == "\u00e9"


@pytest.mark.parametrize(
    "query", ["", " \n\t", "x" * (MAX_QUERY_CHARS + 1), "x" * 1_000_000, "a\ud800b", 3, None]
)
def test_a_text_that_is_no_query_is_refused(query: str) -> None:
    with pytest.raises(InputError):
        normalise_query(query)


@given(st.text(st.characters(), max_size=2_100))
def test_normalising_is_idempotent_or_refuses(query: str) -> None:
    try:
        text = normalise_query(query)
    except InputError:
        return
    assert normalise_query(text) == text


@pytest.mark.parametrize(
    "text", ["", "no place", "{query} and {query}", "x" * 30_000 + "{query}", "{query}\udcff"]
)
def test_a_template_needs_one_place(text: str) -> None:
    with pytest.raises(InputError):
        PromptTemplate.parse(text)


def test_template_from_file_is_literal(tmp_path: Path) -> None:
    path = tmp_path / "template.txt"
    path.write_text("A\\n{query}\n", encoding="utf-8")
    assert PromptTemplate.parse(f"@{path}") == PromptTemplate("A\\n", "\n")
    assert PromptTemplate.parse("A\\n{query}\\n") == PromptTemplate("A\n", "\n")


@pytest.mark.parametrize("content", [None, b"\xff{query}", b"x" * 200_000])
def test_template_file_that_cannot_be_used(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "template.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(path))):
        PromptTemplate.parse(f"@{path}")


@pytest.mark.parametrize("add_bos", [False, True])
@pytest.mark.parametrize(("after", "tokens"), [("\nName:", "Say:\nName:"), ("", "Say:")])
def test_no_token_stands_for_an_empty_query(add_bos: bool, after: str, tokens: str) -> None:
    tokenizer = Letters(add_bos)
    prompt = PromptTemplate("Say: ", after).tokens_without_query(tokenizer)
    assert prompt.dtype == np.int32
    assert prompt.tolist() == [1] * add_bos + tokenizer.encode(tokens).tolist()


@pytest.mark.parametrize("add_bos", [False, True])
def test_prefix_and_query_make_the_whole_prompt(add_bos: bool) -> None:
    tokenizer = Letters(add_bos)
    template = PromptTemplate("Say: ", "\nName:")
    prompt = [*template.prefix_tokens(tokenizer), *template.query_tokens("a b", tokenizer)]
    assert prompt == [1] * add_bos + tokenizer.encode("Say: a b\nName:").tolist()


def test_control_tokens_count_in_the_template_only() -> None:
    template = PromptTemplate("<|end|>", "<|end|>")
    assert template.prefix_tokens(Letters()).tolist() == [2]
    tokens = template.query_tokens("<|end|>", Letters()).tolist()
    assert tokens == [*Letters().encode("<|end|>").tolist(), 2]


def test_default_examples_are_no_catalogue_entries() -> None:
    from adtrie.evaluate import load_task

    task = load_task("pricerunner")
    examples = re.findall(r"Listing: (.+)<\|im_end\|>\n.+\nProduct name: (.+)<", DEFAULT_TEMPLATE.before)
    assert len(examples) >= 2
    for listing, name in examples:
        assert name not in task.keywords
        assert listing not in {row.query for row in task.rows}
    assert DEFAULT_TEMPLATE.text.count(PLACEHOLDER) == 1
