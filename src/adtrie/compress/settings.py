"""What a compression is asked for: budgets, presets, what a plan may choose from. All checked, all frozen.

Knows no model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from adtrie.compress.linear import Method
from adtrie.compress.measurements import Override, Resource
from adtrie.compress.ways import Allowed
from adtrie.config import OUTER_LINEARS
from adtrie.errors import InputError


@dataclass(frozen=True)
class Budget:
    """At most `amount`: bits per weight of all linears, embedding and head; megabytes; or milliseconds."""

    unit: str  # bpw | mb | ms
    amount: float

    def __post_init__(self) -> None:
        if self.unit not in ("bpw", "mb", "ms"):
            raise InputError(f"budget: expected bpw, mb or ms, got {self.unit!r:.40}")
        if not (math.isfinite(self.amount) and self.amount > 0):
            raise InputError(f"budget: expected a number above 0, got {self.amount!r:.40}")

    @classmethod
    def parse(cls, text: str) -> Budget:
        """The budget of "3.6bpw", "60mb" or "2.5ms". Raises InputError for anything else."""
        lowered = text.strip().lower()
        unit = next((unit for unit in ("bpw", "mb", "ms") if lowered.endswith(unit)), "")
        try:
            return cls(unit, float(lowered.removesuffix(unit)))
        except (ValueError, InputError):
            raise InputError(
                f"--budget: expected a number with its unit, such as 3.6bpw, 60mb or 2.5ms, got {text!r:.40}"
            ) from None

    @property
    def resource(self) -> Resource:
        """What it limits."""
        return "ms" if self.unit == "ms" else "bytes"

    def limit(self, num_weights: int) -> float:
        """Bytes or milliseconds."""
        if self.unit == "bpw":
            return self.amount * num_weights / 8
        return self.amount * 1e6 if self.unit == "mb" else self.amount

    def __str__(self) -> str:
        return f"{self.amount:g}{self.unit}"


_EVERYTHING, _DENSE = Allowed(), Allowed(patterns=(4,))
_INT8 = Allowed(bits=(8,), patterns=(4,), groups=(64,))
_INT4 = Allowed(bits=(4,), patterns=(4,), groups=(32,))


@dataclass(frozen=True)
class Settings:
    """How to compress.

    budget: None for the most exact plan of what is allowed. linears, embedding: what may be chosen there; the
    head counts as an embedding. refine_trials: of the search on the true divergence. max_tokens: of texts.
    """

    budget: Budget | None = None
    linears: Allowed = _EVERYTHING
    embedding: Allowed = _DENSE
    method: Method = "polish"
    overrides: tuple[Override, ...] = ()
    refine_trials: int = 0
    max_tokens: int = 16_384
    seed: int = 0

    def __post_init__(self) -> None:
        if self.refine_trials < 0:
            raise InputError(f"refine: expected 0 or more trials, got {self.refine_trials}")
        if self.max_tokens < 1:
            raise InputError(f"max_tokens: expected 1 or more, got {self.max_tokens}")

    def allowed(self, name: str) -> Allowed:
        """For the linear `name`."""
        return self.embedding if name in OUTER_LINEARS else self.linears


def _uniform(kept: int, group: int, method: Method = "polish") -> Settings:
    return Settings(
        linears=Allowed(bits=(4,), patterns=(kept,), groups=(group,)), embedding=_INT8, method=method
    )


# Rows of the paper's table have an INT8 embedding, so that they differ in the blocks only. Not the mix: its
# blocks would be pruned hard to save less than that embedding takes (docs/decisions/0029).
PRESETS: Mapping[str, Settings] = {
    # Few ways and tokens and no polish: minutes instead of a quarter of an hour, for a first look.
    "demo": Settings(
        Budget("bpw", 4.0),
        Allowed(bits=(4,), patterns=(4, 2), groups=(64,)),
        Allowed(patterns=(4,), groups=(64,)),
        method="gptq",
        max_tokens=2_048,
    ),
    "safe": Settings(Budget("bpw", 4.6), _DENSE),
    "balanced": Settings(Budget("bpw", 4.0), Allowed(patterns=(4, 2))),
    "fast": Settings(Budget("bpw", 3.6)),
    "max": Settings(Budget("bpw", 2.8)),
    "rtn-int4": _uniform(4, 64, "nearest"),
    "gptq-int4": _uniform(4, 64, "gptq"),
    "int4": Settings(Budget("bpw", 5.0), _DENSE, _INT8),
    "2:4": _uniform(2, 64),
    "1:4": _uniform(1, 64),
    "mix": Settings(Budget("bpw", 3.5), Allowed(bits=(4,)), _INT4),
}


def preset(name: str, **changes: object) -> Settings:
    """The settings called `name`, with fields changed. Raises InputError for another name."""
    if name not in PRESETS:
        raise InputError(f"preset {name!r:.40} is unknown; choose one of {', '.join(PRESETS)}")
    return replace(PRESETS[name], **changes)  # type: ignore[arg-type]


def parse_override(text: str) -> Override:
    """`layers.*.down=int8`: shell patterns of linears and of options; int4, int8, dense, 2:4 are short for.

    Raises InputError for text without both sides.
    """
    linear, separator, option = (part.strip() for part in text.partition("="))
    if not (linear and separator and option):
        raise InputError(f"--set: expected LINEARS=OPTIONS, such as 'layers.*.down=int8', got {text!r:.60}")
    if option.startswith(("int4", "int8")):
        option += "" if "*" in option or option.count("-") == 2 else "*"
    elif option in ("dense", "2:4", "1:4", "3:4"):
        option = f"*-{option}"
    return Override(linear, option)
