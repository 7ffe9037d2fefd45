"""What a request to name entries may ask for, and what it gets. Knows no model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args, overload

from adtrie.catalogue.bids import check_weight
from adtrie.errors import InputError
from adtrie.search.budget import Prefer, check_prefer
from adtrie.search.deadline import check_deadline_ms
from adtrie.search.scorer import MAX_K, MAX_WIDTH, check_count

Mode = Literal["exact", "verify", "stepwise"]
Score = Literal["raw", "renormalised"]
Normaliser = Literal["full", "bounded"]
MAX_REQUEST_ROWS = 65_536  # most rows `exact` may feed for one request
SESSION_ROWS, LARGE_SESSION_ROWS = 16_384, 131_072  # address space of a session; the larger for large budgets
_AT_MOST = re.compile(r"([0-9]{1,9}):(.+)", re.DOTALL)


@dataclass(frozen=True)
class TargetOptions:
    """How a catalogue is searched; InputError at once for a value out of range.

    `width` is the beam of verify and stepwise, never below k. `max_rows` bounds the rows of exact in total,
    of verify per forward. `deadline_ms` is counted from the start of the request (0: no time for a forward).
    `prefer` is what exact saves: auto (milliseconds), rows or forwards. `bid_weight` adds weight x log(bid)
    to each score. `at_most` limits exact's answer: (1, "advertiser") or "1:advertiser" is one of each. With
    `normaliser` bounded exact prunes by upper bounds of raw scores, normalised over frequent tokens only, and
    scores in full what may be in the answer: same proof, same scores, less work for a row.
    """

    k: int = 10
    mode: Mode = "exact"
    score: Score = "raw"
    width: int = 10
    max_rows: int = 4_096
    prefer: Prefer = "auto"
    deadline_ms: float | None = None
    bid_weight: float = 0.0
    at_most: tuple[int, str] | str | None = None
    normaliser: Normaliser = "full"

    def __post_init__(self) -> None:
        check_count("k", self.k, MAX_K)
        check_count("width", self.width, MAX_WIDTH)
        check_count("max_rows", self.max_rows, MAX_REQUEST_ROWS)
        for name, word, words in (
            ("mode", self.mode, get_args(Mode)),
            ("score", self.score, get_args(Score)),
            ("normaliser", self.normaliser, get_args(Normaliser)),
        ):
            if word not in words:
                raise InputError(f"{name}: expected one of {', '.join(words)}, got {word!r:.60}")
        check_prefer(self.prefer)
        check_weight(self.bid_weight)
        if self.deadline_ms is not None:
            check_deadline_ms(self.deadline_ms)
        if self.bounded and (self.mode != "exact" or self.score != "raw"):
            raise InputError(
                f"normaliser: bounded needs mode exact and score raw, got {self.mode} and {self.score}"
            )
        if self.mode == "exact":
            _ = self.cap
        elif self.at_most is not None:
            raise InputError(f"at_most: mode {self.mode} cannot keep it; use mode exact")
        elif self.k > MAX_WIDTH:
            raise InputError(
                f"k: mode {self.mode} keeps at most {MAX_WIDTH} entries, got {self.k}; use mode exact"
            )

    @property
    def cap(self) -> tuple[int, str] | None:
        """`at_most` as (number, attribute); None without it."""
        given = self.at_most
        if given is None:
            return None
        found = _AT_MOST.fullmatch(given) if isinstance(given, str) else None
        if found:
            given = int(found[1]), found[2].strip()
        if not isinstance(given, tuple) or len(given) != 2 or not isinstance(given[1], str):
            raise InputError(f"at_most: expected NUMBER:ATTRIBUTE such as 1:advertiser, got {given!r:.60}")
        return check_count("at_most", given[0], MAX_K), given[1]

    @property
    def bounded(self) -> bool:
        """Whether rows are scored by upper bounds."""
        return self.normaliser == "bounded"

    @property
    def beam_width(self) -> int:
        """Hypotheses kept per step."""
        return max(self.k, self.width)

    @property
    def session_rows(self) -> int:
        """Rows a session for these options has room for."""
        return SESSION_ROWS if 2 * self.max_rows <= SESSION_ROWS else LARGE_SESSION_ROWS


@dataclass(frozen=True)
class Hit:
    """One catalogue entry: first id, text, score, all ids.

    The score is the sum of natural log-probabilities, plus the entry's constant if a prior or a bid weight
    was given. Of a selection the ids are those of the rows in it.
    """

    id: str
    text: str
    score: float
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Hits(Sequence[Hit]):
    """Entries in descending score. `gap` 0.0: proven that no other entry scores higher; inf: nothing proven.

    `forwards` counts passes of the model, the prompt's too; `rows` the catalogue tokens fed; `ms` wall time.
    """

    query: str
    hits: tuple[Hit, ...]
    gap: float
    forwards: int
    rows: int
    ms: float

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Hit]: ...
    def __getitem__(self, index: int | slice) -> Hit | Sequence[Hit]:
        return self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)
