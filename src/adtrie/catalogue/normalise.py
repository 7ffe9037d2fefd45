"""The one rule that turns a row's text into the text of an entry. Knows no file and no tokenizer.

1. Invisible format characters are removed: soft hyphen, zero-width space, word joiner, byte-order mark,
   direction marks, embeddings and isolates, invisible operators, annotation marks, Mongolian vowel separator.
   Zero-width joiner and non-joiner stay (Persian, Indic scripts and emoji need them).
2. Unicode NFC.
3. Every run of whitespace (`str.isspace`: tab, line breaks, no-break and ideographic space, ...) becomes one
   space; none stays at the ends.
Refused: nothing left, lone surrogates, control characters that are not whitespace (NUL, escape, delete, C1).
Case and punctuation stay: they are part of the keyword.
"""

from __future__ import annotations

import re
import unicodedata

from adtrie.errors import CatalogueError

_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]+"
)
_FORBIDDEN = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")


def normalise(text: str) -> str:
    """The normalised text (the rule is idempotent). Raises CatalogueError with the reason to refuse it."""
    if not (text.isascii() and text.isprintable()):
        bad = _FORBIDDEN.search(text)
        if bad is not None:
            code = ord(bad.group())
            kind = "lone surrogate" if code >= 0xD800 else "control character"
            raise CatalogueError(f"{kind} U+{code:04X} at character {bad.start() + 1}")
        text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))
    text = " ".join(text.split())
    if not text:
        raise CatalogueError("empty text")
    return text
