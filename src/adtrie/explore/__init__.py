"""A local web page that shows a search at work: one page, one question endpoint, this machine only."""

from adtrie.explore.server import ExploreServer

__all__ = ["ExploreServer"]
