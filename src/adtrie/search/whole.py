"""Whether a small set of entries is scored whole in the first forward. A guess of cost; knows no engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adtrie.config import RowCost

if TYPE_CHECKING:
    from adtrie.catalogue.bitmap import EntrySet
    from adtrie.catalogue.trie import Trie

MAX_ENTRIES = 512  # larger sets are searched


def whole_set(
    trie: Trie, entries: EntrySet, prompt_len: int, k: int, cost: RowCost, max_rows: int
) -> NDArray[np.int64] | None:
    """All of `entries` (those of `trie`), as seeds of `exact` which then needs one forward; or None.

    None for more than 512 entries or `max_rows` rows, and where that forward is predicted to cost more than
    k beams step by step: where rows are dear, branch and bound feeds far fewer of them.
    """
    if len(entries) > MAX_ENTRIES:
        return None
    rows = int(trie.num_rows(0, trie.num_entries, 0)[0])
    steps = float(trie.remaining(0, trie.num_entries, 0).mean[0]) - 1
    beams = cost.ms(prompt_len) + steps * cost.ms(min(k, len(entries)))
    if rows > max_rows or cost.ms(prompt_len + rows) > beams:
        return None
    return entries.members()
