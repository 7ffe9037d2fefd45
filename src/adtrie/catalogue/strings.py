"""Many strings in one UTF-8 block with offsets. Knows nothing of what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.sequences import Int64, gather_ranges


def pack_strings(strings: Sequence[str]) -> tuple[bytes, Int64]:
    """UTF-8 of all strings joined, and the length of each in bytes int64[n]."""
    joined = "".join(strings)
    block = joined.encode("utf-8")
    if len(block) == len(joined):
        return block, np.fromiter(map(len, strings), dtype=np.int64, count=len(strings))
    lengths = (len(string.encode("utf-8")) for string in strings)
    return block, np.fromiter(lengths, dtype=np.int64, count=len(strings))


@dataclass(frozen=True)
class StringTable:
    """String i is block[offsets[i]:offsets[i+1]]; block uint8[bytes], offsets uint32|uint64[n+1]."""

    block: NDArray[np.uint8]
    offsets: NDArray[Any]

    @classmethod
    def of(cls, blocks: Sequence[bytes], lengths: Sequence[Int64]) -> StringTable:
        """The table of packed chunks."""
        return cls._make(
            np.frombuffer(b"".join(blocks), dtype=np.uint8),
            np.concatenate([np.zeros(0, dtype=np.int64), *lengths]),
        )

    @classmethod
    def _make(cls, block: NDArray[np.uint8], lengths: Int64) -> StringTable:
        offsets = np.zeros(len(lengths) + 1, dtype=np.uint32 if len(block) < 1 << 32 else np.uint64)
        offsets[1:] = np.cumsum(lengths)
        return cls(block, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, index: Int64) -> StringTable:
        """The table of the strings at `index`, in that order."""
        starts = self.offsets[index].astype(np.int64)
        lengths = self.offsets[index + 1].astype(np.int64) - starts
        return StringTable._make(gather_ranges(self.block, starts, lengths), lengths)

    def raw(self, i: int) -> bytes:
        """UTF-8 of string i; damaged offsets give other or no bytes, never an error."""
        return self.block[int(self.offsets[i]) : int(self.offsets[i + 1])].tobytes()

    def text(self, i: int) -> str:
        """String i; bytes damaged in a snapshot decode to replacement characters."""
        return self.raw(i).decode("utf-8", errors="replace")

    @property
    def num_bytes(self) -> int:
        """Bytes of block and offsets."""
        return self.block.nbytes + self.offsets.nbytes
