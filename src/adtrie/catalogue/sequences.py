"""Arithmetic on flat arrays of variable-length sequences: gather, sort, common prefixes.

Knows no trie and no text; everything is vectorised over sequences.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import CatalogueError

Int64 = NDArray[np.int64]
_GATHER_CHUNK = 1 << 22  # elements gathered at once: bounds the index array to 32 MiB


def row_pointers(counts: Int64) -> Int64:
    """int64[n+1]: where the entries of each of n rows begin and end in a flat array, from their counts."""
    ptr = np.zeros(len(counts) + 1, dtype=np.int64)
    counts.cumsum(out=ptr[1:])
    return ptr


def range_indices(starts: Int64, counts: Int64) -> Int64:
    """int64[sum(counts)]: starts[0], starts[0]+1, ..., then the same for starts[1], ..."""
    ends = counts.cumsum()
    index: Int64 = np.arange(ends[-1] if len(ends) else 0, dtype=np.int64)
    index += (starts - ends + counts).repeat(counts)
    return index


def gather_ranges(flat: NDArray[Any], starts: Int64, counts: Int64) -> NDArray[Any]:
    """The ranges flat[starts[i] : starts[i] + counts[i]] joined, in bounded scratch memory."""
    ends = np.cumsum(counts)
    out = np.empty(int(ends[-1]) if len(ends) else 0, dtype=flat.dtype)
    first = 0
    while first < len(starts):
        base = int(ends[first] - counts[first])
        last = max(first + 1, int(np.searchsorted(ends, base + _GATHER_CHUNK, side="right")))
        index = range_indices(starts[first:last], counts[first:last])
        out[base : base + len(index)] = flat[index]
        first = last
    return out


def narrow_tokens(tokens: NDArray[Any], vocab_size: int | None) -> NDArray[Any]:
    """The tokens as uint16 if the vocabulary allows, else uint32; CatalogueError for ids out of range."""
    highest = int(tokens.max(initial=0))
    limit = vocab_size if vocab_size is not None else highest + 1
    if int(tokens.min(initial=0)) < 0 or highest >= limit or limit > 1 << 31:
        raise CatalogueError(
            f"trie: token ids {int(tokens.min(initial=0))} to {highest}, expected 0 to {limit - 1}; "
            "use the tokenizer of the model"
        )
    return tokens.astype(np.uint16 if limit <= 1 << 16 else np.uint32)


def _key(tokens: NDArray[Any], starts: Int64, lengths: Int64, first: int) -> NDArray[np.uint64]:
    """uint64[n]: tokens first, first+1, ... of each sequence packed big-endian, zeros past the end."""
    per_key = 8 // tokens.dtype.itemsize
    bits = np.uint64(8 * tokens.dtype.itemsize)
    key = np.zeros(len(starts), dtype=np.uint64)
    for position in range(first, first + per_key):
        inside = position < lengths
        column = tokens.take(starts + position, mode="clip").astype(np.uint64)
        key = (key << bits) | np.where(inside, column, np.uint64(0))
    return key


def sort_sequences(tokens: NDArray[Any], offsets: Int64) -> Int64:
    """Stable lexicographic order int64[N] of sequences tokens[offsets[i]:offsets[i+1]] (uint16 or uint32).

    Sorts by the first 8 bytes, then refines only the groups still tied: most sequences differ early.
    A sequence and its zero-padded extension count as equal; callers end sequences with a token of their own.
    """
    lengths = np.diff(offsets)
    key = _key(tokens, offsets[:-1], lengths, 0)
    order = np.argsort(key, kind="stable")
    key = key[order]
    new_group = np.ones(len(order), dtype=bool)
    new_group[1:] = key[1:] != key[:-1]
    first = 8 // tokens.dtype.itemsize
    longest = int(lengths.max(initial=0))
    while first < longest:
        # Members of a group of two or more: not (starts a group and the next one starts a group too).
        next_new = np.append(new_group[1:], True)
        tied = np.flatnonzero(~(new_group & next_new))
        if not len(tied):
            break
        members = order[tied]
        group = np.cumsum(new_group[tied])
        key = _key(tokens, offsets[members], lengths[members], first)
        refined = np.lexsort((key, group))
        order[tied] = members[refined]
        key, group = key[refined], group[refined]
        new_group[tied[1:]] |= key[1:] != key[:-1]
        first += 8 // tokens.dtype.itemsize
    return order


def common_prefixes(tokens: NDArray[Any], starts: Int64, lengths: Int64) -> Int64:
    """int64[N]: number of leading tokens sequence i shares with sequence i-1 (0 for the first)."""
    shared = np.zeros(len(starts), dtype=np.int64)
    shorter = np.minimum(lengths[1:], lengths[:-1])
    active = np.flatnonzero(shorter > 0) + 1
    depth = 0
    while len(active):
        equal = tokens[starts[active] + depth] == tokens[starts[active - 1] + depth]
        active = active[equal]
        depth += 1
        shared[active] = depth
        active = active[shorter[active - 1] > depth]
    return shared
