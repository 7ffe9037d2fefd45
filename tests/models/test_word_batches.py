"""Encoding word by word is exact under every rule it claims, and not used elsewhere."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_writers import GOLDEN_TOKENIZER, tokenizer_metadata

from adtrie.models import Tokenizer
from adtrie.models.gguf_tokenizer import tokenizer_definition
from adtrie.models.word_batches import encode_by_words, splits_at_blanks

RULES = ("gpt-2", "smollm", "llama-bpe", "qwen2")


def definition_of(pre: str) -> dict[str, Any]:
    """The golden vocabulary, plus merges over blanks and digits that a wrong split would betray."""
    metadata = tokenizer_metadata() | {"tokenizer.ggml.pre": pre}
    tokens, blank = list(metadata["tokenizer.ggml.tokens"]), "\u0120"
    extra = [("1", "2"), ("12", "3"), (blank, "1"), (blank, "12"), (blank, blank), ("a", blank), (blank, "_")]
    extra = [pair for pair in extra if pair[0] + pair[1] not in tokens]
    tokens += [left + right for left, right in extra]
    metadata["tokenizer.ggml.merges"] = [
        *(f"{left} {right}" for left, right in extra), *metadata["tokenizer.ggml.merges"]
    ]  # fmt: skip
    metadata["tokenizer.ggml.tokens"] = tokens
    kinds = metadata["tokenizer.ggml.token_type"]
    metadata["tokenizer.ggml.token_type"] = np.append(kinds, [1] * len(extra))
    return tokenizer_definition(metadata, "m.gguf")


TOKENIZERS = {pre: Tokenizer(definition_of(pre), pre, eos=2, bos=1, add_bos=False) for pre in RULES}
SPECIAL = list(" \n\t\r'_-1239aéßǅ²Ⅷ\u0301\u0338\u00a0\u2003\u001c\u0085東\u0e01\u0e31\U0001f600")
TEXT = st.text(st.sampled_from(SPECIAL) | st.characters(exclude_categories=["Cs"]), max_size=25)


@pytest.mark.parametrize("pre", RULES)
@given(texts=st.lists(TEXT | st.lists(TEXT).map(" ".join), max_size=4))
def test_words_alone_give_the_ids_of_the_text(pre: str, texts: list[str]) -> None:
    tokenizer = TOKENIZERS[pre]
    assert splits_at_blanks(definition_of(pre))
    flat, offsets = tokenizer.encode_batch(texts)
    for index, text in enumerate(texts):
        np.testing.assert_array_equal(flat[offsets[index] : offsets[index + 1]], tokenizer.encode(text))


@pytest.mark.parametrize(
    "change",
    [
        {"pre_tokenizer": None},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}},
        {"pre_tokenizer": {"type": "Metaspace"}},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [5]}},
        {"pre_tokenizer": {"type": "Digits", "individual_digits": True}},
        {"normalizer": {"type": "NFKC"}},
        {"normalizer": {"type": "Prepend", "prepend": "x"}},
    ],
)
def test_other_rules_are_left_to_the_library(change: dict[str, Any]) -> None:
    definition = {**json.loads(GOLDEN_TOKENIZER.read_bytes()), **change}
    assert not splits_at_blanks(definition)


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5).map(" ".join), max_size=6))
def test_each_word_is_encoded_once(texts: list[str]) -> None:
    seen: list[str] = []

    def rows(words: list[str]) -> list[list[int]]:
        seen.extend(words)
        return [[ord(character) for character in word] for word in words]

    flat, counts = encode_by_words(texts, rows)
    assert len(seen) == len(set(seen)) <= 6
    assert counts.tolist() == [len(text) for text in texts]
    assert "".join(map(chr, flat)) == "".join(texts)
