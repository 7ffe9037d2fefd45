"""Text metrics against values worked out by hand and brute force."""

from __future__ import annotations

import itertools
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.errors import AdtrieError, InputError
from adtrie.evaluate import bleu, distinct, mean_length, meteor, rouge_l
from adtrie.evaluate.meteor import METEOR_1_5, METEOR_2005, Matches, align
from adtrie.evaluate.porter import stem
from adtrie.evaluate.text_metrics import longest_common, words

# The examples of Porter's paper, followed by hand through all five steps.
STEMS = [
    ("caresses", "caress"),
    ("ponies", "poni"),
    ("ties", "ti"),
    ("caress", "caress"),
    ("cats", "cat"),
    ("feed", "feed"),
    ("agreed", "agre"),
    ("plastered", "plaster"),
    ("bled", "bled"),
    ("motoring", "motor"),
    ("sing", "sing"),
    ("conflated", "conflat"),
    ("troubled", "troubl"),
    ("sized", "size"),
    ("hopping", "hop"),
    ("tanned", "tan"),
    ("falling", "fall"),
    ("hissing", "hiss"),
    ("fizzed", "fizz"),
    ("failing", "fail"),
    ("filing", "file"),
    ("happy", "happi"),
    ("sky", "sky"),
    ("relational", "relat"),
    ("conditional", "condit"),
    ("rational", "ration"),
    ("valenci", "valenc"),
    ("hesitanci", "hesit"),
    ("digitizer", "digit"),
    ("conformabli", "conform"),
    ("radicalli", "radic"),
    ("differentli", "differ"),
    ("vileli", "vile"),
    ("analogousli", "analog"),
    ("vietnamization", "vietnam"),
    ("predication", "predic"),
    ("operator", "oper"),
    ("feudalism", "feudal"),
    ("decisiveness", "decis"),
    ("hopefulness", "hope"),
    ("callousness", "callous"),
    ("formaliti", "formal"),
    ("sensitiviti", "sensit"),
    ("sensibiliti", "sensibl"),
    ("triplicate", "triplic"),
    ("formative", "form"),
    ("formalize", "formal"),
    ("electriciti", "electr"),
    ("electrical", "electr"),
    ("hopeful", "hope"),
    ("goodness", "good"),
    ("revival", "reviv"),
    ("allowance", "allow"),
    ("inference", "infer"),
    ("airliner", "airlin"),
    ("gyroscopic", "gyroscop"),
    ("adjustable", "adjust"),
    ("defensible", "defens"),
    ("irritant", "irrit"),
    ("replacement", "replac"),
    ("adjustment", "adjust"),
    ("dependent", "depend"),
    ("adoption", "adopt"),
    ("homologou", "homolog"),
    ("communism", "commun"),
    ("activate", "activ"),
    ("angulariti", "angular"),
    ("homologous", "homolog"),
    ("effective", "effect"),
    ("bowdlerize", "bowdler"),
    ("probate", "probat"),
    ("rate", "rate"),
    ("cease", "ceas"),
    ("controll", "control"),
    ("roll", "roll"),
]


@pytest.mark.parametrize(("word", "expected"), STEMS)
def test_stems_are_those_of_the_paper(word: str, expected: str) -> None:
    assert stem(word) == expected


@given(st.text("abcdefghilmnoprstuyz", max_size=12))
def test_a_stem_is_never_longer_and_never_empty(word: str) -> None:
    assert len(stem(word)) <= len(word)
    assert bool(stem(word)) == bool(word)


def test_words_ignore_case_and_signs() -> None:
    assert words("It's a FAMILY-friendly café, £20!") == ["it", "s", "a", "family", "friendly", "café", "20"]
    assert words("新手机 x1") == ["新", "手", "机", "x1"]


def test_meteor_by_hand() -> None:
    # 6 of 7 words match in 2 chunks: mean 60/61, penalty 0.5 * (2/6)^3.
    assert meteor(["the cat was sat on the mat"], [["the cat sat on the mat"]], METEOR_2005) == pytest.approx(
        60 / 61 * (1 - 0.5 / 27)
    )
    # The same words in 3 chunks.
    assert meteor(["on the mat sat the cat"], [["the cat sat on the mat"]], METEOR_2005) == pytest.approx(
        1 - 0.5 * (3 / 6) ** 3
    )
    # Two stems of 0.6 each, in one chunk that is all of both.
    assert meteor(["cats running"], [["cat runs"]]) == pytest.approx(0.6)
    assert meteor(["a b"], [["a b"]]) == 1.0
    assert meteor(["a"], [["b"]]) == meteor([""], [["b"]]) == 0.0
    # Parameters of 1.5: P = 1, R = 2/3, one chunk of two matches.
    mean = (2 / 3) / (0.85 + 0.15 * 2 / 3)
    assert meteor(["a b"], [["a b c"]]) == pytest.approx(mean * (1 - 0.6 * 0.5**0.2))


def test_meteor_takes_the_best_reference_and_adds_counts() -> None:
    assert meteor(["a b"], [["x", "a b"]]) == 1.0
    whole = Matches(2, 0, 1, 2, 3) + Matches(0, 1, 1, 1, 4)
    assert meteor(["a b", "cats"], [["a b c"], ["cat x y z"]]) == whole.score(METEOR_1_5)


@settings(max_examples=200, deadline=None)
@given(*[st.lists(st.sampled_from(["a", "b", "cat", "cats"]), max_size=5)] * 2)
def test_alignment_is_the_best_of_all(text: list[str], reference: list[str]) -> None:
    best = max(_all_alignments(text, reference))
    found = align(text, reference)
    assert (found.exact + found.stems, found.exact, -found.chunks) == best


def _all_alignments(text: list[str], reference: list[str]) -> list[tuple[int, int, int]]:
    """(matches, exact ones, minus chunks) of every way to align the words."""
    out = []
    places = [
        [None, *(at for at, other in enumerate(reference) if stem(other) == stem(word))] for word in text
    ]
    for choice in itertools.product(*places):
        used = [at for at in choice if at is not None]
        if len(set(used)) == len(used):
            exact = sum(
                at is not None and reference[at] == word for at, word in zip(choice, text, strict=True)
            )
            before = [None, *choice]
            starts = sum(
                at is not None and (before[i] is None or before[i] + 1 != at) for i, at in enumerate(choice)
            )
            out.append((len(used), exact, -starts))
    return out


def test_rouge_l_by_hand() -> None:
    assert rouge_l(["police kill the gunman"], [["police killed the gunman"]]) == pytest.approx(0.75)
    assert rouge_l(["the gunman kill police"], [["police killed the gunman"]]) == pytest.approx(0.5)
    # P = 1, R = 1/2, beta 1.2.
    assert rouge_l(["a b"], [["a b c d"]]) == pytest.approx(2.44 * 0.5 / (0.5 + 1.44))
    # Best precision (a b of a b) and best recall (c of c) may come from two references.
    assert rouge_l(["a b c"], [["a b", "c"]], 1.0) == pytest.approx(2 * (2 / 3) / (2 / 3 + 1))
    assert rouge_l([""], [["a"]]) == 0.0


@given(*[st.text("abc", max_size=7)] * 2)
def test_longest_common_subsequence(one: str, other: str) -> None:
    subsequences = {"".join(cut) for size in range(len(one) + 1) for cut in itertools.combinations(one, size)}
    assert longest_common(one, other) == max(
        size
        for size in range(len(other) + 1)
        for cut in itertools.combinations(other, size)
        if "".join(cut) in subsequences
    )


def test_variety_and_length() -> None:
    assert distinct(["a b a b"], 1) == 0.5
    assert distinct(["a b a b"], 2) == pytest.approx(2 / 3)
    assert distinct(["a", "b"], 2) == 0.0
    assert mean_length(["a b", "c, d e f!"]) == 3.0


def test_bleu_by_hand() -> None:
    pytest.importorskip("sacrebleu")
    assert bleu(["the cat sat on the mat"], [["The cat sat on the mat"]]) == pytest.approx(1.0)
    # n-gram precisions 4/5, 3/4, 2/3, 1/2: their product is 1/5.
    assert bleu(["a b c d e"], [["a b c d f"]]) == pytest.approx(0.2**0.25)
    # Texts may have different numbers of references.
    assert bleu(["a b c d", "e f g h"], [["x", "a b c d"], ["e f g h"]]) == pytest.approx(1.0)
    assert bleu(["新手机好"], [["新手机好"]], language="zh") == pytest.approx(1.0)


def test_without_sacrebleu_the_install_line_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    with pytest.raises(AdtrieError, match=r"pip install 'adtrie\[evaluate\]'"):
        bleu(["a"], [["a"]])


@pytest.mark.parametrize("metric", [bleu, meteor, rouge_l])
@pytest.mark.parametrize(
    ("texts", "references"), [([], []), (["a"], []), (["a"], [[]]), (["a"], ["a"]), ("a", [["a"]])]
)
def test_texts_without_references_are_refused(metric, texts, references) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="references"):
        metric(texts, references)


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(InputError):
        distinct(["a"], 0)
    with pytest.raises(InputError):
        mean_length([])
