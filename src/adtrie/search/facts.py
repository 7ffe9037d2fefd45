"""Facts such as "name: Blue Spice; type: pub", and which of them a text states. Knows words, no meaning."""

from __future__ import annotations

import re
import unicodedata

_PLAIN = ("yes", "no")  # values that are no words of a text: their name is


def facts_of(text: str) -> tuple[tuple[str, str], ...]:
    """(name, value) of each fact; what has no name or no value is left out."""
    pairs = (fact.split(":", 1) for fact in text.split(";") if ":" in fact)
    facts = ((name.strip(), value.strip()) for name, value in pairs)
    return tuple((name, value) for name, value in facts if name and value)


def num_stated(text: str, facts: tuple[tuple[str, str], ...]) -> int:
    """How many of the facts have the words of their value in the text, of yes and no those of the name.

    Case, accents and signs do not matter, and the last word may go on ("moderate": moderately).
    """
    plain = _folded(text)
    wanted = (_folded(name if value.casefold() in _PLAIN else value) for name, value in facts)
    return sum(bool(words) and f" {words}" in f" {plain}" for words in wanted)


def _folded(text: str) -> str:
    """Lower-case words with single spaces: no accents, no signs between letters and digits."""
    split = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(char for char in split if not unicodedata.combining(char))
    return " ".join(re.findall(r"\w+", letters.replace("'", "").replace("’", "")))
