"""Creative text on a session: options checked together, a way of decoding chosen, past texts as guesses.

Knows no checkpoint and keeps nothing between requests.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Mapping, Sequence
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
_NAME = r"[^{}]{1,40}"
_SLOT = re.compile(rf"\{{({_NAME})\}}")
# A word with slots and the blank before it: encoded alone, whatever the slots are filled with.
_SLOT_WORD = re.compile(rf"((?:^| )(?:[^ {{}}]*\{{{_NAME}\}})+[^ {{}}]*)")
_START = np.array([START], np.int32)
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


class DraftTokenizer(Protocol):
    """What drafts need of a tokenizer."""

    @property
    def splits_at_blanks(self) -> bool: ...

    def encode_batch(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]: ...


Part = str | NDArray[np.int32]  # what has a slot, or tokens


class Drafts:
    """Past texts as guesses. Texts with slots such as "{name} is a {type}" are filled from the facts.

    A text is tokenized as the answer to `template` begins: after a space, unless that ends in white space.
    """

    def __init__(
        self,
        texts: Sequence[str],
        tokenizer: DraftTokenizer,
        template: PromptTemplate = CREATE_TEMPLATE,
    ) -> None:
        """`tokenizer` may be a Model. Raises InputError for a text too long or too many of them."""
        if isinstance(texts, str):
            raise InputError("drafts: expected a list of texts, got one string")
        self._tokenizer = tokenizer
        lead = "" if not template.after or template.after[-1].isspace() else " "
        slotted: dict[frozenset[str], list[str]] = {}
        for text in texts:
            slots = frozenset(map(str.casefold, _SLOT.findall(text)))
            slotted.setdefault(slots, []).append(lead + " ".join(text.split()))
        plain = self._tokens(slotted.pop(frozenset(), []))
        self._table = NGramTable(np.concatenate((_START, tokens)) for tokens in plain)
        # Those that state most come first: only so many are filled for one request.
        by_most = sorted(slotted.items(), key=lambda pair: -len(pair[0]))
        self._templates = [(slots, self._parts(alike)) for slots, alike in by_most]

    def tables(self, facts: str) -> list[NGramTable]:
        """The past texts, and up to MAX_FILLED templates whose slots `facts` ("name: A; type: pub") has."""
        values = _values(facts)
        fitting = (each for slots, alike in self._templates if slots <= values.keys() for each in alike)
        most = list(itertools.islice(fitting, _POOL * MAX_FILLED))
        # Neighbours were written of much the same facts: evenly spaced ones guess better than the first ones.
        count = min(len(most), MAX_FILLED)
        chosen = [most[number * len(most) // count] for number in range(count)]
        return [self._table, self._filled(chosen, values)] if chosen else [self._table]

    def _filled(self, templates: Sequence[Sequence[Part]], values: Mapping[str, str]) -> NGramTable:
        slotted = list(dict.fromkeys(part for each in templates for part in each if isinstance(part, str)))
        filled = [_SLOT.sub(lambda slot: values[slot[1].casefold()], part) for part in slotted]
        tokens = dict(zip(slotted, self._tokens(filled), strict=True))
        return NGramTable(
            np.concatenate([_START, *(tokens[part] if isinstance(part, str) else part for part in each)])
            for each in templates
        )

    def _parts(self, templates: Sequence[str]) -> list[list[Part]]:
        """Of each template its parts with slots, and the tokens of all between them."""
        cut = [
            _SLOT_WORD.split(text) if self._tokenizer.splits_at_blanks else ["", text] for text in templates
        ]
        fixed = list(dict.fromkeys(part for each in cut for part in each[::2] if part))
        tokens = dict(zip(fixed, self._tokens(fixed), strict=True))
        return [[part if at % 2 else tokens[part] for at, part in enumerate(each) if part] for each in cut]

    def _tokens(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        flat, offsets = self._tokenizer.encode_batch(texts)
        return [flat[start:end] for start, end in itertools.pairwise(offsets.tolist())]


def _values(facts: str) -> dict[str, str]:
    return {name.casefold(): " ".join(value.split()) for name, value in facts_of(facts)}
