"""Where a sequence stands, or would stand, among those of a trie. Knows no text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adtrie.catalogue.nodes import Int32
from adtrie.catalogue.trie import Trie


@dataclass(frozen=True)
class Place:
    """`entry`: the first entry of the trie that is not before the sequence, num_entries if there is none.

    found: that entry is the sequence. before, after: tokens it shares with the entries entry - 1 and entry.
    """

    entry: int
    before: int
    after: int
    found: bool = False


def locate(trie: Trie, tokens: Int32) -> Place:
    """The place of a sequence in a whole trie; it ends with the end token as all entries do."""
    lo, hi = 0, trie.num_entries
    for depth, token in enumerate(tokens.tolist()):
        if hi - lo == 1:
            return _beside(trie, lo, tokens)
        below = trie.children(lo, hi, depth)
        at = int(below.tokens.searchsorted(token))
        if at == len(below.tokens) or int(below.tokens[at]) != token:
            entry = hi if at == len(below.tokens) else int(below.lo[at])
            before = depth if at > 0 else _shared(trie, lo)
            return Place(entry, before, depth if entry < hi else _shared(trie, hi))
        lo, hi = int(below.lo[at]), int(below.hi[at])
    return Place(lo, _shared(trie, lo), len(tokens), True)


def _shared(trie: Trie, entry: int) -> int:
    """Tokens an entry shares with the one before it; 0 at both ends."""
    return int(trie.shared[entry]) if 0 < entry < trie.num_entries else 0


def _beside(trie: Trie, entry: int, tokens: Int32) -> Place:
    """The place before or after the one entry that shares the most tokens with the sequence."""
    other = trie.tokens(entry)
    size = min(len(other), len(tokens))
    differ = np.flatnonzero(other[:size] != tokens[:size])
    if not len(differ):
        return Place(entry, _shared(trie, entry), size, True)
    common = int(differ[0])
    if tokens[common] < other[common]:
        return Place(entry, _shared(trie, entry), common)
    return Place(entry + 1, common, _shared(trie, entry + 1))
