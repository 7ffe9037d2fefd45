"""Creative text on a session: options checked together, a way of decoding chosen, past texts as guesses.

Knows no checkpoint and keeps nothing between requests.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adtrie.config import RowCost
from adtrie.errors import CapacityError, InputError
from adtrie.models import Tokenizer
from adtrie.prompt import CREATE_TEMPLATE, PromptTemplate
from adtrie.search.draft import generate_with_drafts
from adtrie.search.facts import facts_of, num_stated
from adtrie.search.generate import Beams, LogitModel, beam, generate
from adtrie.search.ngrams import START, NGramTable
from adtrie.search.sampling import Sampling
from adtrie.search.text_rules import TextRules
from adtrie.search.writing import FinishReason

MAX_FILLED = 100  # templates filled for one request
_POOL = 4  # so many times that they are chosen from
_SLOT = re.compile(r"\{([^{}]{1,40})\}")
_MOST_ROWS = 131_000
_ROWS_PER_TOKEN = 26  # it and its guesses; beams have no guesses


@dataclass(frozen=True)
class Creative:
    """One text, its number of tokens, passes of the model (the prompt's too), wall time, why it ended.

    `finish_reason`: end (of the model's own), stop (a stop string), max_tokens, max_chars, or blocked (every
    token was refused).
    """

    text: str
    tokens: int
    forwards: int
    ms: float
    finish_reason: FinishReason


@dataclass(frozen=True)
class Writer:
    """How creatives are written; InputError for options that contradict each other."""

    rules: TextRules
    sampling: Sampling
    beams: Beams

    def __post_init__(self) -> None:
        if self.beams.width > 1 and not self.sampling.is_greedy:
            raise InputError(
                f"beams: {self.beams.width} beams draw nothing by chance; use temperature 0 or one beam"
            )

    @classmethod
    def of(cls, rules: TextRules | None, sampling: Sampling | None, beams: int | Beams) -> Writer:
        """By default 64 tokens on one line, greedy; a number of beams is their width."""
        kept = beams if isinstance(beams, Beams) else Beams(beams)
        return cls(rules or TextRules(), sampling or Sampling(), kept)

    def num_rows(self, prompt_len: int) -> int:
        """Rows that a request may feed."""
        return min(prompt_len + self.rules.max_tokens * max(self.beams.width, _ROWS_PER_TOKEN), _MOST_ROWS)

    def check_context(self, prompt_len: int, max_positions: int) -> None:
        """Raises CapacityError unless prompt and text fit the context."""
        needed = prompt_len + self.rules.max_tokens
        if needed > max_positions:
            raise CapacityError(
                f"prompt and text need {needed} tokens of context, the model has {max_positions}; "
                "lower max_tokens or shorten the facts or the template"
            )

    def write(
        self,
        model: LogitModel,
        tokenizer: Tokenizer,
        prompt: NDArray[np.int32],
        facts: str,
        tables: Sequence[NGramTable],
        cost: RowCost | None,
    ) -> Creative:
        """The text after the `prompt` of `facts`; drafted where `cost` is given: the same text for less."""
        started = time.perf_counter()
        rules, sampling, room = self.rules, self.sampling, self.num_rows(prompt.size)
        if self.beams.width > 1:
            known, weight = facts_of(facts), self.beams.fact_weight
            made = beam(
                model, tokenizer, prompt, rules, self.beams, lambda text: weight * num_stated(text, known)
            )
        elif cost is None:
            made = generate(model, tokenizer, prompt, rules, sampling)
        else:
            made = generate_with_drafts(
                model, tokenizer, prompt, rules, sampling, drafts=tables, cost=cost, max_rows=room
            )
        ms = (time.perf_counter() - started) * 1e3
        return Creative(made.text, int(made.tokens.size), made.forwards, ms, made.finish_reason)


class BatchTokenizer(Protocol):
    """What drafts need of a tokenizer."""

    def encode_batch(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]: ...


class Drafts:
    """Past texts as guesses. Texts with slots such as "{name} is a {type}" are filled from the facts.

    A text is tokenized as the answer to `template` begins: after a space, unless that ends in white space.
    """

    def __init__(
        self,
        texts: Sequence[str],
        tokenizer: BatchTokenizer,
        template: PromptTemplate = CREATE_TEMPLATE,
    ) -> None:
        """`tokenizer` may be a Model. Raises InputError for a text too long or too many of them."""
        if isinstance(texts, str):
            raise InputError("drafts: expected a list of texts, got one string")
        self._tokenizer = tokenizer
        self._lead = "" if not template.after or template.after[-1].isspace() else " "
        slotted: dict[frozenset[str], list[str]] = {}
        for text in texts:
            slotted.setdefault(frozenset(map(str.casefold, _SLOT.findall(text))), []).append(text)
        self._table = self._table_of(slotted.pop(frozenset(), []))
        # Those that state most come first: only so many are filled for one request.
        self._templates = sorted(slotted.items(), key=lambda pair: -len(pair[0]))

    def tables(self, facts: str) -> list[NGramTable]:
        """The past texts, and up to MAX_FILLED templates whose slots `facts` ("name: A; type: pub") has."""
        values = _values(facts)
        fitting = (text for slots, texts in self._templates if slots <= values.keys() for text in texts)
        most = list(itertools.islice(fitting, _POOL * MAX_FILLED))
        # Neighbours were written of much the same facts: evenly spaced ones guess better than the first ones.
        count = min(len(most), MAX_FILLED)
        filled = [
            _SLOT.sub(lambda slot: values[slot[1].casefold()], most[number * len(most) // count])
            for number in range(count)
        ]
        return [self._table, self._table_of(filled)] if filled else [self._table]

    def _table_of(self, texts: Sequence[str]) -> NGramTable:
        spaced = [self._lead + " ".join(text.split()) for text in texts]
        flat, offsets = self._tokenizer.encode_batch(spaced)
        pairs = itertools.pairwise(offsets.tolist())
        return NGramTable(np.concatenate(([START], flat[start:end])) for start, end in pairs)


def _values(facts: str) -> dict[str, str]:
    return {name.casefold(): value for name, value in facts_of(facts)}
