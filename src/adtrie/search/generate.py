"""Free text token by token: greedy, sampled, or the best of a beam. The definition: one forward per token.

Knows the engine as a protocol of one method, and no draft.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import InputError
from adtrie.search.sampling import Sampling, in_order
from adtrie.search.scorer import check_count, check_prompt
from adtrie.search.text_rules import TextRules
from adtrie.search.writing import MAX_TRIES, FinishReason, TextCodec, Verdict, Writing

MAX_BEAMS = 64


class LogitModel(Protocol):
    """One request: rows are fed once each and keep their ids (0, 1, 2, ... in feeding order)."""

    def logits(
        self, tokens: NDArray[np.int32], parents: NDArray[np.int32], first: int = 0
    ) -> NDArray[np.float32]:
        """Logits float32[T - first, V] of the T fed rows from index `first` on.

        parents[i] is the id of the row that row i continues, -1 the start of the request. A row's logits do
        not depend on the other rows of the call, to the bit.
        """


@dataclass(frozen=True, eq=False)
class Generated:
    """One text, its tokens int32[n], why it ended, its cost: forwards (the prompt's too) and rows fed."""

    text: str
    tokens: NDArray[np.int32]
    finish_reason: FinishReason
    forwards: int
    rows: int


def generate(
    model: LogitModel, codec: TextCodec, prompt: Any, rules: TextRules, sampling: Sampling | None = None
) -> Generated:
    """The text that `sampling` (default greedy) gives under `rules`, one forward per token.

    Raises InputError for rules that cannot be met, naming the one; CapacityError from the model when full.
    """
    sampling = sampling or Sampling()
    tokens = check_prompt(prompt)
    writing = Writing(rules, codec)
    logits, forwards, row = feed_prompt(model, tokens), 1, tokens.size - 1
    while (token := writing.choose(logits, sampling)) is not None:
        logits = model.logits(np.array([token], np.int32), np.array([row], np.int32))[0]
        forwards, row = forwards + 1, row + 1
    return finished(writing, forwards, row + 1)


def feed_prompt(model: LogitModel, tokens: NDArray[np.int32]) -> NDArray[np.float32]:
    """Logits float32[V] after the prompt int32[P], fed as a chain."""
    parents = np.arange(-1, tokens.size - 1, dtype=np.int32)
    return np.asarray(model.logits(tokens, parents, tokens.size - 1)[0])


def finished(writing: Writing, forwards: int, rows: int) -> Generated:
    """The result of a text that has ended."""
    assert writing.finish_reason is not None, "the text has not ended"
    tokens = np.array(writing.tokens, dtype=np.int32)
    return Generated(writing.result, tokens, writing.finish_reason, forwards, rows)


@dataclass(frozen=True)
class Beams:
    """How a beam is kept and its answer chosen; InputError at once for a value out of range.

    `length_penalty` divides a sum of log-probabilities by tokens ** it; `fact_weight` is what each fact that
    a text states adds to that.
    """

    width: int = 1
    length_penalty: float = 1.0
    fact_weight: float = 0.0

    def __post_init__(self) -> None:
        check_count("beams", self.width, MAX_BEAMS)
        for name, value in (("length_penalty", self.length_penalty), ("fact_weight", self.fact_weight)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 10.0:
                raise InputError(f"{name}: expected a number from 0 to 10, got {value!r:.60}")


@dataclass
class _Beam:
    """A text so far, the sum of its log-probabilities, and the row of its last token (-1: not fed yet)."""

    writing: Writing
    score: float
    row: int

    @property
    def ended(self) -> bool:
        return self.writing.finish_reason is not None

    def rank(self, length_penalty: float) -> float:
        return float(self.score / max(len(self.writing.tokens), 1) ** length_penalty)


def beam(
    model: LogitModel,
    codec: TextCodec,
    prompt: Any,
    rules: TextRules,
    beams: Beams,
    worth: Callable[[str], float] = lambda text: 0.0,
) -> Generated:
    """The best text of a beam: each step keeps the `width` best sums of log-probabilities, ended texts too.

    When all kept have ended, the one with the highest sum / tokens ** length_penalty + worth(text) is the
    answer. Width 1 is greedy. Raises as `generate`.
    """
    width = beams.width
    tokens = check_prompt(prompt)
    first = Writing(rules, codec)
    logits, forwards, rows = feed_prompt(model, tokens)[None], 1, tokens.size
    kept = [_Beam(first, 0.0, rows - 1)]
    while True:
        live = [one for one in kept if not one.ended]
        pool = [one for one in kept if one.ended]
        for one, row in zip(live, logits, strict=True):
            pool += _continued(one, row[: codec.vocab_size], width)
        kept = sorted(pool, key=lambda one: -one.score)[:width]
        live = [one for one in kept if not one.ended]
        if not live:
            break
        fed = np.array([one.writing.tokens[-1] for one in live], np.int32)
        logits = model.logits(fed, np.array([one.row for one in live], np.int32))
        for place, one in enumerate(live):
            one.row = rows + place
        forwards, rows = forwards + 1, rows + len(live)
    best = max(kept, key=lambda one: one.rank(beams.length_penalty) + worth(one.writing.result))
    return finished(best.writing, forwards, rows)


def _continued(one: _Beam, logits: NDArray[np.float32], width: int) -> list[_Beam]:
    """Up to `width` continuations of a text by one token, likeliest first; at most one is forced."""
    logp = _log_softmax(logits)
    if one.writing.pending:
        after = one.writing.copy()
        after.advance_forced()
        return [_Beam(after, one.score + float(logp[after.tokens[-1]]), one.row)]
    out: list[_Beam] = []
    seen: set[tuple[int, str]] = set()
    for tried, token in enumerate(in_order(logits, Sampling(), 0)):
        if len(out) == width or tried == MAX_TRIES:
            break
        judged = one.writing.judge(token)
        if judged.verdict is Verdict.REFUSE:
            continue
        after = one.writing.copy()
        after.apply(token, judged)
        forced = judged.verdict is Verdict.FORCE
        key = (len(after.tokens), after.text)
        if (forced or after.ended_early(one.writing)) and key in seen:
            continue
        seen.add(key)
        scored = after.tokens[-1] if forced else token
        out.append(_Beam(after, one.score + float(logp[scored]), one.row))
    if not out:
        after = one.writing.copy()
        after.give_up()
        out.append(_Beam(after, one.score, one.row))
    return out


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - float(logits.max())
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))
