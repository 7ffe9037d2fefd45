"""Tokenizers rebuilt from GGUF metadata: byte-level rules, and SentencePiece against a scalar loop."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_writers import tokenizer_metadata

from adtrie.errors import TokenizerError
from adtrie.models.gguf_tokenizer import tokenizer_definition
from adtrie.models.tokenizer import Tokenizer

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
CHARS = "ab\u2581"


def rebuilt(metadata: dict[str, Any]) -> Tokenizer:
    return Tokenizer(tokenizer_definition(metadata, "m.gguf"), "m.gguf", eos=2, bos=1, add_bos=False)


def pieces_of(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.decode([token]) for token in tokenizer.encode(text)]


@pytest.mark.parametrize(
    ("pre", "text", "digit_runs"),
    [
        ("gpt-2", "a 1234", [" 1234"]),
        ("smollm", "a 1234", [" ", "1", "2", "3", "4"]),
        ("qwen2", "a 1234", [" ", "1", "2", "3", "4"]),
        ("llama-bpe", "a 1234", [" ", "123", "4"]),
    ],
)
def test_digit_rules(pre: str, text: str, digit_runs: list[str]) -> None:
    """A vocabulary that could merge everything shows where each rule splits."""
    metadata = tokenizer_metadata()
    tokens = list(metadata["tokenizer.ggml.tokens"])
    merges = []
    for merged in ("12", "123", "1234", "\u01201234"):
        tokens.append(merged)
        merges.append(f"{merged[:-1]} {merged[-1]}" if merged[0] == "1" else "\u0120 1234")
    metadata["tokenizer.ggml.tokens"] = tokens
    metadata["tokenizer.ggml.token_type"] = np.append(metadata["tokenizer.ggml.token_type"], [1] * 4)
    metadata["tokenizer.ggml.merges"] = merges
    metadata["tokenizer.ggml.pre"] = pre
    assert pieces_of(rebuilt(metadata), text) == ["a", *digit_runs]


def test_unused_tokens_at_the_end_are_dropped() -> None:
    metadata = tokenizer_metadata()
    fingerprint = rebuilt(metadata).fingerprint
    metadata["tokenizer.ggml.tokens"] = [*metadata["tokenizer.ggml.tokens"], "[PAD288]", "[PAD289]"]
    metadata["tokenizer.ggml.token_type"] = np.append(metadata["tokenizer.ggml.token_type"], [5, 5])
    padded = rebuilt(metadata)
    assert padded.vocab_size == 288 and padded.fingerprint == fingerprint


def sentencepiece_metadata(pieces: dict[str, float]) -> dict[str, Any]:
    """Three control tokens, 256 byte tokens, the characters, then `pieces` with their scores."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *CHARS, *pieces]
    kinds = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * (len(tokens) - 259)
    scores = [0.0] * 259 + [-1e6] * len(CHARS) + list(pieces.values())
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.array(kinds, "<i4"),
        "tokenizer.ggml.scores": np.array(scores, "<f4"),
        "tokenizer.ggml.unknown_token_id": 0,
    }


def merged_by_hand(text: str, pieces: dict[str, float], prefix: bool) -> list[str]:
    """Joins the neighbours whose union scores best until none is left; unknown characters become bytes."""
    order = {token: index for index, token in enumerate([*CHARS, *pieces])}
    symbols = list((CHARS[2] if prefix and text else "") + text.replace(" ", CHARS[2]))
    while True:
        options = [
            (-pieces[left + right], order[left + right], order[left], order[right], at)
            for at, (left, right) in enumerate(itertools.pairwise(symbols))
            if left + right in pieces and left in order and right in order
        ]
        if not options:
            break
        at = min(options)[-1]
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
    return [
        token
        for symbol in symbols
        for token in ([symbol] if symbol in order else [f"<0x{byte:02X}>" for byte in symbol.encode()])
    ]


PIECES = st.dictionaries(st.text(CHARS, min_size=2, max_size=4), st.integers(-50, -1).map(float), max_size=12)


@given(pieces=PIECES, text=st.text("ab \u00e9", max_size=12), prefix=st.booleans())
def test_sentencepiece_equals_the_scalar_loop(pieces: dict[str, float], text: str, prefix: bool) -> None:
    metadata = sentencepiece_metadata(pieces) | {"tokenizer.ggml.add_space_prefix": prefix}
    tokenizer = rebuilt(metadata)
    tokens = metadata["tokenizer.ggml.tokens"]
    assert [tokens[token] for token in tokenizer.encode(text)] == merged_by_hand(text, pieces, prefix)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_sentencepiece_control_tokens_stay_text() -> None:
    tokenizer = rebuilt(sentencepiece_metadata({"ab": -1.0}))
    assert tokenizer.decode(tokenizer.encode("ab</s>")) == "ab</s>"
    assert 2 not in tokenizer.encode("ab</s>") and 2 in tokenizer.encode_template("ab</s>")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scores", None),
        ("scores", np.zeros(3, "<f4")),
        ("scores", np.full(262, np.nan, "<f4")),
        ("scores", np.zeros(262, "<i4")),
        ("unknown_token_id", 5000),
        ("unknown_token_id", "0"),
        ("precompiled_charsmap", np.ones(4, "u1")),
        ("remove_extra_whitespaces", True),
    ],
)
def test_damaged_sentencepiece(key: str, value: Any) -> None:
    with pytest.raises(TokenizerError, match=key.split("_")[0]):
        rebuilt(sentencepiece_metadata({}) | {f"tokenizer.ggml.{key}": value})


def test_overlong_piece() -> None:
    with pytest.raises(TokenizerError, match="128"):
        rebuilt(sentencepiece_metadata({"a" * 200: -1.0}))
