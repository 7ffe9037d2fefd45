"""What the table compares: rows, variants at equal bytes, and the paper's own numbers. Computes nothing.

The paper's numbers are other people's readings of it (arXiv 2605.11582): those of its table agree and
recompute, those of its figure were read off by eye and differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from adtrie.compress.linear import Method

GROUP = 64  # inputs per scale wherever the group is not what is compared
DENSE = 4
Order = Literal["plan", "late", "early", "magnitude"]
Kind = Literal["full", "pruned", "packed"]


@dataclass(frozen=True)
class Scenario:
    """A task with its tuned adapter; `fast`: what is added to a request to make it faster."""

    name: str
    task: str
    fast: str


SCENARIOS = {
    "targeting": Scenario("targeting", "pricerunner", "verification"),
    "creative": Scenario("creative", "e2e", "draft tree"),
}


@dataclass(frozen=True)
class Uniform:
    """All linears of the blocks on one grid and pattern, as a measure of bytes. group 0: the whole row."""

    group: int
    kept: int


@dataclass(frozen=True)
class Recipe:
    """How the linears of the blocks are stored in 4 bits; embedding and head are INT8.

    patterns: that may be chosen, survivors of four. group: None where the plan chooses it, 0 the whole row.
    bytes_of: shares of the bytes of uniform ones that may be spent; empty where nothing is to choose.
    order: plan, or linears by depth (late ones made sparser, or early ones) or by mean magnitude.
    """

    patterns: tuple[int, ...] = (DENSE,)
    group: int | None = GROUP
    method: Method = "polish"
    bytes_of: tuple[tuple[float, Uniform], ...] = ()
    order: Order = "plan"

    @property
    def uniform(self) -> Uniform | None:
        """The one grid and pattern, None where there is a choice."""
        return None if self.bytes_of or self.group is None else Uniform(self.group, self.patterns[0])


@dataclass(frozen=True)
class MixRecipe(Recipe):
    """The same with an embedding in 4 bits, and a share of the sparse weights at the sparsest pattern.

    embedding_group: inputs per scale of embedding and head. least_sparsest: that share at least, from 0 to 1.
    """

    embedding_group: int = 32
    least_sparsest: float = 0.0


@dataclass(frozen=True)
class RefinedRecipe(Recipe):
    """The same with the plan bettered by so many trials of its true divergence."""

    trials: int = 0


@dataclass(frozen=True)
class Paper:
    """A row of the paper. ms: per token, lowest and highest reading. Shares from 0 to 1."""

    ms: tuple[float, float]
    bleu: float | None = None
    meteor: float | None = None
    recall: float | None = None


@dataclass(frozen=True)
class Row:
    """A variant of the model. pruned: 16-bit survivors with 2-bit positions, which have no kernel here."""

    name: str
    label: str
    kind: Kind
    recipe: Recipe | None = None

    @property
    def file_name(self) -> str:
        """The name for files."""
        return self.name.replace(":", "of").replace("+", "-")


BYTES_OF_DENSE = ((1.0, Uniform(GROUP, DENSE)),)
BYTES_OF_HALF = ((1.0, Uniform(GROUP, 2)),)
BYTES_OF_SPARSER = ((0.58, Uniform(GROUP, 2)), (0.42, Uniform(GROUP, 1)))
EVERY = (4, 2, 1)

ROWS = (
    Row("full", "full precision", "full"),
    Row("rtn", "round-to-nearest INT4", "packed", Recipe(method="nearest")),
    Row("gptq", "GPTQ INT4", "packed", Recipe(method="gptq")),
    Row("adaptive", "adaptive INT4", "packed", Recipe(group=None, bytes_of=BYTES_OF_DENSE)),
    Row("2:4", "2:4", "pruned", Recipe((2,))),
    Row("1:4", "1:4", "pruned", Recipe((1,))),
    Row("2:4+int4", "2:4 + INT4", "packed", Recipe((2,))),
    Row("1:4+int4", "1:4 + INT4", "packed", Recipe((1,))),
    # At least half of the sparse weights at 1:4, as in the shape of the paper's mix.
    Row("mix+int4", "mix + INT4", "packed", MixRecipe(EVERY, bytes_of=BYTES_OF_HALF, least_sparsest=0.5)),
)
REFINED = "adaptive-refined"
UNIFORM_GROUPS = (32, 64, 96, 192, 0)


def _groups() -> tuple[Row, ...]:
    """Each uniform group size, and what the plan makes of its bytes."""
    rows = []
    for group in UNIFORM_GROUPS:
        name = str(group or "row")
        shown = f"group {group}" if group else "whole rows"
        rows.append(Row(f"group-{name}", f"uniform, {shown}", "packed", Recipe(group=group)))
        if group != GROUP:  # there the plan is the row "adaptive"
            recipe = Recipe(group=None, bytes_of=((1.0, Uniform(group, DENSE)),))
            rows.append(Row(f"adaptive-{name}", f"adaptive, bytes of {shown}", "packed", recipe))
    refined = RefinedRecipe(group=None, bytes_of=BYTES_OF_DENSE, trials=200)
    return (*rows, Row(REFINED, "adaptive INT4, refined by its true divergence", "packed", refined))


def _orders(name: str, patterns: tuple[int, ...], bytes_of: tuple[tuple[float, Uniform], ...]) -> list[Row]:
    """Assignments of the densest and the sparsest pattern to whole linears by a simple order."""
    labels: dict[Order, str] = {
        "late": "late layers sparser",
        "early": "early layers sparser",
        "magnitude": "small weights sparser",
    }
    return [
        Row(f"{name}-{order}", label, "packed", Recipe(patterns, GROUP, "polish", bytes_of, order))
        for order, label in labels.items()
    ]


COMPARISONS = (
    *_groups(),
    Row("half-plan", "layer-adaptive mix, bytes of 2:4", "packed", Recipe(EVERY, bytes_of=BYTES_OF_HALF)),
    *_orders("half", (4, 1), BYTES_OF_HALF),
    Row(
        "sparser-plan", "layer-adaptive mix, fewer bytes", "packed", Recipe(EVERY, bytes_of=BYTES_OF_SPARSER)
    ),
    Row(
        "sparser-two", "layer-adaptive, 2:4 and 1:4 only", "packed", Recipe((2, 1), bytes_of=BYTES_OF_SPARSER)
    ),
    *_orders("sparser", (2, 1), BYTES_OF_SPARSER),
)
# The planned one first, then those it is to beat at the same bytes.
MIXES = {
    "at the bytes of uniform 2:4": ("half-plan", "2:4+int4", "half-late", "half-early", "half-magnitude"),
    "between the bytes of 2:4 and 1:4": (
        "sparser-plan",
        "sparser-two",
        "sparser-late",
        "sparser-early",
        "sparser-magnitude",
    ),
}
ALL_ROWS = {row.name: row for row in (*ROWS, *COMPARISONS)}


def group_pairs() -> list[tuple[str, str]]:
    """(uniform, adaptive) names of rows with the same bytes."""
    names = [str(group or "row") for group in UNIFORM_GROUPS]
    return [(f"group-{name}", f"adaptive-{name}" if name != str(GROUP) else "adaptive") for name in names]


PAPER: dict[str, dict[str, Paper]] = {
    "creative": {
        "full": Paper((6.6, 6.6), 0.4247, 0.6345),
        "adaptive": Paper((4.8, 4.8), 0.4178, 0.6283),
        "2:4": Paper((5.3, 5.3), 0.4161, 0.6260),
        "1:4": Paper((4.6, 4.6), 0.3476, 0.5549),
        "2:4+int4": Paper((4.0, 4.0), 0.4103, 0.6195),
        "1:4+int4": Paper((3.5, 3.5), 0.3369, 0.5446),
        "mix+int4": Paper((3.7, 3.7), 0.4038, 0.6127),
    },
    "targeting": {
        "full": Paper((1.9, 1.9), recall=0.60),
        "adaptive": Paper((1.2, 1.4), recall=0.60),
        "mix+int4": Paper((1.0, 1.2), recall=0.60),
        "mix+int4 fast": Paper((0.8, 1.0), recall=0.60),
    },
}
