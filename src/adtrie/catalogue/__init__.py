"""Normalised rows, their trie over token sequences, and snapshots. Knows no model and no search."""

from adtrie.catalogue.bids import Bids
from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.build import BuildReport, Merge
from adtrie.catalogue.catalogue import Catalogue, Payload
from adtrie.catalogue.clusters import balanced_codes
from adtrie.catalogue.code_tokens import CodeTokens, token_range, unused_tokens
from adtrie.catalogue.codes import CodeTable
from adtrie.catalogue.eligible import EligibleTrie
from adtrie.catalogue.fusion import Fusion
from adtrie.catalogue.groups import Groups
from adtrie.catalogue.layout import CatalogueInfo
from adtrie.catalogue.neighbours import Neighbours
from adtrie.catalogue.nodes import Children, Remaining, Subtree
from adtrie.catalogue.prior import MAX_COMPACT, Bonus, Compact, Prior, Sum
from adtrie.catalogue.rows import Refusal
from adtrie.catalogue.selection import Selection
from adtrie.catalogue.spelling import Coding
from adtrie.catalogue.trie import Trie

__all__ = [
    "MAX_COMPACT",
    "Bids",
    "Bonus",
    "BuildReport",
    "Catalogue",
    "CatalogueInfo",
    "Children",
    "CodeTable",
    "CodeTokens",
    "Coding",
    "Compact",
    "EligibleTrie",
    "EntrySet",
    "Fusion",
    "Groups",
    "Merge",
    "Neighbours",
    "Payload",
    "Prior",
    "Refusal",
    "Remaining",
    "Selection",
    "Subtree",
    "Sum",
    "Trie",
    "balanced_codes",
    "token_range",
    "unused_tokens",
]
