"""Trie nodes, bits of entries and texts like a query: the fast twin of parts of adtrie.catalogue."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_Found = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]

class Trie:
    def __init__(
        self,
        edges: NDArray[Any],
        offsets: NDArray[np.uint32],
        shared: NDArray[np.uint8],
        key: NDArray[np.int64],
        hi: NDArray[np.uint32],
        ptr: NDArray[np.uint32],
        first: NDArray[np.uint32],
        max_depth: int,
        vocab_size: int,
    ) -> None: ...
    def children(
        self,
        lo: NDArray[np.int64],
        hi: NDArray[np.int64],
        depth: NDArray[np.int64],
        words: NDArray[np.uint64] | None,
        ranks: NDArray[np.uint32] | None,
    ) -> _Found: ...

def keep_best(
    width: int,
    depth: NDArray[np.int64],
    score: NDArray[np.float64],
    done_lo: NDArray[np.int64],
    done_score: NDArray[np.float64],
    ptr: NDArray[np.int64],
    tokens: NDArray[np.int32],
    lo: NDArray[np.int64],
    hi: NDArray[np.int64],
    is_leaf: NDArray[np.bool_],
    scores: NDArray[np.float64],
    first_row: int,
) -> tuple[
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.float64],
    NDArray[np.int64],
    NDArray[np.float64],
    float,
]: ...
def mark(words: NDArray[np.uint64], entries: NDArray[np.uint32], size: int) -> None: ...
def mark_ranges(
    words: NDArray[np.uint64],
    entries: NDArray[np.uint32],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    size: int,
) -> None: ...
def mark_between(
    words: NDArray[np.uint64],
    numbers: NDArray[np.uint8],
    first: NDArray[np.uint8],
    last: NDArray[np.uint8],
) -> None: ...
def ranks(words: NDArray[np.uint64]) -> NDArray[np.uint32]: ...
def without(words: NDArray[np.uint64], size: int, places: NDArray[np.uint32]) -> NDArray[np.uint64]: ...
def cosines(
    letters: NDArray[np.uint32],
    of_count: NDArray[np.float64],
    grams: NDArray[np.uint64],
    rarity: NDArray[np.float64],
    ptr: NDArray[np.int64],
    docs: NDArray[np.int32],
    weights: NDArray[np.float32],
    num_texts: int,
) -> NDArray[np.float32]: ...
def merged_children(
    base: Trie,
    base_words: NDArray[np.uint64] | None,
    base_ranks: NDArray[np.uint32] | None,
    added: Trie,
    added_words: NDArray[np.uint64] | None,
    added_ranks: NDArray[np.uint32] | None,
    gaps: NDArray[np.int64],
    added_at: NDArray[np.int64],
    lo: NDArray[np.int64],
    hi: NDArray[np.int64],
    depth: NDArray[np.int64],
) -> _Found: ...
