"""The text of `generate` in fewer forwards: guessed continuations ride along as a token tree and are checked.

A guess is kept only where plain decoding would have taken it, so guesses change the cost, never the text.
Knows the engine as the protocol of `generate`.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.config import RowCost
from adtrie.errors import CapacityError
from adtrie.search.generate import Generated, LogitModel, finished
from adtrie.search.ngrams import START, GrowingNGrams, NGrams, likely_next
from adtrie.search.sampling import Sampling
from adtrie.search.scorer import check_prompt
from adtrie.search.text_rules import TextRules
from adtrie.search.writing import TextCodec, Writing

MAX_DRAFT_ROWS = 24  # guesses per forward: each row's full logits are copied to the host
LEAST_CHANCE = 0.02


@dataclass
class _Tree:
    """Rows of one forward: token, parent (index in the tree, -1 above it); children by token."""

    tokens: list[int]
    parents: list[int]
    children: list[dict[int, int]]

    @classmethod
    def chain(cls, tokens: Sequence[int]) -> _Tree:
        """Tokens known to follow each other."""
        tree = cls([], [], [])
        for index, token in enumerate(tokens):
            tree.add(token, index - 1)
        return tree

    def add(self, token: int, parent: int) -> None:
        if parent >= 0:
            self.children[parent][token] = len(self.tokens)
        self.tokens.append(token)
        self.parents.append(parent)
        self.children.append({})

    def cut(self, size: int) -> None:
        """Keeps the first `size` rows; parents come before their children."""
        self.tokens, self.parents = self.tokens[:size], self.parents[:size]
        self.children = [
            {token: row for token, row in below.items() if row < size} for below in self.children[:size]
        ]


def generate_with_drafts(
    model: LogitModel,
    codec: TextCodec,
    prompt: Any,
    rules: TextRules,
    sampling: Sampling | None = None,
    *,
    drafts: Sequence[NGrams] = (),
    cost: RowCost | None = None,
    max_rows: int = 16_384,
) -> Generated:
    """What `generate` returns, its text and tokens to the last bit; only forwards and rows differ.

    Guesses come from the n-grams of the prompt, of the text so far and of `drafts`. `cost` (default: rows are
    free) decides how many ride along, `max_rows` is the room of the model: rejected rows use it up, so fewer
    are guessed near its end. Raises as `generate`; CapacityError if not even the plain rows fit.
    """
    sampling, cost = sampling or Sampling(), cost or RowCost.flat()
    known = check_prompt(prompt)
    writing = Writing(rules, codec)
    if known.size + rules.max_tokens - 1 > max_rows:
        raise CapacityError(
            f"prompt of {known.size} and text of {rules.max_tokens} tokens do not fit {max_rows} rows; "
            "shorten one of them"
        )
    tree, first, above = _Tree.chain(known.tolist()), known.size - 1, -1
    rows = forwards = 0
    own = GrowingNGrams()
    own.begin(known.tolist())
    own.begin([START])
    while True:
        spare = max_rows - rows - len(tree.tokens) - (rules.max_tokens - 1 - len(writing.tokens))
        _grow(tree, writing, (*drafts, own), cost, min(spare, MAX_DRAFT_ROWS))
        logits = _feed(model, tree, rows, above, first)
        forwards += 1
        before = len(writing.tokens)
        at = _accept(writing, tree, logits, sampling, first)
        for token in writing.tokens[before:]:
            own.append(token)
        above, rows = rows + at, rows + len(tree.tokens)
        if writing.finish_reason is not None:
            return finished(writing, forwards, rows)
        # The last token was chosen but is not fed yet; what is pending after it is certain.
        tree, first = _Tree.chain([writing.tokens[-1]]), 0


def _grow(tree: _Tree, writing: Writing, tables: Sequence[NGrams], cost: RowCost, max_draft: int) -> None:
    """Adds the guesses below the last row with the most expected tokens per millisecond, likeliest first.

    A guess is worth its chance to be a token of the text. Rows that plain decoding would not feed (behind the
    last token allowed) are never guessed.
    """
    base, max_depth = len(tree.tokens), writing.rules.max_tokens - 1 - len(writing.tokens)
    history = [START, *writing.tokens]
    milliseconds = cost.first(base + max(max_draft, 0) + 1)[base:].tolist()
    heap: list[tuple[float, int, int, int, tuple[int, ...]]] = []
    serial = itertools.count()  # orders equal chances; older first
    parent, chance, expected = base - 1, 1.0, 1.0
    path: tuple[int, ...] = ()
    best, size = expected / milliseconds[0], base
    while _may_pay(expected, chance, milliseconds[len(tree.tokens) - base + 1 :], best):
        if len(path) < max_depth:
            for token, share in _next(writing, tables, history, path).items():
                if chance * share >= LEAST_CHANCE and token not in writing.controls:
                    heapq.heappush(heap, (-chance * share, next(serial), parent, token, path))
        if not heap:
            break
        negative, _, above, token, path = heapq.heappop(heap)
        parent, chance, path = len(tree.tokens), -negative, (*path, token)
        tree.add(token, above)
        expected += chance
        if expected / milliseconds[len(tree.tokens) - base] > best:
            best, size = expected / milliseconds[len(tree.tokens) - base], len(tree.tokens)
    tree.cut(size)


def _may_pay(expected: float, chance: float, milliseconds: Sequence[float], best: float) -> bool:
    """Whether more guesses of at most `chance` each could still raise the `best` tokens per millisecond.

    expected: tokens a forward gives with the guesses so far; milliseconds[n]: its price with n + 1 more.
    """
    return any(expected + chance * (more + 1) > best * ms for more, ms in enumerate(milliseconds))


def _next(
    writing: Writing, tables: Sequence[NGrams], history: Sequence[int], path: tuple[int, ...]
) -> dict[int, float]:
    """Guessed next tokens after `path`; one of chance 1 while tokens are forced."""
    if len(path) < len(writing.pending):
        return {writing.pending[len(path)]: 1.0}
    return likely_next(tables, (*history[-8:], *path))


def _feed(model: LogitModel, tree: _Tree, rows: int, above: int, first: int) -> NDArray[np.float32]:
    """Logits of the tree's rows from `first` on; its top continues row `above`."""
    parents = np.array([above if parent < 0 else rows + parent for parent in tree.parents], np.int32)
    return model.logits(np.array(tree.tokens, np.int32), parents, first)


def _accept(
    writing: Writing, tree: _Tree, logits: NDArray[np.float32], sampling: Sampling, first: int
) -> int:
    """Writes tokens while the next one was guessed; the tree row that the last written token continues."""
    at = first
    while (token := writing.choose(logits[at - first], sampling)) is not None:
        below = tree.children[at].get(token)
        if below is None:
            break
        at = below
    return at
