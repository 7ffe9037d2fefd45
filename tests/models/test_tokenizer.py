"""Laws of the tokenizer, and crafted definitions that make the native library panic."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_writers import GOLDEN_TOKENIZER

from adtrie.errors import InputError, TokenizerError
from adtrie.models import MAX_TEXT_CHARS, Tokenizer

DEFINITION: dict[str, Any] = json.loads(GOLDEN_TOKENIZER.read_bytes())
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # ids 0, 1, 2


def make(change: Callable[[dict[str, Any]], Any] = lambda _: None, **options: Any) -> Tokenizer:
    definition = json.loads(json.dumps(DEFINITION))
    change(definition)
    return Tokenizer(definition, "tokenizer.json", **{"eos": 2, "bos": 1, "add_bos": None, **options})


TOKENIZER = make()
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
MIXED = st.lists(st.sampled_from([*CONTROL, "iphone 8", " ", "\n", "é", "<|"]) | TEXT, max_size=6).map(
    "".join
)


@given(MIXED)
def test_round_trip(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(MIXED)
def test_plain_text_never_becomes_a_control_token(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert ids.dtype == np.int32 and not np.isin(ids, [0, 1, 2]).any()


@given(st.lists(MIXED, max_size=5))
def test_batch_is_each_text_alone(texts: list[str]) -> None:
    flat, offsets = TOKENIZER.encode_batch(texts)
    assert flat.dtype == np.int32 and offsets.dtype == np.int64 and len(offsets) == len(texts) + 1
    for index, text in enumerate(texts):
        np.testing.assert_array_equal(flat[offsets[index] : offsets[index + 1]], TOKENIZER.encode(text))


def test_large_batch_crosses_internal_batches() -> None:
    texts = [f"item {number}" for number in range(9000)]
    flat, offsets = TOKENIZER.encode_batch(texts)
    assert TOKENIZER.decode(flat[offsets[8999] :]) == "item 8999"
    assert len(offsets) == 9001 and offsets[-1] == len(flat)


def test_templates_may_hold_control_tokens() -> None:
    ids = TOKENIZER.encode_template("<|im_start|>user\nhi<|im_end|>")
    assert ids[0] == 1 and ids[-1] == 2
    np.testing.assert_array_equal(ids[1:-1], TOKENIZER.encode("user\nhi"))
    assert TOKENIZER.decode(ids) == "<|im_start|>user\nhi<|im_end|>"


def test_empty_text() -> None:
    assert TOKENIZER.encode("").shape == (0,) and TOKENIZER.encode("").dtype == np.int32
    flat, offsets = TOKENIZER.encode_batch([])
    assert flat.shape == (0,) and list(offsets) == [0]


def test_start_token() -> None:
    assert not TOKENIZER.add_bos
    always = make(add_bos=True)
    assert next(iter(always.encode_template("a"))) == 1
    assert list(always.encode_template("<|im_start|>a")).count(1) == 1
    assert 1 not in always.encode("a")
    assert not make(add_bos=True, bos=None).add_bos


def test_start_token_from_the_post_processor() -> None:
    template = [
        {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ]
    special = {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}}
    processor = {"type": "TemplateProcessing", "single": template, "pair": [], "special_tokens": special}
    assert make(lambda d: d.update(post_processor=processor)).add_bos


def test_markup_that_is_not_marked_special_is_text_too() -> None:
    def add_markup(definition: dict[str, Any]) -> None:
        extra = {**definition["added_tokens"][0], "id": 288, "content": "<think>", "special": False}
        definition["added_tokens"].append(extra)

    tokenizer = make(add_markup)
    assert tokenizer.vocab_size == 289
    assert 288 not in tokenizer.encode("a <think> b")
    assert 288 in tokenizer.encode_template("a <think> b")


@pytest.mark.parametrize("text", ["x" * (MAX_TEXT_CHARS + 1), "a\ud800b", "\udfff", None, 5, b"bytes"])
def test_texts_that_are_refused(text: Any) -> None:
    for call in (TOKENIZER.encode, TOKENIZER.encode_template, lambda t: TOKENIZER.encode_batch(["a", t])):
        with pytest.raises(InputError):
            call(text)


def test_longest_text() -> None:
    text = "a " * (MAX_TEXT_CHARS // 2)
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@pytest.mark.parametrize("tokens", [[-1], [288], [5, 2**40]])
def test_decode_checks_ids(tokens: list[int]) -> None:
    with pytest.raises(InputError, match=r"0\.\.287"):
        TOKENIZER.decode(tokens)


def test_fingerprint_sees_vocabulary_merges_and_rules() -> None:
    def swap(definition: dict[str, Any]) -> None:
        merges = definition["model"]["merges"]
        merges[0], merges[1] = merges[1], merges[0]

    def rename(definition: dict[str, Any]) -> None:
        vocab = definition["model"]["vocab"]
        vocab["zz"] = vocab.pop(next(content for content, token in vocab.items() if token == 100))
        definition["model"]["merges"] = []

    def joined(definition: dict[str, Any]) -> None:
        definition["model"]["merges"] = [" ".join(pair) for pair in definition["model"]["merges"]]

    changed = [make(swap), make(rename), make(lambda d: d.update(normalizer={"type": "Lowercase"}))]
    prints = {TOKENIZER.fingerprint, *(tokenizer.fingerprint for tokenizer in changed)}
    assert len(prints) == 4
    assert make(joined).fingerprint == make().fingerprint == TOKENIZER.fingerprint


def test_truncation_padding_and_dropout_are_switched_off() -> None:
    def trap(definition: dict[str, Any]) -> None:
        definition["truncation"] = {
            "direction": "Right",
            "max_length": 2,
            "strategy": "LongestFirst",
            "stride": 0,
        }
        definition["padding"] = {
            "strategy": {"Fixed": 50}, "direction": "Right", "pad_to_multiple_of": None,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>",
        }  # fmt: skip
        definition["model"]["dropout"] = 0.9

    trapped = make(trap)
    for text in ("samsung galaxy single sim", "a"):
        np.testing.assert_array_equal(trapped.encode(text), TOKENIZER.encode(text))


def model(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda definition: definition["model"].update(changes)


def whole(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda definition: definition.update(changes)


def word(content: Any, token: Any) -> Callable[[dict[str, Any]], None]:
    return lambda definition: definition["model"]["vocab"].update({content: token})


def added(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda definition: definition["added_tokens"].append({**definition["added_tokens"][0], **changes})


SPLIT = {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize(
    "change",
    [
        whole(model=None),
        whole(model={}),
        whole(model={"type": "Unigram", "unk_id": 5, "vocab": []}),
        whole(model={"type": "Unigram", "unk_id": None, "vocab": [["a", -1.0]]}),
        whole(added_tokens={}),
        whole(added_tokens=[5]),
        whole(pre_tokenizer=SPLIT),
        whole(pre_tokenizer={"type": "FixedLength", "length": 0}),  # panics
        whole(normalizer={"type": "Prepend", "prepend": ""}),  # panics
        whole(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),  # panics
        whole(post_processor={"type": "TemplateProcessing", "single": 5}),
        model(vocab={}),
        model(vocab={"a": 0}),
        model(merges=5),
        model(merges=[["a"]]),
        model(merges=[["zz", "yy"]]),
        model(continuing_subword_prefix="longer"),  # panics
        model(dropout=None, vocab=[]),
        word("zz", -1),
        word("zz", 2**32 - 1),
        word("zz", 1 << 21),
        word("zz", "5"),
        word("\ud800", 288),
        added(id=2**32 - 1, content="QQ"),
        added(id=300, content="QQ"),
        added(id="0"),
        added(content=5),
    ],
)
def test_crafted_definitions(change: Callable[[dict[str, Any]], None], capfd: Any) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        make(change)


@pytest.mark.parametrize("options", [{"eos": 288}, {"eos": -1}, {"eos": True}, {"bos": 288}])
def test_control_ids_outside_the_vocabulary(options: dict[str, Any]) -> None:
    with pytest.raises(TokenizerError, match="token is"):
        make(**options)


def test_vocabulary_that_merges_text_into_a_control_token() -> None:
    def spell(definition: dict[str, Any]) -> None:
        definition["model"]["merges"] = [["a", "b"]]
        vocab = definition["model"]["vocab"]
        vocab["ab"] = 288
        definition["added_tokens"].append({**definition["added_tokens"][0], "id": 288, "content": "ab"})

    tokenizer = make(spell)
    with pytest.raises(TokenizerError, match="control token"):
        tokenizer.encode("ab")
    with pytest.raises(TokenizerError, match="control token"):
        tokenizer.encode_batch(["x", "ab"])


def test_keyboard_interrupt_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    tokenizer = make()
    monkeypatch.setattr(tokenizer, "_plain", type("Stub", (), {"encode": interrupted})())
    with pytest.raises(KeyboardInterrupt):
        tokenizer.encode("a")
