"""A tokenizer of byte pieces and a model of hashes: free text without weights.

Logits depend on the token path alone, as those of the real engine do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from search_fakes import mix

from adtrie.search.sampling import Sampling
from adtrie.search.text_rules import TextRules

END = 0
# Pieces overlap, so that one phrase has many spellings; two are halves of one character.
PIECES = [
    *(bytes([c]) for c in b"abcdeBAD .!\n"),
    *(b" ad", b"ad", b"Ba", b"bad", b" be", b" a", b"ed", b"cab", b" dad", b"a b", b"e.", b"\n\n"),
    *(b"\xc3", b"\xa9"),
]


class PieceCodec:
    """Tokens 1, 2, ... are PIECES; token 0 ends a text."""

    vocab_size = len(PIECES) + 1
    control_tokens = frozenset({END})

    def encode(self, text: str) -> NDArray[np.int32]:
        """Longest piece first."""
        data, out = text.encode(), []
        by_size = sorted(range(len(PIECES)), key=lambda i: -len(PIECES[i]))
        while data:
            piece = next((i for i in by_size if data.startswith(PIECES[i])), None)
            assert piece is not None, f"no piece begins {data!r}"
            out.append(piece + 1)
            data = data[len(PIECES[piece]) :]
        return np.array(out, dtype=np.int32)

    def decode(self, tokens: Sequence[int]) -> str:
        """Bytes joined; a character that is not complete becomes U+FFFD."""
        joined = b"".join(b"<end>" if token == END else PIECES[token - 1] for token in tokens)
        return joined.decode("utf-8", "replace")


class HashModel:
    """Logits float32[T, V + 2] (two rows no token has); counts forwards and rows; refuses a misuse."""

    def __init__(
        self, seed: int = 0, sigma: float = 2.0, end: float = 0.0, order: int = 3, step: float = 0.0
    ):
        self.seed, self.sigma, self.end, self.order, self.step = seed, sigma, end, order, step
        self.contexts: list[tuple[int, ...]] = []
        self.calls: list[int] = []

    def logits(
        self, tokens: NDArray[np.int32], parents: NDArray[np.int32], first: int = 0
    ) -> NDArray[np.float32]:
        assert tokens.dtype == parents.dtype == np.int32 and tokens.shape == parents.shape
        assert 0 <= first < tokens.size
        start = len(self.contexts)
        for index, (token, parent) in enumerate(zip(tokens.tolist(), parents.tolist(), strict=True)):
            assert -1 <= parent < start + index
            assert token != END, "an end token is never fed"
            before = () if parent < 0 else self.contexts[parent]
            self.contexts.append((*before, token)[-self.order :])
        self.calls.append(tokens.size)
        return np.stack([self._row(context) for context in self.contexts[start + first :]])

    def _row(self, context: tuple[int, ...]) -> NDArray[np.float32]:
        key = np.uint64(hash((self.seed, *context)) & (2**64 - 1))
        with np.errstate(over="ignore"):
            noise = mix(mix(np.arange(PieceCodec.vocab_size + 2, dtype=np.uint64) + key) + key)
        values = (noise / 2.0**64 - 0.5) * self.sigma * 4
        values[END] += self.end
        values[-2:] = 100.0
        if self.step:
            values = np.floor(values / self.step) * self.step
        return values.astype(np.float32)


CODEC = PieceCodec()
PROMPT = CODEC.encode("bad cab a bed.\n")
PHRASES = st.text("abcdeBAD .é", min_size=1, max_size=6).filter(lambda text: bool(text.strip()))

rules = st.builds(
    TextRules,
    max_tokens=st.integers(1, 24),
    max_chars=st.none() | st.integers(1, 40),
    stop=st.lists(st.sampled_from(["\n", ".", "ad", "b e"]), max_size=2).map(tuple),
    must_mention=st.lists(PHRASES, max_size=2).map(tuple),
    must_not_say=st.lists(PHRASES, max_size=3).map(tuple),
)
samplings = st.just(Sampling()) | st.builds(
    Sampling,
    temperature=st.floats(0.1, 3.0),
    top_k=st.integers(0, 8),
    top_p=st.floats(0.1, 1.0),
    min_p=st.floats(0.0, 0.5),
    seed=st.integers(0, 1000),
)
models = st.builds(
    dict,
    seed=st.integers(0, 10_000),
    end=st.floats(-4.0, 4.0),
    order=st.integers(1, 3),
    step=st.sampled_from([0.0, 1.0]),
)
