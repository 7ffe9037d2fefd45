"""adtrie: a language model that answers only from your catalogue, ranked and exact, in milliseconds.

Data flows one way: models -> engine -> catalogue -> search -> the facade and the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adtrie.api import Model, load_model
    from adtrie.catalogue import Bids, Catalogue, EntrySet, Fusion, Neighbours, Prior, Selection
    from adtrie.creative import Creative, Drafts
    from adtrie.errors import (
        AdtrieError,
        CapacityError,
        CatalogueError,
        FormatError,
        InputError,
        ModelError,
        TokenizerError,
    )
    from adtrie.live import LiveCatalogue
    from adtrie.prompt import PromptTemplate
    from adtrie.request import Hit, Hits, TargetOptions
    from adtrie.search.sampling import Sampling
    from adtrie.search.text_rules import TextRules

__version__ = "0.1.0"

_PLACES = {
    "adtrie.api": ("Model", "load_model"),
    "adtrie.request": ("Hit", "Hits", "TargetOptions"),
    "adtrie.catalogue": ("Bids", "Catalogue", "EntrySet", "Fusion", "Neighbours", "Prior", "Selection"),
    "adtrie.creative": ("Creative", "Drafts"),
    "adtrie.live": ("LiveCatalogue",),
    "adtrie.prompt": ("PromptTemplate",),
    "adtrie.search.sampling": ("Sampling",),
    "adtrie.search.text_rules": ("TextRules",),
    "adtrie.errors": (
        "AdtrieError",
        "CapacityError",
        "CatalogueError",
        "FormatError",
        "InputError",
        "ModelError",
        "TokenizerError",
    ),
}
__all__ = [
    "AdtrieError",
    "Bids",
    "CapacityError",
    "Catalogue",
    "CatalogueError",
    "Creative",
    "Drafts",
    "EntrySet",
    "FormatError",
    "Fusion",
    "Hit",
    "Hits",
    "InputError",
    "LiveCatalogue",
    "Model",
    "ModelError",
    "Neighbours",
    "Prior",
    "PromptTemplate",
    "Sampling",
    "Selection",
    "TargetOptions",
    "TextRules",
    "TokenizerError",
    "__version__",
    "load_model",
]


def __getattr__(name: str) -> object:
    """Public names on first use: `adtrie --help` need not load numpy, tokenizers and the native core."""
    for place, names in _PLACES.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(place), name)
    raise AttributeError(f"module 'adtrie' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
