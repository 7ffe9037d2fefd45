"""Entries guessed in advance, and the rows that score them with the prompt. They change no answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adtrie.errors import InputError
from adtrie.search.frontier import ROOT, Frontier, Nodes


def check_seeds(seeds: ArrayLike | None, num_entries: int) -> NDArray[np.int64]:
    """Distinct entries int64, ascending; InputError when one is not an entry of the catalogue."""
    if seeds is None:
        return np.zeros(0, np.int64)
    try:
        entries = np.asarray(seeds)
    except (TypeError, ValueError, OverflowError):
        raise InputError("seeds: expected a list of entry numbers, got rows of unequal length") from None
    if entries.size == 0:
        return np.zeros(0, np.int64)
    if entries.ndim != 1 or entries.dtype.kind not in "iu":
        raise InputError(
            f"seeds: expected a list of entry numbers, got {entries.dtype} of shape {entries.shape}"
        )
    if int(entries.min()) < 0 or int(entries.max()) >= num_entries:
        raise InputError(
            f"seeds: expected entries from 0 to {num_entries - 1}, "
            f"got {int(entries.min())} to {int(entries.max())}"
        )
    return np.unique(entries.astype(np.int64))


def seeded_levels(nodes: Frontier, seeds: NDArray[np.int64], max_rows: int) -> list[Nodes]:
    """The root, and below it the paths of the seeds as deep as `max_rows` allows."""
    levels = [np.array([ROOT])]
    budget = max_rows
    while True:
        below = nodes.list_children(levels[-1])
        inner = below[~nodes.leaf[below]]
        if nodes.renormalised:
            inner = inner[nodes.hi[inner] - nodes.lo[inner] > 1]
        holds = np.searchsorted(seeds, nodes.hi[inner]) > np.searchsorted(seeds, nodes.lo[inner])
        inner = inner[holds]
        budget -= inner.size
        if inner.size == 0 or budget < 0:
            return levels
        levels.append(inner)
