"""One text while it is written: which token may come next, what is forced, when it ends.

Plain decoding, beams and drafts all ask `Writing`, so they cannot differ. Knows tokens and text, no model.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import InputError
from adtrie.search.sampling import Sampling, in_order
from adtrie.search.text_rules import TextRules, addition, continues_word, without_last_word

FinishReason = Literal["end", "stop", "max_tokens", "max_chars", "blocked"]
MAX_TRIES = 2_000  # tokens tried at one position; beyond, all count as refused


class TextCodec(Protocol):
    """What writing needs of a tokenizer; more tokens leave the decoded text before them as it was."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def control_tokens(self) -> frozenset[int]:
        """Tokens that are no text; any of them ends a text."""

    def encode(self, text: str) -> NDArray[np.int32]: ...

    def decode(self, tokens: Sequence[int]) -> str: ...


class Verdict(Enum):
    """What a token would do to the text."""

    TAKE = "goes on"
    REFUSE = "must not come here: the next token is tried"
    FORCE = "would end the text, or leave too little room, while a phrase is missing: the phrase comes now"
    FINISH = "ends the text"


@dataclass(frozen=True)
class Judgement:
    """A verdict; the text with the token (TAKE) or the whole text (FINISH, with its reason)."""

    verdict: Verdict
    text: str = ""
    reason: FinishReason | None = None


class Writing:
    """Tokens and text so far, tokens that must follow (`pending`), and, at the end, why it ended.

    At every moment the missing phrases can still be written within all limits: a token after which they
    could not is not taken. Raises InputError at once if they cannot even be written alone.
    """

    def __init__(self, rules: TextRules, codec: TextCodec) -> None:
        self.rules, self._codec = rules, codec
        self.tokens: list[int] = []
        self.text = ""
        self.pending: list[int] = []
        self.finish_reason: FinishReason | None = None
        self.controls = codec.control_tokens
        _check_satisfiable(rules, codec)

    @property
    def result(self) -> str:
        """The text without white space at its ends and without a character that was not completed."""
        return _shown(self.text)

    def copy(self) -> Writing:
        """An independent continuation."""
        other = copy.copy(self)
        other.tokens, other.pending = list(self.tokens), list(self.pending)
        return other

    def choose(self, logits: NDArray[np.float32], sampling: Sampling) -> int | None:
        """Appends the next token by logits float32[V] and returns it; None when the text has ended."""
        if not self.advance_forced():
            known = logits[: self._codec.vocab_size]
            order = in_order(known, sampling, len(self.tokens))
            for token in islice(order, MAX_TRIES):
                judged = self.judge(token)
                if judged.verdict is not Verdict.REFUSE:
                    self.apply(token, judged)
                    break
            else:
                self.give_up()
        return None if self.finish_reason else self.tokens[-1]

    def ended_early(self, before: Writing) -> bool:
        """Whether the text ended without a token of its own after `before`."""
        return self.finish_reason is not None and len(self.tokens) == len(before.tokens)

    def advance_forced(self) -> bool:
        """Appends one pending token if there is any."""
        if not self.pending:
            return False
        self._append(self.pending.pop(0))
        return True

    def apply(self, token: int, judged: Judgement) -> None:
        """Carries out a judgement of this moment that is not REFUSE."""
        if judged.verdict is Verdict.TAKE:
            self._append(token, judged.text)
        elif judged.verdict is Verdict.FORCE:
            self._force()
        else:
            self.text, self.finish_reason = judged.text, judged.reason

    def give_up(self) -> None:
        """Every token was refused: the missing phrases come now, or the text ends."""
        if self._missing():
            self._force()
        else:
            self.finish_reason = "blocked"

    def judge(self, token: int) -> Judgement:
        """What `token` would do here, nothing being pending."""
        if token in self.controls:
            return self._end(self.text, "end")
        text = self._codec.decode([*self.tokens, token])
        stopped = self.rules.before_stop(text)
        if stopped is not None:
            return self._end(stopped, "stop")
        if not text.strip() or self.rules.said(text) is not None:
            return Judgement(Verdict.REFUSE)
        if self.rules.is_too_long(text):
            return self._no_room(text)
        tokens = [*self.tokens, token]
        tail = _tail(self.rules, self._codec, text)
        if tail:
            whole = self._codec.decode([*tokens, *tail])
            if len(tokens) + len(tail) > self.rules.max_tokens or self.rules.is_too_long(whole):
                return self._no_room(text)
            if not _is_clean(self.rules, whole):
                return Judgement(Verdict.REFUSE)
        return Judgement(Verdict.TAKE, text)

    def _end(self, text: str, reason: FinishReason) -> Judgement:
        """The text would end as `text`."""
        if not _shown(text) or self.rules.said(text) is not None:
            return Judgement(Verdict.REFUSE)
        if self.rules.missing(text):
            return Judgement(Verdict.FORCE if self._missing() else Verdict.REFUSE)
        if self.rules.is_too_long(text):
            return self._no_room(text)
        return Judgement(Verdict.FINISH, text, reason)

    def _no_room(self, text: str) -> Judgement:
        """`text` leaves too little room: missing phrases come now, else the text ends, not inside a word."""
        if self._missing():
            return Judgement(Verdict.FORCE)
        kept = self.text
        if continues_word(kept, text[len(kept) :]):
            shorter = without_last_word(kept)
            kept = shorter if shorter and not self.rules.missing(shorter) else kept
        return Judgement(Verdict.FINISH, kept, "max_chars") if _shown(kept) else Judgement(Verdict.REFUSE)

    def _missing(self) -> tuple[str, ...]:
        return self.rules.missing(self.text)

    def _force(self) -> None:
        self.pending = _tail(self.rules, self._codec, self.text)
        self.advance_forced()

    def _append(self, token: int, text: str | None = None) -> None:
        self.tokens.append(token)
        self.text = self._codec.decode(self.tokens) if text is None else text
        if len(self.tokens) >= self.rules.max_tokens:
            self.finish_reason = "max_tokens"


def _tail(rules: TextRules, codec: TextCodec, text: str) -> list[int]:
    """Tokens that add the phrases missing in `text`, in their order: the witness that it is possible."""
    written = text
    for phrase in rules.must_mention:
        if phrase in rules.missing(written):
            written += addition(written, " ".join(phrase.split()))
    added = written[len(text) :]
    return [int(token) for token in codec.encode(added)] if added else []


def _shown(text: str) -> str:
    return text.rstrip("\ufffd").strip()


def _is_clean(rules: TextRules, text: str) -> bool:
    """Whether `text` says all it must and nothing it must not, and holds no stop string."""
    return rules.before_stop(text) is None and rules.said(text) is None and not rules.missing(text)


def _check_satisfiable(rules: TextRules, codec: TextCodec) -> None:
    tail = _tail(rules, codec, "")
    text = codec.decode(tail)
    if len(tail) > rules.max_tokens:
        raise InputError(
            f"max_tokens: must_mention needs {len(tail)} tokens, allowed are {rules.max_tokens}; "
            "raise max_tokens or leave phrases out"
        )
    if rules.is_too_long(text):
        raise InputError(
            f"max_chars: must_mention needs {len(text)} characters, allowed are {rules.max_chars}; "
            "raise max_chars or leave phrases out"
        )
    said = rules.said(text)
    if said is not None:
        raise InputError(
            f"must_not_say: {said!r} stands in the phrases of must_mention, written one after another: "
            f"{text!r:.200}; drop it or change the order"
        )
    if rules.before_stop(text) is not None:
        raise InputError(
            f"stop: a stop string stands in the phrases of must_mention: {text!r:.200}; change one"
        )
    missing = rules.missing(text)
    if missing:
        raise InputError(f"must_mention: the tokenizer cannot write {missing[0]!r}; spell it differently")
