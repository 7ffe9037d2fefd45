"""Ways of keeping allowed sequences, behind one face: build, bytes, the children of the nodes of a beam step.

Written here from their descriptions: a nested dictionary walked from the root for every beam, as GENRE does,
and a CSR trie whose step gathers the widest branch of its level for every beam (dense tables for the first
levels), as STATIC does. The third is ours. Knows no model and no clock.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue import Trie
from adtrie.catalogue.sequences import common_prefixes, sort_sequences

Prefix = tuple[int, ...]
DENSE_CELLS = 1 << 26  # a V x V table is kept for the second level up to this size


class Structure(Protocol):
    """One structure holding one set of sequences, none a prefix of another."""

    num_bytes: int | None  # None: known from the process's memory only

    def start(self, prefixes: list[Prefix]) -> Any:
        """What beams at these prefixes carry from step to step; not timed."""

    def step(self, state: Any) -> Any:
        """The children of all beams, in the form the structure gives them; timed."""

    def listed(self, state: Any) -> list[list[int]]:
        """The tokens of each beam's children, ascending: the answer that is checked."""


class OurTrie:
    """The implicit radix trie of the package: nodes are ranges of entries."""

    def __init__(self, tokens: NDArray[Any], offsets: NDArray[np.int64], vocab: int) -> None:
        self.trie = Trie.from_sequences(tokens, offsets, vocab)[0]
        self.num_bytes: int | None = self.trie.num_bytes

    def start(self, prefixes: list[Prefix]) -> Any:
        nodes = np.array([self._node(prefix) for prefix in prefixes], np.int64)
        return np.ascontiguousarray(nodes.T)

    def _node(self, prefix: Prefix) -> tuple[int, int, int]:
        lo, hi = 0, self.trie.num_entries
        for depth, token in enumerate(prefix):
            below = self.trie.children(lo, hi, depth)
            at = int(np.searchsorted(below.tokens, token))
            lo, hi = int(below.lo[at]), int(below.hi[at])
        return lo, hi, len(prefix)

    def step(self, state: Any) -> Any:
        return self.trie.children(*state)

    def listed(self, state: Any) -> list[list[int]]:
        below = self.step(state)
        return [part.tolist() for part in np.split(below.tokens, below.ptr[1:-1])]


class NestedDict:
    """A dictionary of dictionaries; every step walks each beam's tokens from the root."""

    num_bytes: int | None = None

    def __init__(self, tokens: NDArray[Any], offsets: NDArray[np.int64], vocab: int) -> None:
        self.root: dict[int, Any] = {}
        for begin in range(0, len(offsets) - 1, 1 << 16):  # in chunks: a list of all tokens is as large again
            part = offsets[begin : begin + (1 << 16) + 1]
            flat, at = tokens[part[0] : part[-1]].tolist(), (part - part[0]).tolist()
            for first, last in pairwise(at):
                node = self.root
                for token in flat[first:last]:
                    node = node.setdefault(token, {})

    def start(self, prefixes: list[Prefix]) -> Any:
        return prefixes

    def step(self, state: Any) -> Any:
        found = []
        for prefix in state:
            node = self.root
            for token in prefix:
                node = node[token]
            found.append(list(node))
        return found

    def listed(self, state: Any) -> list[list[int]]:
        return [sorted(tokens) for tokens in self.step(state)]


class PaddedCsr:
    """States with edges (token, next state) in rows; a step takes the most edges of its level for each beam.

    The first level is a mask over the vocabulary, the second a dense V x V table of states where it is small.
    A sequence ends in a state without edges; the original pads all to one length instead.
    """

    def __init__(self, tokens: NDArray[Any], offsets: NDArray[np.int64], vocab: int) -> None:
        order = sort_sequences(tokens, offsets)
        starts, lengths = offsets[:-1][order], np.diff(offsets)[order]
        shared = common_prefixes(tokens, starts, lengths)
        owner = np.zeros(len(order), np.int64)  # the state of each sequence at this depth, 0 is the root
        owners, labels, limits, num_states = [], [], [], 1
        for depth in range(int(lengths.max())):
            alive = lengths > depth
            is_new = (shared <= depth) & alive
            new = np.flatnonzero(is_new)
            owners.append(owner[new])
            labels.append(tokens[starts[new] + depth].astype(np.int32))
            limits.append(int(np.diff(np.flatnonzero(np.diff(owner[new], prepend=-1, append=-1))).max()))
            owner = np.where(alive, num_states - 1 + np.cumsum(is_new), owner)
            num_states += new.size
        # Edges are in the order of their owners, and states in the order of the edges that lead to them.
        self.packed = np.empty((num_states - 1, 2), np.int32)
        self.packed[:, 0], self.packed[:, 1] = np.concatenate(labels), np.arange(1, num_states)
        self.indptr = np.zeros(num_states + 1, np.int32)
        self.indptr[1:] = np.cumsum(np.bincount(np.concatenate(owners), minlength=num_states))
        self.limits = limits
        self._add_dense(vocab)
        arrays = (self.packed, self.indptr, self.start_mask, self.dense_mask, self.dense_states)
        self.num_bytes: int | None = sum(array.nbytes for array in arrays)

    def _add_dense(self, vocab: int) -> None:
        """Tables of the first level and, if small enough, of the second."""
        first = self.packed[: self.indptr[1]]
        self.start_mask = np.zeros(vocab, np.bool_)
        self.start_mask[first[:, 0]] = True
        side = vocab if vocab * vocab <= DENSE_CELLS else 0
        self.dense_mask = np.zeros((side, side), np.bool_)
        self.dense_states = np.zeros((side, side), np.int32)
        for token, state in first.tolist() if side else ():
            below = self.packed[self.indptr[state] : self.indptr[state + 1]]
            self.dense_mask[token, below[:, 0]] = True
            self.dense_states[token, below[:, 0]] = below[:, 1]

    def start(self, prefixes: list[Prefix]) -> Any:
        states = []
        for prefix in prefixes:
            state = 0
            for token in prefix:
                below = self.packed[self.indptr[state] : self.indptr[state + 1]]
                state = int(below[np.searchsorted(below[:, 0], token), 1])
            states.append(state)
        depth = len(prefixes[0])
        tokens = np.array([prefix[0] if prefix else 0 for prefix in prefixes])
        return depth, np.array(states), tokens

    def step(self, state: Any) -> Any:
        depth, states, tokens = state
        if depth == 0:
            return self.start_mask
        if depth == 1 and self.dense_mask.size:
            return self.dense_mask[tokens], self.dense_states[tokens]
        at = self.indptr[states][:, None] + np.arange(self.limits[depth])
        valid = at < self.indptr[states + 1][:, None]
        return valid, self.packed.take(at, axis=0, mode="clip")

    def listed(self, state: Any) -> list[list[int]]:
        found = self.step(state)
        if state[0] == 0:
            return [np.flatnonzero(found).tolist()]
        if found[1].ndim == 2:
            return [np.flatnonzero(mask).tolist() for mask in found[0]]
        return [edges[valid][:, 0].tolist() for valid, edges in zip(*found, strict=True)]


STRUCTURES = {"adtrie": OurTrie, "nested dictionary": NestedDict, "padded CSR": PaddedCsr}
