"""Catalogues that change while they are searched: versions, their log, compaction. Knows no model."""

from adtrie.live.batch import Applied, Batch
from adtrie.live.catalogue import LiveCatalogue
from adtrie.live.version import Version

__all__ = ["Applied", "Batch", "LiveCatalogue", "Version"]
