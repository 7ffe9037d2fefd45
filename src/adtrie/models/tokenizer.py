"""Text to token ids and back, on the `tokenizers` library. Knows no weights and no catalogue.

Two instances: one for text from outside, in which the spelling of a control token is only text, and one for
our own prompt templates, in which it is the control token.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, TypeVar

import msgspec
import numpy as np
import tokenizers
from numpy.typing import NDArray

from adtrie.errors import InputError, TokenizerError
from adtrie.models.word_batches import encode_by_words, splits_at_blanks

MAX_TEXT_CHARS = 32768
MAX_TOKEN_IDS = 1 << 21
_BATCH = 4096  # texts per call: bounds the memory of the library's encoding objects
_TEMPLATES = 16  # kept as tokens
_FEW = 32  # texts that are encoded sooner than other threads have woken up to share them
_CHUNK = 1 << 19  # texts whose distinct words are encoded together: bounds the memory of the word table
_PROBE = "Ab 12345 it's  x1,\n\n é e\u0301 ﬁ 東京 \U0001f600\t--don't"

T = TypeVar("T")


class Tokenizer:
    """Byte-exact tokenizer of one model.

    `vocab_size` counts ids 0..highest; `add_bos` says whether templates start with `bos_token`;
    `splits_at_blanks`: a text is encoded word by word, each with the blank before it;
    `fingerprint` is a sha256 hex over vocabulary, merges and the ids of a probe text.
    """

    def __init__(
        self, definition: Mapping[str, Any], where: str, *, eos: int, bos: int | None, add_bos: bool | None
    ) -> None:
        """From the content of a tokenizer.json; `add_bos=None` asks its post-processor.

        Raises TokenizerError naming `where` when the definition is damaged or an id lies outside it.
        """
        self._where = where
        plain, template = _definitions(definition, where)
        model = _json_text(plain["model"])  # large, and the same in both
        self._plain = _load(plain, model, where)
        self._plain.encode_special_tokens = True
        self._definition = ({key: value for key, value in template.items() if key != "model"}, model)
        vocab = _guarded(where, lambda: _vocabulary(plain, self._plain))
        self.vocab_size = max(vocab.values(), default=0) + 1
        if not vocab or self.vocab_size > MAX_TOKEN_IDS:
            raise TokenizerError(
                f"{where}: token ids must lie in 0..{MAX_TOKEN_IDS - 1}, and there must be some"
            )
        self.splits_at_blanks = splits_at_blanks(plain)
        self._is_control = _control_mask(template, vocab, where)
        self.eos_token = _known_id(eos, self.vocab_size, "end-of-text token", where)
        self.bos_token = None if bos is None else _known_id(bos, self.vocab_size, "start token", where)
        if add_bos is None:
            add_bos = definition.get("post_processor") is not None and self._adds_bos()
        self.add_bos = add_bos and self.bos_token is not None
        self.fingerprint = _fingerprint(vocab, plain["model"].get("merges"), self.encode(_PROBE))

    @cached_property
    def control_tokens(self) -> frozenset[int]:
        """Ids that are no text: turn marks, end of text; the end-of-text token always among them."""
        return frozenset(np.flatnonzero(self._is_control).tolist()) | {self.eos_token}

    @cached_property
    def _template(self) -> tokenizers.Tokenizer:
        # Half the time of opening a small model, and only prompts need it.
        return _load(*self._definition, self._where)

    def _adds_bos(self) -> bool:
        ids = _guarded(self._where, lambda: self._template.encode("a", add_special_tokens=True).ids)
        return self.bos_token is not None and ids[:1] == [self.bos_token]

    def encode(self, text: str) -> NDArray[np.int32]:
        """int32[n] ids of `text` as plain text: never a control token, never a start token.

        Raises InputError for lone surrogates or more than MAX_TEXT_CHARS characters.
        """
        _check_text(text)
        ids = _guarded(self._where, lambda: self._plain.encode(text, add_special_tokens=False).ids)
        return self._without_control(np.array(ids, dtype=np.int32))

    def encode_batch(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Flat ids int32[sum] and offsets int64[n+1] of all texts, each as `encode` does it."""
        for index, text in enumerate(texts):
            _check_text(text, f"text {index}")
        flat: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
        lengths: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]
        for start in range(0, len(texts), _CHUNK):
            ids, counts = self._encode_chunk(texts[start : start + _CHUNK])
            flat.append(ids)
            lengths.append(counts)
        return self._without_control(np.concatenate(flat)), np.cumsum(np.concatenate(lengths))

    def _encode_chunk(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Flat ids and the number of ids of each text."""
        if self.splits_at_blanks:
            return encode_by_words(texts, self._encode_rows)
        rows = self._encode_rows(list(texts))
        ids = np.fromiter((token for row in rows for token in row), np.int32)
        return ids, np.fromiter(map(len, rows), np.int64, len(rows))

    def _encode_rows(self, texts: list[str]) -> list[list[int]]:
        rows: list[list[int]] = []
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            rows += _guarded(self._where, lambda batch=batch: self._encode_batch(batch))  # type: ignore[misc]
        return rows

    def _encode_batch(self, texts: list[str]) -> list[list[int]]:
        if len(texts) <= _FEW:
            encodings = [self._plain.encode(text, add_special_tokens=False) for text in texts]
        else:
            encodings = self._plain.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _without_control(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """`ids` itself: no honest vocabulary spells a control token by merging plain text."""
        if self._is_control[ids].any():
            raise TokenizerError(f"{self._where}: the vocabulary turns plain text into a control token")
        return ids

    def encode_template(self, text: str) -> NDArray[np.int32]:
        """int32[n] ids of our own template: control tokens count, a start token comes first if `add_bos`.

        Read-only: the templates of the last calls are kept.
        """
        return self._encoded_templates(text)

    @cached_property
    def _encoded_templates(self) -> Callable[[str], NDArray[np.int32]]:
        # A request asks for the same one again, and encoding it took as long as encoding the query.
        return lru_cache(maxsize=_TEMPLATES)(self._encode_template)

    def _encode_template(self, text: str) -> NDArray[np.int32]:
        _check_text(text)
        ids = _guarded(self._where, lambda: self._template.encode(text, add_special_tokens=False).ids)
        if self.add_bos and self.bos_token is not None and ids[:1] != [self.bos_token]:
            ids = [self.bos_token, *ids]
        tokens = np.array(ids, dtype=np.int32)
        tokens.flags.writeable = False
        return tokens

    def definition(self) -> str:
        """The content of a tokenizer.json that gives this tokenizer."""
        return _guarded(self._where, lambda: self._template.to_str())

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of `tokens`, control tokens spelled out. Raises InputError for unknown ids."""
        ids = [int(token) for token in tokens]
        if any(not 0 <= token < self.vocab_size for token in ids):
            raise InputError(f"token ids must lie in 0..{self.vocab_size - 1}; got {min(ids)}..{max(ids)}")
        return _guarded(self._where, lambda: self._plain.decode(ids, skip_special_tokens=False))


def _check_text(text: str, what: str = "text") -> None:
    if not isinstance(text, str):
        raise InputError(f"{what} must be a string, got {type(text).__name__}")
    if len(text) > MAX_TEXT_CHARS:
        raise InputError(
            f"{what} has {len(text)} characters, at most {MAX_TEXT_CHARS} are allowed; shorten it"
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} holds a lone surrogate at character {error.start}; decode the input as UTF-8 before"
        ) from None


def _guarded(where: str, call: Callable[[], T]) -> T:
    """The result of `call`; failures of the native library, Rust panics included, become TokenizerError."""
    try:
        return call()
    except BaseException as error:
        # A Rust panic is a BaseException of a class that cannot be imported.
        panic = type(error).__name__ == "PanicException"
        if not panic and (not isinstance(error, Exception) or isinstance(error, MemoryError)):
            raise
        message = str(error).strip()[:200] or type(error).__name__
        raise TokenizerError(f"{where}: the tokenizer is damaged or unsupported ({message})") from None


def _load(definition: Mapping[str, Any], model: str, where: str) -> tokenizers.Tokenizer:
    """The tokenizer of `definition`, whose "model" is given as JSON text."""
    rest = {key: value for key, value in definition.items() if key != "model"}
    text = f'{json.dumps(rest, ensure_ascii=False)[:-1]}, "model": {model}}}'
    return _guarded(where, lambda: tokenizers.Tokenizer.from_buffer(text.encode("utf-8", "surrogatepass")))


def _json_text(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()  # ten times as fast, but takes no lone surrogates
    except (UnicodeEncodeError, OverflowError):
        return json.dumps(value, ensure_ascii=False)


def _definitions(definition: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The definition for plain text and the one for templates; both without truncation and padding."""
    if not isinstance(definition.get("model"), dict):
        raise TokenizerError(f"{where}: key 'model' is missing or not an object")
    # Dropout would make the ids random; it is for training only.
    model = (
        {**definition["model"], "dropout": None} if "dropout" in definition["model"] else definition["model"]
    )
    template = {**definition, "model": model, "truncation": None, "padding": None}
    if template.get("added_tokens") is None:
        template["added_tokens"] = []
    added = copy.deepcopy(template["added_tokens"])
    if not isinstance(added, list) or not all(isinstance(entry, dict) for entry in added):
        raise TokenizerError(f"{where}: 'added_tokens' must be a list of objects")
    for entry in added:
        # Markup such as <think> is often not marked special, yet must not be reachable from plain text.
        # Runs of blanks are ordinary text.
        if isinstance(entry.get("content"), str) and entry["content"].strip():
            entry["special"] = True
    return {**template, "added_tokens": added}, template


def _vocabulary(definition: Mapping[str, Any], tokenizer: tokenizers.Tokenizer) -> dict[str, int]:
    """The ids of all tokens, added ones included, as the library has them.

    Asking it for all takes a tenth of the time of opening a small model, so the definition is believed where
    the number of tokens and the ids of the added ones agree.
    """
    listed = definition["model"].get("vocab")
    if isinstance(listed, dict):
        names = [entry.get("content") for entry in definition["added_tokens"]]
        found = {**listed, **{name: tokenizer.token_to_id(name) for name in names}}
        as_many = len(found) == tokenizer.get_vocab_size(with_added_tokens=True)
        if as_many and set(map(type, found.values())) == {int}:
            return found
    return tokenizer.get_vocab(with_added_tokens=True)


def _control_mask(definition: Mapping[str, Any], vocab: Mapping[str, int], where: str) -> NDArray[np.bool_]:
    """bool[V], true for control tokens. The library silently renumbers added tokens; this refuses that."""
    mask = np.zeros(max(vocab.values()) + 1, np.bool_)
    for entry in definition.get("added_tokens") or []:
        content, token = entry.get("content"), entry.get("id")
        found = vocab.get(content)
        if found is None or found != token:
            raise TokenizerError(
                f"{where}: added token {content!r:.60} has id {token!r:.20}, expected {found}"
            )
        mask[token] |= entry.get("special") is True
    return mask


def _known_id(token: int, vocab_size: int, what: str, where: str) -> int:
    if type(token) is not int or not 0 <= token < vocab_size:
        raise TokenizerError(f"{where}: {what} is {token!r}, expected an id in 0..{vocab_size - 1}")
    return token


def _fingerprint(vocab: Mapping[str, int], merges: Any, probe: NDArray[np.int32]) -> str:
    parts = [f"{token} {text}" for token, text in sorted(zip(vocab.values(), vocab, strict=True))]
    parts += _spelled_merges(merges or [])
    digest = hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass"))
    digest.update(probe.astype("<i4").tobytes())
    return digest.hexdigest()


def _spelled_merges(merges: Sequence[Any]) -> list[str]:
    """Each merge as its parts with a blank between."""
    if all(type(merge) is list for merge in merges):
        try:
            return list(map(" ".join, merges))  # as the lines below, several times as fast
        except TypeError:
            pass
    return [merge if isinstance(merge, str) else " ".join(map(str, merge)) for merge in merges]
