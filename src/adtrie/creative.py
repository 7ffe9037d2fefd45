"""Creative text on a session: options checked together, a way of decoding chosen, past texts as guesses.

Knows no checkpoint and keeps nothing between requests.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adtrie.config import RowCost
from adtrie.errors import CapacityError, InputError
from adtrie.models import Tokenizer
from adtrie.prompt import PromptTemplate
from adtrie.search.draft import generate_with_drafts
from adtrie.search.generate import MAX_BEAMS, LogitModel, beam, generate
from adtrie.search.ngrams import START, NGramTable
from adtrie.search.sampling import Sampling
from adtrie.search.scorer import check_count
from adtrie.search.text_rules import TextRules
from adtrie.search.writing import FinishReason

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
    beams: int = 1

    def __post_init__(self) -> None:
        check_count("beams", self.beams, MAX_BEAMS)
        if self.beams > 1 and not self.sampling.is_greedy:
            raise InputError(
                f"beams: {self.beams} beams draw nothing by chance; use temperature 0 or one beam"
            )

    def num_rows(self, prompt_len: int) -> int:
        """Rows that a request may feed."""
        return prompt_len + self.rules.max_tokens * max(self.beams, _ROWS_PER_TOKEN)

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
        drafts: NGramTable | None,
        cost: RowCost | None,
    ) -> Creative:
        """The text after `prompt`; drafted where `cost` is given, which changes its cost only."""
        started = time.perf_counter()
        rules, sampling, room = self.rules, self.sampling, self.num_rows(prompt.size)
        if self.beams > 1:
            made = beam(model, tokenizer, prompt, rules, self.beams)
        elif cost is None:
            made = generate(model, tokenizer, prompt, rules, sampling)
        else:
            made = generate_with_drafts(
                model, tokenizer, prompt, rules, sampling, drafts=drafts, cost=cost, max_rows=room
            )
        ms = (time.perf_counter() - started) * 1e3
        return Creative(made.text, int(made.tokens.size), made.forwards, ms, made.finish_reason)


def draft_table(texts: Sequence[str], template: PromptTemplate, tokenizer: Tokenizer) -> NGramTable:
    """Past texts as guesses, tokenized as an answer to `template` begins. InputError for a text too long."""
    if isinstance(texts, str):
        raise InputError("drafts: expected a list of texts, got one string")
    lead = "" if not template.after or template.after[-1].isspace() else " "
    flat, offsets = tokenizer.encode_batch([lead + " ".join(text.split()) for text in texts])
    pairs = itertools.pairwise(offsets.tolist())
    return NGramTable(np.concatenate(([START], flat[start:end])) for start, end in pairs)
