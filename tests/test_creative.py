"""Model.create on a tiny real model: the same text however it is decoded; drafts and templates; limits."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import adtrie
from adtrie.creative import MAX_FILLED
from adtrie.errors import CapacityError, InputError
from adtrie.search.ngrams import START

GOLDEN = Path(__file__).parent / "golden"
SHORT = adtrie.PromptTemplate("F: ", "\nAd:")
FACTS = "name: Blue Spice; type: pub"
LIMITS = adtrie.TextRules(max_tokens=24)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[adtrie.Model]:
    folder = tmp_path_factory.mktemp("model") / "qwen3"
    shutil.copytree(GOLDEN / "qwen3", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADTRIE_CACHE", str(tmp_path_factory.mktemp("cache")))
        with adtrie.load_model(folder) as loaded:
            yield loaded


def test_greedy_is_the_argmax_of_plain_logits(model: adtrie.Model) -> None:
    made = model.create(FACTS, LIMITS, template=SHORT, draft=False)
    tokens = model.tokenizer.encode_template(f"F: {FACTS}\nAd:").tolist()
    prompt_len = len(tokens)
    for _ in range(made.tokens):
        row = model.engine.logits(tokens)[-1][: model.vocab_size]
        text = lambda token: model.tokenizer.decode([*tokens[prompt_len:], token])  # noqa: E731
        order = (-row).argsort(kind="stable").tolist()
        tokens.append(next(t for t in order if t not in model.tokenizer.control_tokens and text(t).strip()))
        if "\n" in text(tokens[-1]):
            break
    assert made.text in model.tokenizer.decode(tokens[prompt_len:])
    assert made.forwards <= made.tokens + 1


@pytest.mark.parametrize("sampling", [None, adtrie.Sampling(temperature=1.0, seed=4)])
def test_drafts_change_no_text(model: adtrie.Model, sampling: adtrie.Sampling | None) -> None:
    plain = model.create(FACTS, LIMITS, sampling, template=SHORT, draft=False)
    past = adtrie.Drafts([plain.text, "{name} is a {type}", "{no such slot}"], model, SHORT)
    for drafts in (None, past):
        ours = model.create(FACTS, LIMITS, sampling, template=SHORT, drafts=drafts)
        assert (ours.text, ours.tokens, ours.finish_reason) == (plain.text, plain.tokens, plain.finish_reason)
        assert ours.forwards <= plain.forwards


def test_templates_are_filled_from_the_facts(model: adtrie.Model) -> None:
    drafts = adtrie.Drafts(["plain text", "{Name} is a {type}", "{area}"], model, SHORT)
    plain, filled = drafts.tables(FACTS)
    first = int(model.encode(" Blue Spice is a pub")[0])
    assert filled.continuations([START]) == [(1, {first: 1})]
    assert plain.num_tokens == 1 + model.encode(" plain text").size
    assert len(drafts.tables("no facts")) == 1
    many = adtrie.Drafts(["{name}"] * (MAX_FILLED + 5), model)
    assert many.tables(FACTS)[1].num_tokens == MAX_FILLED * (1 + model.encode("Blue Spice").size)


@pytest.mark.parametrize(
    "template",
    [
        "{name} is a {type} .",
        "Try ({name}), {area}!",
        "no. {name}-{type} {no",
        "a {type} {type}",
        "The {name}'s",
    ],
)
def test_filled_templates_are_tokenized_as_texts(model: adtrie.Model, template: str) -> None:
    facts = "name: Blue Spice; type: pub; area: £20-25 city  centre"
    table = adtrie.Drafts([template], model, SHORT).tables(facts)[1]
    values = {"name": "Blue Spice", "type": "pub", "area": "£20-25 city centre"}
    filled = template
    for name, value in values.items():
        filled = filled.replace("{" + name + "}", value)
    expected = [START, *model.encode(f" {filled}").tolist()]
    assert table.num_tokens == len(expected)
    for at in range(1, len(expected)):
        assert expected[at] in table.continuations(expected[:at])[0][1]


def test_bad_requests_are_named(model: adtrie.Model) -> None:
    for facts, options, expected in (
        ("", {}, "facts"),
        ("x" * 3000, {}, "facts"),
        (FACTS, {"beams": 0}, "beams"),
        (FACTS, {"beams": 2, "sampling": adtrie.Sampling(1.0)}, "beams"),
        (FACTS, {"rules": adtrie.TextRules(max_chars=3, must_mention=("long phrase",))}, "max_chars"),
    ):
        with pytest.raises(InputError, match=f"^{expected}"):
            model.create(facts, template=SHORT, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="drafts"):
        adtrie.Drafts("one string", model)
    with pytest.raises(CapacityError, match="context"):
        model.create(FACTS, adtrie.TextRules(max_tokens=2_000), template=SHORT)


def test_a_beam_needs_more_forward_rows_not_more_texts(model: adtrie.Model) -> None:
    one = model.create(FACTS, LIMITS, template=SHORT, draft=False)
    assert model.create(FACTS, LIMITS, template=SHORT, beams=1).text == one.text
    assert model.create(FACTS, LIMITS, template=SHORT, beams=4).text
