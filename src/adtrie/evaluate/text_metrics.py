"""Metrics of generated text against references, and of its variety: pure functions, shares from 0 to 1.

Words are lower-case runs of letters and digits; a Chinese or Japanese character is a word of its own; other
signs count only for BLEU, which sacrebleu computes (the [evaluate] extra). Knows no task and no model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from adtrie.errors import AdtrieError, InputError
from adtrie.evaluate.meteor import METEOR_1_5, Matches, MeteorParameters, best_matches

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")
References = Sequence[Sequence[str]]  # several per text


def words(text: str) -> list[str]:
    """Words of a text, in order."""
    return _WORD.findall(text.lower())


def bleu(texts: Sequence[str], references: References, *, language: str = "en") -> float:
    """Corpus BLEU-4 of sacrebleu, case ignored, tokenized by its `13a` rule (zh: its `zh` rule).

    Raises InputError where a text has no reference, AdtrieError without sacrebleu.
    """
    _check(texts, references)
    most = max(map(len, references))
    streams = [[refs[place] if place < len(refs) else None for refs in references] for place in range(most)]
    return float(bleu_metric(language).corpus_score(list(texts), streams).score) / 100


def bleu_metric(language: str = "en") -> Any:
    """The BLEU of sacrebleu that `bleu` uses; AdtrieError with the install line without sacrebleu."""
    return _sacrebleu()(lowercase=True, tokenize="zh" if language == "zh" else "13a")


def meteor(texts: Sequence[str], references: References, parameters: MeteorParameters = METEOR_1_5) -> float:
    """Corpus METEOR, stages exact and Porter stem, from the counts of all texts with their best reference."""
    _check(texts, references)
    total = Matches()
    for text, refs in zip(texts, references, strict=True):
        total = total + best_matches(words(text), [words(ref) for ref in refs], parameters)
    return total.score(parameters)


def rouge_l(texts: Sequence[str], references: References, beta: float = 1.2) -> float:
    """Mean ROUGE-L: F of the longest common subsequence, best precision and best recall over the references.

    `beta` 1.2 is that of the E2E challenge; 1.0 the usual F1 for one reference.
    """
    _check(texts, references)
    scores = []
    for text, refs in zip(texts, references, strict=True):
        ours = words(text)
        pairs = [(longest_common(ours, theirs), len(theirs)) for theirs in map(words, refs)]
        precision = max(common for common, _ in pairs) / max(len(ours), 1)
        recall = max(common / max(size, 1) for common, size in pairs)
        down = recall + beta**2 * precision
        scores.append((1 + beta**2) * precision * recall / down if down else 0.0)
    return sum(scores) / len(scores)


def longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for item in one:
        diagonal = 0
        for place, theirs in enumerate(other, start=1):
            above = row[place]
            row[place] = diagonal + 1 if item == theirs else max(above, row[place - 1])
            diagonal = above
    return row[-1]


def distinct(texts: Sequence[str], n: int) -> float:
    """Distinct word n-grams as a share of all n-grams of all texts; 0 where there are none."""
    if n < 1:
        raise InputError(f"n is {n}; expected 1 or more")
    grams = [tuple(row[at : at + n]) for row in map(words, texts) for at in range(len(row) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def mean_length(texts: Sequence[str]) -> float:
    """Mean number of words. Raises InputError on no texts."""
    if not texts:
        raise InputError("mean length needs at least one text")
    return sum(len(words(text)) for text in texts) / len(texts)


def _check(texts: Sequence[str], references: References) -> None:
    if isinstance(texts, str) or not texts or len(texts) != len(references):
        raise InputError(
            f"{len(texts)} texts for {len(references)} lists of references; expected one list per text"
        )
    for index, refs in enumerate(references):
        if isinstance(refs, str) or not refs:
            raise InputError(f"text {index} has no list of references; expected one reference or more")


def _sacrebleu() -> Any:
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise AdtrieError(
            "BLEU needs sacrebleu, which is not installed; run: pip install 'adtrie[evaluate]'"
        ) from error
    return BLEU
