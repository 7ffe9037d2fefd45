"""What a trie answers: children, subtrees and remaining lengths of nodes, as flat arrays. Knows no trie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.sequences import Int64

Int32 = NDArray[np.int32]


@dataclass(frozen=True)
class Children:
    """Children of n nodes, CSR: node i has children ptr[i]:ptr[i+1], ascending by token.

    ptr int64[n+1]; tokens int32[C]; lo, hi int64[C]; is_leaf bool[C]: the child ends its entry, hi == lo+1.
    """

    ptr: Int64
    tokens: Int32
    lo: Int64
    hi: Int64
    is_leaf: NDArray[np.bool_]


@dataclass(frozen=True)
class Subtree:
    """All non-leaf nodes strictly below n given nodes, parents before children (level by level).

    tokens int32[T]; parents int32[T]: row of the parent, or -(1+i) directly below given node i;
    lo, hi int64[T]; depth int32[T]; `children`: Children of the T rows, leaves included.
    Rows are numbered as the non-leaf children appear in the given nodes' children, then in `children`.
    """

    tokens: Int32
    parents: Int32
    lo: Int64
    hi: Int64
    depth: Int32
    children: Children


@dataclass(frozen=True)
class Remaining:
    """Tokens still to come below n nodes, end token included: longest int64[n], mean float64[n]."""

    longest: Int64
    mean: NDArray[np.float64]


def node_arrays(lo: Any, hi: Any, depth: Any) -> tuple[Int64, Int64, Int64]:
    """The columns of n nodes, or of one given as numbers, as int64[n] each."""
    return _column(lo), _column(hi), _column(depth)


def _column(numbers: Any) -> Int64:
    if type(numbers) is np.ndarray and numbers.dtype == np.int64 and numbers.ndim == 1:
        return numbers
    return np.atleast_1d(np.asarray(numbers, dtype=np.int64))


def join_levels(levels: list[tuple[Int32, Int64, Int64, Int64, Int64]], found: list[Children]) -> Subtree:
    empty = np.zeros(0, dtype=np.int64)
    columns = [np.concatenate(column) for column in zip(*levels, strict=True)] or [empty] * 5
    token, parent, lo, hi, depth = columns
    counts = [np.diff(children.ptr) for children in found]
    ptr = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.concatenate([*counts, empty]))])
    children = Children(
        ptr.astype(np.int64),
        np.concatenate([*(c.tokens for c in found), empty]).astype(np.int32),
        np.concatenate([*(c.lo for c in found), empty]),
        np.concatenate([*(c.hi for c in found), empty]),
        np.concatenate([*(c.is_leaf for c in found), empty.astype(bool)]),
    )
    return Subtree(token.astype(np.int32), parent.astype(np.int32), lo, hi, depth.astype(np.int32), children)
