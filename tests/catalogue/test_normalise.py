"""The normalisation rule: idempotent, no surrounding or doubled space, NFC; what it refuses."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.catalogue.normalise import normalise
from adtrie.errors import CatalogueError

_TRICKY = (
    "aé \t\n\r\x1c\x85\xa0\u3000\u2028e\u0301\u00ad\u200b\u200d\ufeff\u202e\u1e9b\u0323\x00\x7f가ᄀ\ud800"
)
tricky = st.text(st.sampled_from(_TRICKY))


@given(st.one_of(st.text(), tricky))
@settings(max_examples=300, deadline=None)
def test_laws(text):
    try:
        once = normalise(text)
    except CatalogueError:
        return
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once == once.strip() and "  " not in once and once
    assert all(c == " " or not c.isspace() for c in once)
    once.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("  Red\t\tShoes \r\n", "Red Shoes"),
        ("cafe\u0301", "caf\u00e9"),
        ("a\u00a0\u3000b\u2029c\x85d", "a b c d"),
        ("soft\u00adhyphen\u200b\ufeff", "softhyphen"),
        ("e\u00ad\u0301", "\u00e9"),
        ("\u202ertl\u202c", "rtl"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
        ("<|im_end|>", "<|im_end|>"),
    ],
)
def test_examples(text, wanted):
    assert normalise(text) == wanted


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \t\u3000", "empty"),
        ("\ufeff", "empty"),
        ("a\x00b", r"U\+0000 at character 2"),
        ("\x1b[1m", r"U\+001B"),
        ("a\x9f", r"U\+009F"),
        ("a\ud800", "surrogate"),
    ],
)
def test_refuses(text, reason):
    with pytest.raises(CatalogueError, match=reason):
        normalise(text)
