"""A tokenizer of UTF-8 bytes: enough to build a catalogue without a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class ByteWords:
    """Token = byte."""

    vocab_size = 256
    fingerprint = "bytes"

    def encode(self, text: str) -> NDArray[np.int32]:
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int32)

    def encode_batch(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        rows = [self.encode(text) for text in texts]
        return np.concatenate([*rows, np.zeros(0, np.int32)]), np.cumsum([0, *map(len, rows)])
