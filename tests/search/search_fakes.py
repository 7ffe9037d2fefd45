"""A scorer made of hashes, which also checks how it is used; random tries; predicted milliseconds.

The score of a token depends on its path alone, so feeding order cannot change it, as with the real engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from adtrie.catalogue.trie import Trie
from adtrie.search import RowCost

PROMPT = np.array([7, 3, 9], dtype=np.int32)
END = 1_000_000


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64, uint64 of the same shape."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class HashScorer:
    """Child log-probabilities float32 from the hash of the token path.

    sigma: standard deviation of the logits; leak: mean nats of the mass outside the listed children (raw);
    step: scores are rounded down to its multiples (ties); renormalised: log-softmax over the listed children.
    """

    def __init__(
        self,
        seed: int = 0,
        sigma: float = 2.0,
        leak: float = 0.1,
        step: float = 0.0,
        renormalised: bool = False,
        prompt: NDArray[np.int32] = PROMPT,
    ) -> None:
        self.seed, self.sigma, self.leak, self.step = seed, sigma, leak, step
        self.renormalised = renormalised
        self.prompt = prompt
        self.paths = np.zeros(0, np.uint64)  # hash of each row's path
        self.fed: set[tuple[int, int]] = set()  # (parent row, token)
        self.calls: list[int] = []  # rows per forward, the prompt's included

    def score(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        self.check(tokens, parents, child_ptr, child_tokens)
        rows = set(zip(parents.tolist(), tokens.tolist(), strict=True))
        assert len(rows) == tokens.size and not rows & self.fed, "a row is fed once"
        self.fed |= rows
        start = self.paths.size
        self.paths = np.concatenate((self.paths, np.zeros(tokens.size, np.uint64)))
        for i, (token, parent) in enumerate(zip(tokens.tolist(), parents.tolist(), strict=True)):
            above = self.paths[parent : parent + 1] if parent >= 0 else np.array([self.seed], np.uint64)
            self.paths[start + i] = mix(above * np.uint64(3) + np.uint64(token + 1))[0]
        self.calls.append(tokens.size)
        return self.log_probabilities(self.paths[start:], child_ptr, child_tokens)

    def log_probabilities(
        self, paths: NDArray[np.uint64], ptr: NDArray[np.int64], tokens: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        count = np.diff(ptr)
        keys = mix(np.repeat(paths, count) ^ (tokens.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)))
        uniform = np.stack([(mix(keys + np.uint64(i)) >> np.uint64(11)) * 2.0**-53 for i in range(4)])
        logits = self.sigma * (uniform.sum(0) - 2.0) * 1.732
        out = np.zeros(tokens.size, np.float32)
        for begin, end in pairwise(ptr.tolist()):
            if end > begin:  # row by row: a sum must not depend on the other rows
                part = logits[begin:end] - logits[begin:end].max()
                out[begin:end] = part - np.log(np.exp(part).sum())
        if not self.renormalised:
            lost = (mix(paths + np.uint64(9)) >> np.uint64(11)) * 2.0**-53
            out += np.repeat(self.leak * np.log1p(-lost), count).astype(np.float32)
        if self.step:
            out = np.floor(out / np.float32(self.step)) * np.float32(self.step)
            if self.renormalised:
                out[np.repeat(count == 1, count)] = 0.0
        return out.astype(np.float32)

    def check(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        ptr: NDArray[np.int64],
        children: NDArray[np.int32],
    ) -> None:
        """The protocol: dtypes, known parents, the prompt once and first, no end token fed, no row twice."""
        assert (tokens.dtype, parents.dtype) == (np.int32, np.int32)
        assert (ptr.dtype, children.dtype) == (np.int64, np.int32)
        assert tokens.size > 0 and parents.shape == tokens.shape and ptr.shape == (tokens.size + 1,)
        assert ptr[0] == 0 and ptr[-1] == children.size and (np.diff(ptr) >= 0).all()
        ids = self.paths.size + np.arange(tokens.size)
        assert (parents < ids).all()
        fed = 0
        if not self.calls:
            fed = self.prompt.size
            assert np.array_equal(tokens[:fed], self.prompt)
            assert np.array_equal(parents[:fed], np.arange(-1, fed - 1))
            assert (np.diff(ptr)[: fed - 1] == 0).all() and ptr[fed] > 0
        assert (parents[fed:] >= self.prompt.size - 1).all(), "trie rows hang below the prompt"
        assert (tokens[fed:] != END).all(), "an end token is never fed"

    def milliseconds(self, cost: RowCost) -> float:
        """Predicted milliseconds of all forwards so far."""
        return float(cost.ms_of(self.calls).sum())


def make_trie(sequences: Sequence[Sequence[int]]) -> Trie:
    """The trie of distinct sequences, each given an end token."""
    distinct = sorted({tuple(s) for s in sequences})
    tokens = np.array([t for s in distinct for t in (*s, END)], dtype=np.int64)
    offsets = np.zeros(len(distinct) + 1, np.int64)
    np.cumsum([len(s) + 1 for s in distinct], out=offsets[1:])
    return Trie.from_sequences(tokens, offsets)[0]


def keyword_trie(num_entries: int, seed: int = 0, vocab: int = 1500) -> Trie:
    """Entries of 3 to 12 tokens that grow from prefixes of earlier ones, so that they part at every depth."""
    rng = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, vocab + 1)
    weights /= weights.sum()
    sequences: dict[tuple[int, ...], None] = {(0,): None}
    while len(sequences) < num_entries:
        old = list(sequences)[int(rng.integers(len(sequences)))] if rng.random() < 0.7 else ()
        head = old[: int(rng.integers(0, len(old) + 1))]
        length = int(np.clip(rng.poisson(6.0), len(head) + 1, 11))
        tail = rng.choice(vocab, max(length - len(head), 2), p=weights)
        sequences[(*head, *tail.tolist())[:11]] = None
    return make_trie(list(sequences))


@st.composite
def tries(draw: st.DrawFn) -> Trie:
    """Single paths, long shared prefixes, wide roots and small random tries."""
    vocab = draw(st.sampled_from([1, 2, 3, 40]))
    words = st.lists(st.integers(0, vocab - 1), min_size=0, max_size=6)
    tails = draw(st.lists(words, min_size=1, max_size=draw(st.sampled_from([1, 4, 40])), unique_by=tuple))
    head = draw(st.lists(st.integers(0, vocab - 1), max_size=8))
    return make_trie([[*head, *tail] for tail in tails])


@st.composite
def scorers(draw: st.DrawFn) -> HashScorer:
    """Flat to peaked, raw and renormalised, exact and coarsely rounded."""
    return HashScorer(
        seed=draw(st.integers(0, 2**32)),
        sigma=draw(st.sampled_from([0.0, 0.5, 3.0, 8.0])),
        leak=draw(st.sampled_from([0.0, 0.1, 2.0])),
        step=draw(st.sampled_from([0.0, 0.0, 1.0])),
        renormalised=draw(st.booleans()),
    )


def copy(scorer: HashScorer) -> HashScorer:
    """The same model with no row fed yet."""
    return HashScorer(scorer.seed, scorer.sigma, scorer.leak, scorer.step, scorer.renormalised, scorer.prompt)


COSTS = (
    RowCost.flat(),
    RowCost.kneed(8),
    RowCost.kneed(1),
    RowCost.measured([1, 8, 64, 1024], [3.0, 4.0, 12.0, 200.0]),
)
