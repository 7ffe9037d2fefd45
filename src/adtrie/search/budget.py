"""What one request of `exact` may spend, rows and time, and which of its costs it is set to save."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from adtrie.config import RowCost
from adtrie.errors import InputError
from adtrie.search.deadline import Deadline

Prefer = Literal["auto", "rows", "forwards"]
FORWARD_ROWS = 1_024  # most rows of one forward, those of the prompt among them
FEW_ROWS = 8  # of one forward where rows are to be saved: what is fed later is chosen with more knowledge
FED_PER_ROW = 8  # rows fed before for each of a forward of more: a long search needs most of its likeliest
FORWARD_AS_ROWS = 4.0  # what a forward counts besides its rows there


@dataclass(frozen=True)
class Budget:
    """`max_rows` trie rows and the time to `deadline`; `prefer` is what to save, auto: ms by `cost`."""

    cost: RowCost
    max_rows: int
    prefer: Prefer = "auto"
    deadline: Deadline | None = None

    def prices(self, used_rows: int, paid: int = 0) -> NDArray[np.float64]:
        """float64[n]: what 1, 2, ... rows of the next forward count beside `paid` rows that are fed anyway.

        n is the most rows that the forward may have; empty when not one is left, or none would end in time.
        """
        limit = max(FORWARD_ROWS - paid, 1)
        if self.prefer == "rows":
            limit = min(max(FEW_ROWS, used_rows // FED_PER_ROW), limit)
        limit = min(limit, self.max_rows - used_rows)
        if self.deadline is not None:
            limit = min(limit, self.deadline.most_rows(paid + limit, paid + 1) - paid)
        limit = max(limit, 0)
        if self.prefer == "rows":
            return np.asarray(FORWARD_AS_ROWS + np.arange(1.0, limit + 1))
        if self.prefer == "forwards":
            return np.ones(limit)
        price = self.cost.first(paid + limit + 2)
        return np.asarray(price[paid + 1 : -1] - (price[paid + 1] - price[1]))

    def forward(self, rows: int, run: Callable[[], None]) -> None:
        """Runs one forward of so many rows, timed where there is a deadline."""
        if self.deadline is None:
            run()
        else:
            self.deadline.forward(rows, run)

    def is_short(self, used_rows: int) -> bool:
        """Whether the search should finish entries soon instead of proving them."""
        return self.deadline is not None or 4 * (self.max_rows - used_rows) < self.max_rows

    def rows_left(self, used_rows: int) -> float:
        """Rows that are expected to be fed before budget or time end, in forwards of a few."""
        rows = float(self.max_rows - used_rows)
        return rows if self.deadline is None else min(rows, FEW_ROWS * self.deadline.num_forwards(FEW_ROWS))


def check_prefer(prefer: Any) -> Prefer:
    """`prefer`; InputError unless it is auto, rows or forwards."""
    if prefer not in get_args(Prefer):
        raise InputError(f"prefer: expected one of {', '.join(get_args(Prefer))}, got {prefer!r:.60}")
    return prefer  # type: ignore[no-any-return]
