"""The grammar given to llama.cpp allows exactly the entries."""

from __future__ import annotations

import re
from collections.abc import Iterator

from benchmarks.grammar import grammar_of
from hypothesis import given
from hypothesis import strategies as st

TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|(r\d+)|(\|)')
ESCAPES = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}


def texts_of(grammar: str) -> list[str]:
    rules = dict(line.split(" ::= ", 1) for line in grammar.rstrip("\n").split("\n"))

    def expand(name: str) -> Iterator[str]:
        parts = [""]
        for literal, rule, bar in TOKEN.findall(rules[name]):
            if bar:
                yield from parts
                parts = [""]
            elif rule:
                parts = [part + rest for part in parts for rest in expand(rule)]
            else:
                text = re.sub(r"\\.", lambda found: ESCAPES[found.group()], literal)
                parts = [part + text for part in parts]
        yield from parts

    return list(expand("root"))


@given(st.sets(st.text(alphabet='ab"\\ é', min_size=1, max_size=6), min_size=1, max_size=20))
def test_it_allows_exactly_the_entries(texts: set[str]) -> None:
    assert sorted(texts_of(grammar_of(sorted(texts)))) == sorted(f"{text}\n" for text in texts)
