"""What a text must and must not say, how long it may be, where it stops: `TextRules`, functions of text.

Knows no token and no model. Phrases are compared by `folded`: any case, any run of white space.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from adtrie.errors import InputError
from adtrie.search.scorer import check_count

MAX_TEXT_TOKENS = 2_048
MAX_TEXT_CHARS = 20_000
MAX_PHRASES, MAX_PHRASE_CHARS = 100, 200
_LETTER = r"[0-9A-Za-z\u00c0-\u024f\u0370-\u052f]"  # scripts that set spaces between words
_WORD_BEGINS, _WORD_ENDS = re.compile(_LETTER), re.compile(_LETTER + r"\Z")


@dataclass(frozen=True)
class TextRules:
    """Limits and phrases of one text; InputError for a value out of range or a phrase that is none.

    `must_mention`: each phrase occurs as whole words, in any case. `must_not_say`: no phrase occurs, not even
    inside a word. `stop`: the text ends before the first of these strings. `max_chars` counts the text
    without white space at its ends.
    """

    max_tokens: int = 64
    max_chars: int | None = None
    stop: tuple[str, ...] = ("\n",)
    must_mention: tuple[str, ...] = ()
    must_not_say: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_count("max_tokens", self.max_tokens, MAX_TEXT_TOKENS)
        if self.max_chars is not None:
            check_count("max_chars", self.max_chars, MAX_TEXT_CHARS)
        for name in ("stop", "must_mention", "must_not_say"):
            _check_phrases(name, getattr(self, name))
        if any(not string for string in self.stop):
            raise InputError("stop: expected strings of at least one character, got an empty one")

    @cached_property
    def _mentions(self) -> tuple[re.Pattern[str], ...]:
        return tuple(_whole_words(phrase) for phrase in self.must_mention)

    @cached_property
    def _blocked(self) -> tuple[str, ...]:
        return tuple(folded(phrase) for phrase in self.must_not_say)

    def missing(self, text: str) -> tuple[str, ...]:
        """Phrases of `must_mention` that `text` does not mention, in their order."""
        if not self.must_mention:
            return ()
        plain = folded(text)
        pairs = zip(self.must_mention, self._mentions, strict=True)
        return tuple(phrase for phrase, pattern in pairs if not pattern.search(plain))

    def said(self, text: str) -> str | None:
        """The first phrase of `must_not_say` in `text`; None if there is none."""
        if not self._blocked:
            return None
        plain = folded(text)
        pairs = zip(self.must_not_say, self._blocked, strict=True)
        return next((phrase for phrase, blocked in pairs if blocked in plain), None)

    def before_stop(self, text: str) -> str | None:
        """`text` up to its first stop string, white space at its beginning aside; None without one."""
        begun = text.lstrip()
        places = [place for string in self.stop if (place := begun.find(string)) >= 0]
        return begun[: min(places)] if places else None

    def is_too_long(self, text: str) -> bool:
        """Whether `text` has more than `max_chars` characters."""
        return self.max_chars is not None and len(text.strip()) > self.max_chars


def folded(text: str) -> str:
    """Text as phrases see it: case folded, runs of white space as one space, none at the ends."""
    return " ".join(text.casefold().split())


def addition(text: str, phrase: str) -> str:
    """What to write after `text` so that `phrase` stands at its end as whole words.

    Words of the phrase that `text` already ends with are not repeated.
    """
    for size in range(min(len(phrase) - 1, len(text)), 0, -1):
        between_words = not continues_word(phrase[:size], phrase[size:])
        if between_words and text.endswith(phrase[:size]) and not continues_word(text[:-size], phrase):
            return phrase[size:]
    return phrase if not text or text[-1].isspace() else f" {phrase}"


def continues_word(text: str, piece: str) -> bool:
    """Whether `piece` after `text` goes on with a word that `text` has begun."""
    return bool(_WORD_ENDS.search(text) and _WORD_BEGINS.match(piece))


def without_last_word(text: str) -> str:
    """Text without the word it ends in; empty if it is one word."""
    return re.sub(_LETTER + r"+\Z", "", text).rstrip()


def _whole_words(phrase: str) -> re.Pattern[str]:
    """Pattern on folded text: the phrase, where it begins or ends with a letter not next to another one."""
    plain = folded(phrase)
    before = f"(?<!{_LETTER})" if _WORD_BEGINS.match(plain) else ""
    after = f"(?!{_LETTER})" if _WORD_ENDS.search(plain) else ""
    return re.compile(before + re.escape(plain) + after)


def _check_phrases(name: str, phrases: Any) -> None:
    if isinstance(phrases, str) or not isinstance(phrases, Sequence) or len(phrases) > MAX_PHRASES:
        raise InputError(f"{name}: expected at most {MAX_PHRASES} strings in a sequence, got {phrases!r:.60}")
    for phrase in phrases:
        blank = name != "stop" and isinstance(phrase, str) and not folded(phrase)
        if not isinstance(phrase, str) or blank or len(phrase) > MAX_PHRASE_CHARS:
            raise InputError(
                f"{name}: expected text of 1 to {MAX_PHRASE_CHARS} characters, got {phrase!r:.60}; "
                "leave it out or shorten it"
            )
        if any("\ud800" <= char <= "\udfff" or char == "\ufffd" for char in phrase):
            raise InputError(f"{name}: {phrase!r:.60} holds a lone surrogate or U+FFFD; give readable text")
