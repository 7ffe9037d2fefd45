"""Filters over attributes: `country = DE and not adult and advertiser in [a17, "b 3"]`. Knows no rows.

    filter     = all ("or" all)*
    all        = one ("and" one)*
    one        = "not" one | "(" filter ")" | "has" name | name [test]
    test       = ("=" | "!=" | "<" | "<=" | ">" | ">=") value | ["not"] ("in" | "under") list
    list       = "[" [value ("," value)*] "]"

Names and values are words, or texts in single or double quotes (backslash takes the next character as it is).
An unquoted value that is written as a number is a number. A name alone asks for a true value. `under` takes
codes and all those below them: `iab under [IAB25]` is true of IAB25 and IAB25-3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from adtrie.catalogue.columns import NUMBER
from adtrie.catalogue.filters import (
    ORDERINGS,
    AnyOf,
    Every,
    Filter,
    Has,
    IsIn,
    IsTrue,
    Not,
    Ordered,
    Under,
    Value,
)
from adtrie.errors import InputError

MAX_CHARS = 65_536
MAX_DEPTH = 50  # parentheses and `not` inside each other
MAX_TESTS = 256  # each passes over all rows once
_EXAMPLE = "for example: country = DE and not adult"
_KEYWORDS = ("and", "or", "not", "in", "has")
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<sign>!=|<=|>=|[=<>()\[\],])"""
    r"""|(?P<word>[^\s"'!=<>()\[\],]+)|(?P<end>\Z))""",
    re.DOTALL,
)


@dataclass(frozen=True)
class _Token:
    kind: str  # text, sign, word, end
    text: str
    at: int

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.text.lower() in words

    def is_sign(self, *signs: str) -> bool:
        return self.kind == "sign" and self.text in signs


def parse(source: str) -> Filter:
    """The filter written in `source`. Raises InputError with the position (from 1) of what cannot be read."""
    if not isinstance(source, str):
        raise InputError(f"where: expected a filter as text, got {type(source).__name__}")
    if len(source) > MAX_CHARS:
        raise InputError(f"where: {len(source)} characters, expected at most {MAX_CHARS}; use a list of ids")
    return _Parser(_tokens(source)).whole()


def _tokens(source: str) -> list[_Token]:
    found: list[_Token] = []
    position = 0
    while not found or found[-1].kind != "end":
        match = _TOKEN.match(source, position)
        if match is None:
            at = position + len(source[position:]) - len(source[position:].lstrip())
            what = "a text without its closing quote" if source[at] in "\"'" else f"{source[at]!r}"
            raise InputError(f"where: {what} at character {at + 1}; write {_EXAMPLE}")
        kind = str(match.lastgroup)
        text = match[kind]
        if kind == "text":
            text = re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
        found.append(_Token(kind, text, match.start(kind) + 1))
        position = match.end()
    return found


class _Parser:
    """Recursive descent; `depth` bounds the recursion, `num_tests` the work of an evaluation."""

    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens = tokens
        self.position = self.depth = self.num_tests = 0

    @property
    def next(self) -> _Token:
        return self.tokens[self.position]

    def take(self) -> _Token:
        token = self.next
        self.position += token.kind != "end"
        return token

    def fail(self, expected: str) -> NoReturn:
        token = self.next
        got = "the end" if token.kind == "end" else repr(token.text[:40])
        raise InputError(f"where: expected {expected} at character {token.at}, got {got}; write {_EXAMPLE}")

    def whole(self) -> Filter:
        found = self.any_of()
        if self.next.kind != "end":
            self.fail("'and', 'or' or the end")
        return found

    def any_of(self) -> Filter:
        parts = [self.every()]
        while self.next.is_word("or"):
            self.take()
            parts.append(self.every())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def every(self) -> Filter:
        parts = [self.one()]
        while self.next.is_word("and"):
            self.take()
            parts.append(self.one())
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def one(self) -> Filter:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise InputError(f"where: more than {MAX_DEPTH} levels at character {self.next.at}; flatten it")
        found = self.negated() if self.next.is_word("not") else self.group_or_test()
        self.depth -= 1
        return found

    def negated(self) -> Filter:
        self.take()
        return Not(self.one())

    def group_or_test(self) -> Filter:
        if not self.next.is_sign("("):
            return self.test()
        self.take()
        found = self.any_of()
        if not self.next.is_sign(")"):
            self.fail("'and', 'or' or ')'")
        self.take()
        return found

    def test(self) -> Filter:
        self.num_tests += 1
        if self.num_tests > MAX_TESTS:
            raise InputError(f"where: more than {MAX_TESTS} tests at character {self.next.at}; use 'in [..]'")
        if self.next.is_word("has"):
            self.take()
            name = self.name()
            return Has(name.text, name.at)
        name = self.name()
        if self.next.is_sign("=", "!=", *ORDERINGS):
            sign, value = self.take().text, self.value()
            if sign in ORDERINGS:
                return Ordered(name.text, name.at, sign, value)
            equal = IsIn(name.text, name.at, (value,))
            return equal if sign == "=" else Not(equal)
        if self.next.is_word("in", "under"):
            return self.membership(name)
        if self.next.is_word("not") and self.tokens[self.position + 1].is_word("in", "under"):
            self.take()
            return Not(self.membership(name))
        return IsTrue(name.text, name.at)

    def membership(self, name: _Token) -> IsIn | Under:
        is_under = self.take().is_word("under")
        if not self.next.is_sign("["):
            self.fail("'['")
        self.take()
        values: list[Value] = []
        codes: list[str] = []
        while not (self.next.is_sign("]") and not values):
            codes.append(self.next.text)
            values.append(self.value())
            if not self.next.is_sign(","):
                break
            self.take()
        if not self.next.is_sign("]"):
            self.fail("',' or ']'")
        self.take()
        if is_under:
            return Under(name.text, name.at, tuple(codes))
        return IsIn(name.text, name.at, tuple(values))

    def name(self) -> _Token:
        token = self.next
        if token.kind == "text" or (token.kind == "word" and not token.is_word(*_KEYWORDS)):
            return self.take()
        self.fail("the name of an attribute")

    def value(self) -> Value:
        token = self.next
        if token.kind not in ("text", "word"):
            self.fail("a value")
        self.take()
        return float(token.text) if token.kind == "word" and NUMBER.fullmatch(token.text) else token.text
