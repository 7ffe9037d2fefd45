"""A tokenizer whose tokens are the UTF-8 bytes: enough to build catalogues without a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class ByteTokenizer:
    """Token = byte; with `fold_case`, upper and lower case make the same tokens (as lossy tokenizers do)."""

    def __init__(self, vocab_size: int = 256, fold_case: bool = False) -> None:
        self.vocab_size = vocab_size
        self.fingerprint = "byte" * 16
        self.fold_case = fold_case

    def encode(self, text: str) -> NDArray[np.int32]:
        text = text.lower() if self.fold_case else text
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int32)

    def encode_batch(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        rows = [self.encode(text) for text in texts]
        lengths = np.array([0, *map(len, rows)], dtype=np.int64)
        return np.concatenate([*rows, np.zeros(0, dtype=np.int32)]), np.cumsum(lengths)
