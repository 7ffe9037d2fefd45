"""Plain decoding: rules kept at every token, stop rules, sampling by one uniform number, beams."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_fakes import CODEC, END, PIECES, PROMPT, HashModel, PieceCodec, models, rules, samplings

from adtrie.errors import InputError, ModelError
from adtrie.search.generate import Beams, beam, generate
from adtrie.search.sampling import Sampling, filtered, in_order, uniform
from adtrie.search.text_rules import TextRules, addition, folded
from adtrie.search.writing import Verdict, Writing


class Script:
    """A model that wants to say one text and then end, whatever is written: position counts only."""

    def __init__(self, text: str, codec: PieceCodec = CODEC) -> None:
        self.wanted = [*codec.encode(text).tolist(), END]
        self.places: list[int] = []

    def logits(self, tokens: Any, parents: Any, first: int = 0) -> Any:
        rows = []
        for index, parent in enumerate(parents.tolist()):
            prompt = index < first or parent < 0 or first == index == tokens.size - 1 > 0
            self.places.append(0 if prompt else self.places[parent] + 1)
            row = np.zeros(PieceCodec.vocab_size, np.float32)
            row[self.wanted[min(self.places[-1], len(self.wanted) - 1)]] = 9.0
            rows.append(row)
        return np.stack(rows[first:])


def written(text: str, **limits: Any) -> tuple[str, str]:
    made = generate(Script(text), CODEC, PROMPT, TextRules(**limits))
    return made.text, made.finish_reason


def law(text: str, limits: TextRules, reason: str) -> None:
    """What holds for every text that was made."""
    assert all(folded(phrase) not in folded(text) for phrase in limits.must_not_say)
    assert limits.missing(text) == ()
    assert limits.max_chars is None or len(text) <= limits.max_chars
    assert all(string not in text for string in limits.stop)
    assert text or reason in ("blocked", "max_tokens")  # a cut-off character is no text


@settings(max_examples=300, deadline=None)
@given(rules, samplings, models)
def test_every_rule_holds_in_every_text(limits: TextRules, sampling: Sampling, model: dict[str, Any]) -> None:
    try:
        made = generate(HashModel(**model), CODEC, PROMPT, limits, sampling)
    except InputError as error:
        assert str(error).split(":")[0] in ("max_tokens", "max_chars", "must_not_say", "stop")
        return
    assert made.tokens.size <= limits.max_tokens
    assert END not in made.tokens
    law(made.text, limits, made.finish_reason)


@settings(max_examples=100, deadline=None)
@given(rules, models, st.integers(1, 4))
def test_every_rule_holds_in_a_beam(limits: TextRules, model: dict[str, Any], width: int) -> None:
    try:
        made = beam(HashModel(**model), CODEC, PROMPT, limits, Beams(width))
    except InputError:
        return
    assert made.tokens.size <= limits.max_tokens
    law(made.text, limits, made.finish_reason)
    if width == 1:
        plain = generate(HashModel(**model), CODEC, PROMPT, limits)
        assert (made.text, made.tokens.tolist()) == (plain.text, plain.tokens.tolist())


def test_the_text_ends_where_the_model_ends_it() -> None:
    assert written("a bad cab.") == ("a bad cab.", "end")


def test_a_stop_string_ends_the_text_before_it() -> None:
    assert written("a cab\n\nbed") == ("a cab", "stop")
    assert written("a cab. bed.", stop=("b. ",)) == ("a ca", "stop")


def test_tokens_and_characters_are_limited() -> None:
    assert written("a bad cab.", max_tokens=2)[1] == "max_tokens"
    text, reason = written("abcde abcde abcde", max_chars=14)
    assert (text, reason) == ("abcde abcde", "max_chars")  # no half word at the end
    assert written("abcdeabcde", max_chars=4) == ("abcd", "max_chars")


@pytest.mark.parametrize("phrase", ["bad", "BAD", "a d", "dad", "e. a"])
def test_a_blocked_phrase_never_appears_however_it_is_cut(phrase: str) -> None:
    limits = TextRules(max_tokens=12, must_not_say=(phrase,), stop=())
    for seed in range(20):
        text = generate(HashModel(seed, end=-9), CODEC, PROMPT, limits).text
        assert folded(phrase) not in folded(text)
    spellings = [
        cut
        for size in (1, 2, 3)
        for cut in itertools.product(range(1, len(PIECES)), repeat=size)
        if folded(CODEC.decode(cut)) == folded(phrase)
    ]
    for cut in spellings:
        writing = Writing(TextRules(must_not_say=(phrase,), stop=()), CODEC)
        verdicts = []
        for token in cut:
            judged = writing.judge(token)
            verdicts.append(judged.verdict)
            if judged.verdict is not Verdict.TAKE:
                break
            writing.apply(token, judged)
        assert verdicts[-1] is Verdict.REFUSE


def test_blocked_phrases_cross_white_space() -> None:
    text, _ = written("a  \n bad", must_not_say=("a bad",), stop=())
    assert "a bad" not in folded(text)


def test_a_missing_phrase_is_written_where_the_model_would_end() -> None:
    assert written("a cab.", must_mention=("Bad bed", "cab")) == ("a cab. Bad bed", "end")


def test_a_missing_phrase_is_written_when_the_room_is_just_enough() -> None:
    text, reason = written("abcde abcde abcde", max_chars=15, must_mention=("bed",))
    assert text.endswith(" bed") and len(text) <= 15 and reason == "max_chars"
    text, reason = written("abcde abcde abcde", max_tokens=9, must_mention=("bed",))
    assert text.endswith("bed") and reason == "max_tokens"


def test_a_mention_is_whole_words_in_any_case() -> None:
    limits = TextRules(must_mention=("Bad Cab",))
    assert limits.missing("a BAD  cab.") == ()
    assert limits.missing("a bad cabbed") == limits.missing("abad cab") == ("Bad Cab",)
    assert TextRules(must_mention=("手机",)).missing("新手机好") == ()


def test_words_already_written_are_not_repeated() -> None:
    assert addition("the", "the eagle") == " eagle"
    assert addition("bathe", "the eagle") == " the eagle"
    assert addition("at the e", "the eagle") == " the eagle"
    assert addition("", "the eagle") == addition("a ", "the eagle") == "the eagle"


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ({"must_mention": ("bad cab bed",), "max_tokens": 2}, "max_tokens"),
        ({"must_mention": ("bad", "cab"), "max_chars": 6}, "max_chars"),
        ({"must_mention": ("bad cab",), "must_not_say": ("AD C",)}, "must_not_say"),
        ({"must_mention": ("bad", "cab"), "must_not_say": ("d c",)}, "must_not_say"),
        ({"must_mention": ("bad. cab",), "stop": (". ",)}, "stop"),
    ],
)
def test_rules_that_cannot_be_met_are_named(limits: dict[str, Any], name: str) -> None:
    for decode in (generate, lambda *args: beam(*args, Beams(2))):
        with pytest.raises(InputError, match=f"^{name}: "):
            decode(HashModel(), CODEC, PROMPT, TextRules(**limits))  # type: ignore[operator]


@pytest.mark.parametrize(
    "options",
    [
        {"max_tokens": 0},
        {"max_tokens": 10**9},
        {"max_tokens": True},
        {"max_chars": -1},
        {"must_mention": ("",)},
        {"must_mention": "bad"},
        {"must_mention": ("x" * 300,)},
        {"must_not_say": (" ",)},
        {"must_not_say": (3,)},
        {"must_not_say": ("\udcff",)},
        {"stop": ("",)},
        {"stop": ["a"] * 101},
    ],
)
def test_rules_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"^{next(iter(options))}: "):
        TextRules(**options)


def test_everything_blocked_ends_the_text() -> None:
    every = tuple("abcde.!é")
    made = generate(HashModel(), CODEC, PROMPT, TextRules(must_not_say=every, stop=(), max_tokens=5))
    assert made.text.strip("\ufffd \n") == ""
    codec = PieceCodec()
    codec.decode = lambda tokens: "bad" * len(tokens)  # type: ignore[method-assign]
    made = generate(HashModel(), codec, PROMPT, TextRules(must_not_say=every, stop=()))
    assert (made.text, made.finish_reason) == ("", "blocked")


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": "1"},
        {"temperature": 1e-300},
        {"top_k": -1},
        {"top_k": 1.5},
        {"top_p": 0},
        {"top_p": 1.1},
        {"min_p": 2},
        {"seed": -1},
        {"seed": 2**64},
    ],
)
def test_sampling_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"^{next(iter(options))}: "):
        Sampling(**options)


def test_uniform_numbers_are_pinned_and_even() -> None:
    numbers = np.array([uniform(seed, position) for seed in range(100) for position in range(100)])
    assert numbers.min() >= 0.0 and numbers.max() < 1.0
    counts = np.histogram(numbers, 10, (0, 1))[0]
    assert counts.min() > 880 and counts.max() < 1120
    assert uniform(0, 0) != uniform(1, 0) != uniform(0, 1)
    assert uniform(7, 3) == uniform(7, 3)


def test_filters_keep_what_they_say() -> None:
    logits = np.log(np.array([0.1, 0.5, 0.3, 0.06, 0.04])).astype(np.float32)
    kept = lambda **options: filtered(logits, Sampling(**{"temperature": 1.0, **options}))[0].tolist()  # noqa: E731
    assert kept() == [1, 2, 0, 3, 4]
    assert kept(top_k=2) == [1, 2]
    assert kept(top_p=0.75) == [1, 2]
    assert kept(top_p=0.85) == [1, 2, 0]
    assert kept(min_p=0.15) == [1, 2, 0]
    assert kept(top_k=4, top_p=0.9, min_p=0.5) == [1, 2]
    weights = filtered(logits, Sampling(temperature=2.0))[1]
    assert weights == pytest.approx(np.sqrt(np.array([0.5, 0.3, 0.1, 0.06, 0.04]) / 0.5))


def test_draws_have_the_probabilities_also_after_a_refusal() -> None:
    shares = np.array([0.5, 0.3, 0.2])
    logits = np.log(shares).astype(np.float32)
    first, second = np.zeros(3), np.zeros(3)
    for seed in range(5_000):
        tokens = list(in_order(logits, Sampling(temperature=1.0, seed=seed), 5))
        assert sorted(tokens) == [0, 1, 2]
        first[tokens[0]] += 1
        second[tokens[0] if tokens[0] != 0 else tokens[1]] += 1  # token 0 refused
    assert first / 5_000 == pytest.approx(shares, abs=0.025)
    assert second / 5_000 == pytest.approx([0.0, 0.6, 0.4], abs=0.025)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.integers(0, 99))
def test_every_token_is_tried_once(values: list[int], seed: int) -> None:
    logits = np.array(values, np.float32)
    greedy = list(in_order(logits, Sampling(), 0))
    assert greedy == sorted(range(len(values)), key=lambda token: (-values[token], token))
    drawn = list(in_order(logits, Sampling(temperature=1.0, top_k=2, seed=seed), 0))
    assert sorted(drawn) == list(range(len(values)))


def test_the_order_of_a_large_vocabulary_is_that_of_one_sort() -> None:
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=1000), rng.integers(0, 3, 1000), np.full(1000, -np.inf)):
        logits = values.astype(np.float32)
        logits[7] = 9.0
        assert list(in_order(logits, Sampling(), 0)) == np.argsort(-logits, kind="stable").tolist()


def test_a_damaged_model_is_named() -> None:
    with pytest.raises(ModelError, match="logits"):
        in_order(np.array([1.0, np.nan], np.float32), Sampling(), 0)


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_the_best_text(seed: int) -> None:
    limits = TextRules(max_tokens=2, stop=())
    made = beam(HashModel(seed), CODEC, PROMPT, limits, Beams(64, length_penalty=0.0))
    scores = all_scores(seed)
    assert scores[tuple(made.tokens.tolist()), made.finish_reason] == max(scores.values())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 2.0])
def test_what_a_text_is_worth_decides_with_its_score(seed: int, length_penalty: float) -> None:
    def worth(text: str) -> float:
        return 0.5 * len(text)

    limits = TextRules(max_tokens=2, stop=())
    made = beam(HashModel(seed), CODEC, PROMPT, limits, Beams(64, length_penalty), worth)
    # A beam of 64 holds the 64 likeliest texts to the end.
    likeliest = sorted(all_scores(seed).items(), key=lambda item: -item[1])[:64]
    ranks = {
        key: score / len(key[0]) ** length_penalty + worth(CODEC.decode(key[0]).rstrip("\ufffd").strip())
        for key, score in likeliest
    }
    assert ranks[tuple(made.tokens.tolist()), made.finish_reason] == pytest.approx(max(ranks.values()))


@pytest.mark.parametrize("wrong", [{"width": 0}, {"length_penalty": -1.0}, {"fact_weight": float("nan")}])
def test_a_beam_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong)).replace("width", "beams")):
        Beams(**wrong)


def all_scores(seed: int) -> dict[tuple[tuple[int, ...], str], float]:
    """Log-probability of every text of at most two tokens, from one forward."""
    texts = [token for token in range(1, CODEC.vocab_size) if CODEC.decode([token]).strip()]
    last = PROMPT.size - 1
    parents = [*range(-1, last), *[last] * len(texts)]
    tokens = np.array([*PROMPT, *texts], np.int32)
    rows = HashModel(seed).logits(tokens, np.array(parents, np.int32), last)[:, : CODEC.vocab_size]
    logp = rows - np.log(np.exp(rows.astype(np.float64)).sum(axis=1, keepdims=True))
    scores: dict[tuple[tuple[int, ...], str], float] = {}
    for row, one in enumerate(texts, start=1):
        scores[(one,), "end"] = logp[0, one] + logp[row, END]
        for two in range(1, CODEC.vocab_size):
            scores[(one, two), "max_tokens"] = logp[0, one] + logp[row, two]
    return scores
