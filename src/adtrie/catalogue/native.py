"""The native module of a catalogue, None in a source tree that was not built: NumPy then does the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adtrie import _trie as trie
else:
    try:
        from adtrie import _trie as trie
    except ImportError:
        trie = None

__all__ = ["trie"]
