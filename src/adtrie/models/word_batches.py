"""Encoding many short texts by encoding each distinct word once. Knows no vocabulary.

Valid for splitting rules under which a single blank between two word characters always starts a new piece,
so that ids("a b") = ids("a") + ids(" b"). `splits_at_blanks` recognises the rules this was derived for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Word characters are letters, numbers and "_": none of the rules joins them with a blank behind them.
_BEFORE_WORD = re.compile(r"(?<=\w)(?= \w)")

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_SPLIT = LLAMA3_SPLIT.replace("{1,3}", "")

EncodeRows = Callable[[list[str]], list[list[int]]]


def splits_at_blanks(definition: Mapping[str, Any]) -> bool:
    """Whether the rules of a tokenizer.json are among those for which `encode_by_words` is exact."""
    normalizer, rule = definition.get("normalizer"), definition.get("pre_tokenizer")
    if normalizer is not None and normalizer != {"type": "NFC"}:
        return False
    if not isinstance(rule, dict):
        return False
    steps = rule.get("pretokenizers") if rule.get("type") == "Sequence" else [rule]
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        return False
    known = (_is_word_rule(step) or _is_byte_level(step) or step.get("type") == "Digits" for step in steps)
    return all(known) and any(map(_is_word_rule, steps))


def _is_byte_level(step: dict[str, Any]) -> bool:
    return step.get("type") == "ByteLevel" and step.get("add_prefix_space") is False


def _is_word_rule(step: dict[str, Any]) -> bool:
    if _is_byte_level(step):
        return step.get("use_regex", True) is True
    return (
        step.get("type") == "Split"
        and step.get("pattern") in ({"Regex": LLAMA3_SPLIT}, {"Regex": QWEN2_SPLIT})
        and step.get("behavior") == "Isolated"
        and step.get("invert") is False
    )


def encode_by_words(
    texts: Sequence[str], encode_rows: EncodeRows
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Flat ids int32[sum] of all texts and the number of ids int64[n] of each."""
    numbers: dict[str, int] = {}
    sequence: list[int] = []
    words_per_text = np.zeros(len(texts), np.int64)
    for index, text in enumerate(texts):
        words = _BEFORE_WORD.split(text)
        sequence.extend([numbers.setdefault(word, len(numbers)) for word in words])
        words_per_text[index] = len(words)
    rows = encode_rows(list(numbers))
    row_lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    row_ids = np.fromiter((token for row in rows for token in row), np.int32, int(row_lengths.sum()))
    words_in_order = np.array(sequence, np.int64)
    lengths = row_lengths[words_in_order]
    # Position p of the output belongs to word w: it lies p - (ids before w) behind the start of w's row.
    ends = np.cumsum(lengths)
    starts = (np.cumsum(row_lengths) - row_lengths)[words_in_order]
    source = np.repeat(starts - (ends - lengths), lengths) + np.arange(int(lengths.sum()))
    ids_before = np.concatenate([np.zeros(1, np.int64), ends])
    last_word = np.concatenate([np.zeros(1, np.int64), np.cumsum(words_per_text)])
    return row_ids[source], np.diff(ids_before[last_word])
