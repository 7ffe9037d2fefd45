"""Normalised rows, their trie over token sequences, and snapshots. Knows no model and no search."""

from adtrie.catalogue.bids import Bids
from adtrie.catalogue.bitmap import EntrySet
from adtrie.catalogue.build import BuildReport, Merge
from adtrie.catalogue.catalogue import Catalogue, Payload
from adtrie.catalogue.eligible import EligibleTrie
from adtrie.catalogue.layout import CatalogueInfo
from adtrie.catalogue.nodes import Children, Remaining, Subtree
from adtrie.catalogue.prior import Bonus, Prior, Sum
from adtrie.catalogue.rows import Refusal
from adtrie.catalogue.selection import Selection
from adtrie.catalogue.trie import Trie

__all__ = [
    "Bids",
    "Bonus",
    "BuildReport",
    "Catalogue",
    "CatalogueInfo",
    "Children",
    "EligibleTrie",
    "EntrySet",
    "Merge",
    "Payload",
    "Prior",
    "Refusal",
    "Remaining",
    "Selection",
    "Subtree",
    "Sum",
    "Trie",
]
