"""The definition of a tokenizer (as in tokenizer.json) rebuilt from GGUF metadata.

Knows GGUF's tokenizer keys and the splitting rule of each supported `tokenizer.ggml.pre`; runs no tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from adtrie.errors import TokenizerError
from adtrie.models.word_batches import LLAMA3_SPLIT, QWEN2_SPLIT

_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5
_BLANK = "\u2581"
_MAX_PIECE_CHARS = 128


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(steps)}


# pre name -> (normalizer, pre-tokenizer, whether a whole word found in the vocabulary skips the merges)
_RULES: dict[str, tuple[dict[str, Any] | None, dict[str, Any], bool]] = {
    "gpt-2": (None, _byte_level(True), False),
    "smollm": (None, _sequence({"type": "Digits", "individual_digits": True}, _byte_level(True)), False),
    "llama-bpe": (None, _sequence(_split(LLAMA3_SPLIT), _byte_level(False)), True),
    "qwen2": ({"type": "NFC"}, _sequence(_split(QWEN2_SPLIT), _byte_level(False)), False),
}


def tokenizer_definition(metadata: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A tokenizer.json document for the BPE tokenizer described by GGUF `metadata`.

    Raises TokenizerError (starting with `where`) for other tokenizer models and for damaged metadata.
    """
    model, pre = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
    if model == "llama":
        steps = _sentencepiece(metadata, where)
    elif model == "gpt2" and isinstance(pre, str) and pre in _RULES:
        steps = _byte_level_bpe(metadata, pre, where)
    else:
        raise TokenizerError(
            f"{where}: GGUF tokenizer {model!r:.40} with rule {pre!r:.40} is not supported (known: 'llama', "
            f"'gpt2' with {', '.join(_RULES)}); use the model's Hugging Face folder with tokenizer.json"
        )
    tokens, kinds = _tokens(metadata, where)
    added = [
        _added_token(token, content, kinds[token] == _CONTROL)
        for token, content in enumerate(tokens)
        if kinds[token] in (_CONTROL, _USER_DEFINED)
    ]
    blank = {"version": "1.0", "truncation": None, "padding": None, "post_processor": None}
    return {**blank, "added_tokens": added, **steps}


def _bpe(vocab: list[str], merges: list[list[str]], **changes: Any) -> dict[str, Any]:
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {content: token for token, content in enumerate(vocab)},
        "merges": merges,
    }
    return {**model, **changes}


def _byte_level_bpe(metadata: Mapping[str, Any], pre: str, where: str) -> dict[str, Any]:
    normalizer, pre_tokenizer, ignore_merges = _RULES[pre]
    tokens, _ = _tokens(metadata, where)
    return {
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "decoder": _byte_level(True),
        "model": _bpe(tokens, _merges(metadata, where), ignore_merges=ignore_merges),
    }


def _sentencepiece(metadata: Mapping[str, Any], where: str) -> dict[str, Any]:
    """SentencePiece BPE: blanks become U+2581, unknown characters bytes; the best score merges first."""
    for key in ("precompiled_charsmap", "remove_extra_whitespaces"):
        if metadata.get(f"tokenizer.ggml.{key}", False) is not False:
            raise TokenizerError(
                f"{where}: tokenizer.ggml.{key} is not supported; use the model's Hugging Face folder"
            )
    tokens, kinds = _tokens(metadata, where)
    unknown = metadata.get("tokenizer.ggml.unknown_token_id", 0)
    if type(unknown) is not int or not 0 <= unknown < len(tokens):
        raise TokenizerError(f"{where}: tokenizer.ggml.unknown_token_id is {unknown!r:.40}, not an id")
    prefix = metadata.get("tokenizer.ggml.add_space_prefix", True) is not False
    blanks = {"type": "Replace", "pattern": {"String": " "}, "content": _BLANK}
    restore = {"type": "Replace", "pattern": {"String": _BLANK}, "content": " "}
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    prepend = [{"type": "Prepend", "prepend": _BLANK}] if prefix else []
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*prepend, blanks]},
        "pre_tokenizer": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [restore, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip],
        },
        "model": _bpe(
            tokens,
            _merges_by_score(tokens, kinds, metadata.get("tokenizer.ggml.scores"), where),
            unk_token=tokens[unknown],
            fuse_unk=True,
            byte_fallback=True,
        ),
    }


def _merges_by_score(tokens: list[str], kinds: list[int], scores: Any, where: str) -> list[list[str]]:
    """All splits of each ordinary token into two tokens, the highest-scored token first."""
    if not isinstance(scores, np.ndarray) or scores.dtype.kind != "f" or len(scores) < len(tokens):
        raise TokenizerError(f"{where}: tokenizer.ggml.scores must hold one float per token")
    normal = [token for token, kind in enumerate(kinds) if kind == _NORMAL]
    longest = max((len(tokens[token]) for token in normal), default=0)
    if not np.isfinite(scores).all() or longest > _MAX_PIECE_CHARS:
        raise TokenizerError(
            f"{where}: scores must be finite and tokens at most {_MAX_PIECE_CHARS} characters long"
        )
    ids = {content: token for token, content in enumerate(tokens)}
    ranked: list[tuple[float, int, int, int]] = []
    for token in normal:
        content = tokens[token]
        for cut in range(1, len(content)):
            left, right = ids.get(content[:cut]), ids.get(content[cut:])
            if left is not None and right is not None:
                ranked.append((-float(scores[token]), token, left, right))
    return [[tokens[left], tokens[right]] for _, _, left, right in sorted(ranked)]


def _tokens(metadata: Mapping[str, Any], where: str) -> tuple[list[str], list[int]]:
    """Contents and types of all tokens, without the unused ones at the end that only pad the embedding."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens:
        raise TokenizerError(f"{where}: tokenizer.ggml.tokens is missing or not a list of strings")
    kinds = metadata.get("tokenizer.ggml.token_type")
    if not isinstance(kinds, np.ndarray) or kinds.dtype.kind not in "iu" or kinds.shape != (len(tokens),):
        raise TokenizerError(f"{where}: tokenizer.ggml.token_type must hold one integer per token")
    num_tokens = len(tokens)
    while num_tokens and kinds[num_tokens - 1] == _UNUSED:
        num_tokens -= 1
    if len(set(tokens[:num_tokens])) != num_tokens:
        raise TokenizerError(f"{where}: tokenizer.ggml.tokens holds a token twice")
    return tokens[:num_tokens], kinds[:num_tokens].tolist()


def _merges(metadata: Mapping[str, Any], where: str) -> list[list[str]]:
    merges = metadata.get("tokenizer.ggml.merges")
    if not isinstance(merges, list):
        raise TokenizerError(f"{where}: tokenizer.ggml.merges is missing or not a list of strings")
    pairs = [merge.split(" ") for merge in merges]
    if any(len(pair) != 2 for pair in pairs):
        raise TokenizerError(f"{where}: tokenizer.ggml.merges must hold two symbols joined by one space")
    return pairs


def _added_token(token: int, content: str, special: bool) -> dict[str, Any]:
    return {
        "id": token,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": special,
    }
