"""Brute-force trie of nested dicts: what every Trie answer is compared with. Knows nothing of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Node:
    """A trie node: its prefix, its children by token, and the sorted entries [lo, hi) below it."""

    prefix: tuple[int, ...]
    children: dict[int, Node] = field(default_factory=dict)
    lo: int = 0
    hi: int = 0

    @property
    def depth(self) -> int:
        return len(self.prefix)

    @property
    def is_leaf(self) -> bool:
        return not self.children

    def inner_below(self) -> list[Node]:
        """All non-leaf nodes strictly below."""
        found = []
        for child in self.children.values():
            if not child.is_leaf:
                found += [child, *child.inner_below()]
        return found

    def all_nodes(self) -> list[Node]:
        """This node and all non-leaf nodes below."""
        return [self, *self.inner_below()]


def build(sequences: Sequence[tuple[int, ...]]) -> Node:
    """The trie of distinct sequences, none a prefix of another."""
    entries = sorted(sequences)
    root = Node((), hi=len(entries))
    for e, entry in enumerate(entries):
        node = root
        for depth, token in enumerate(entry, start=1):
            if token not in node.children:
                node.children[token] = Node(entry[:depth], lo=e)
            node = node.children[token]
            node.hi = e + 1
    return root
