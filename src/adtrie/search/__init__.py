"""Searches over a catalogue: `stepwise` (the definition), `verify` (same answer, fewer forwards), `exact`."""

from adtrie.config import RowCost
from adtrie.search.deadline import Deadline, Pace
from adtrie.search.enumerate import enumerate_all, score_entries
from adtrie.search.exact import exact
from adtrie.search.finished import Caps
from adtrie.search.scorer import MAX_FORWARD_ROWS, MAX_K, MAX_ROWS, MAX_WIDTH, Scorer, SearchResult
from adtrie.search.stepwise import stepwise
from adtrie.search.verify import verify

__all__ = [
    "MAX_FORWARD_ROWS",
    "MAX_K",
    "MAX_ROWS",
    "MAX_WIDTH",
    "Caps",
    "Deadline",
    "Pace",
    "RowCost",
    "Scorer",
    "SearchResult",
    "enumerate_all",
    "exact",
    "score_entries",
    "stepwise",
    "verify",
]
