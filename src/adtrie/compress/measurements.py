"""What each way of storing each linear costs and spoils: the table that serves every budget, and its file.

Knows no model and no solver of codes: numbers in, numbers out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal, TypeVar

import msgspec

from adtrie.errors import FormatError, InputError
from adtrie.format.codes import (
    PANEL_ROWS,
    check_grid,
    check_pattern,
    num_panels,
    panel_bytes,
    pattern_name,
)
from adtrie.format.json_text import parse_json_object
from adtrie.format.panels import PACKED_PATTERNS, stream_bytes

Resource = Literal["bytes", "ms"]
_T = TypeVar("_T")
_LARGEST = 1e100  # of an error or a time, so that no product of a plan overflows
MAX_FILE_BYTES = 256 << 20


@dataclass(frozen=True)
class Option:
    """One pattern on one grid, for any panel of a linear.

    errors: of each panel, in the currency of the table; not negative. panel_ms: milliseconds a kernel takes
    for a panel of 16 rows, 0.0 where it was not measured.
    """

    bits: int
    group: int
    kept: int
    errors: tuple[float, ...]
    panel_ms: float

    def __post_init__(self) -> None:
        if not all(0 <= number <= _LARGEST for number in (*self.errors, self.panel_ms)):
            raise InputError(f"measurements: option {self.name} has an error or a time that is not 0 or more")

    @property
    def name(self) -> str:
        """For example "int4-g64-2:4" or "int8-g576-dense"."""
        return f"int{self.bits}-g{self.group}-{pattern_name(self.kept)}"


@dataclass(frozen=True)
class MeasuredLinear:
    """A linear [num_outputs, num_inputs] and the ways in which it may be stored; InputError if unsound."""

    name: str
    num_outputs: int
    num_inputs: int
    options: tuple[Option, ...]

    def __post_init__(self) -> None:
        if self.num_outputs < 1 or self.num_inputs < 1 or not self.options:
            raise InputError(f"measurements: linear {self.name!r:.80} has no weights or no option")
        for option in self.options:
            check_grid(self.num_inputs, option.bits, option.group)
            check_pattern(self.num_inputs, option.kept, option.bits)
            if len(option.errors) != num_panels(self.num_outputs):
                raise InputError(
                    f"measurements: linear {self.name!r:.80}, option {option.name}: expected errors of "
                    f"{num_panels(self.num_outputs)} panels, got {len(option.errors)}"
                )
        _refuse_repeats(f"options of linear {self.name!r:.80}", [option.name for option in self.options])

    def panel_costs(self, option: Option, resource: Resource) -> list[float]:
        """Packed bytes or milliseconds of each panel; a smaller last panel costs as much as a whole one."""
        num_bytes = packed_panel_bytes(self.num_inputs, option.bits, option.group, option.kept)
        cost = option.panel_ms if resource == "ms" else float(num_bytes)
        return [cost] * num_panels(self.num_outputs)


@dataclass(frozen=True)
class Measurements:
    """All linears of a model. currency: what the errors are, which must add up across linears.

    model: fingerprint of the weights that were measured. Raises InputError for no linear or a name that
    occurs twice.
    """

    currency: str
    linears: tuple[MeasuredLinear, ...]
    model: str = ""

    def __post_init__(self) -> None:
        if not self.linears:
            raise InputError("measurements: no linear was measured")
        _refuse_repeats("linears", [linear.name for linear in self.linears])

    @property
    def num_weights(self) -> int:
        """Weights of all linears, for budgets in bits per weight."""
        return sum(linear.num_outputs * linear.num_inputs for linear in self.linears)

    def check_model(self, model: str, where: str = "measurements") -> None:
        """Raises InputError, starting with `where`, unless these are of weights of fingerprint `model`."""
        if self.model != model:
            raise InputError(
                f"{where}: measured on another model, {self.model[:12] or 'unknown'}; this one is "
                f"{model[:12]}; measure this model, or give the one that was measured"
            )

    def to_json(self) -> bytes:
        """The file."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes, where: str = "measurements") -> Measurements:
        """The table of `to_json`. Raises FormatError that starts with `where` for anything else."""
        return decode(data, cls, where)


@dataclass(frozen=True)
class Override:
    """Linears named like `linear` may only use options named like `option` (shell patterns)."""

    linear: str
    option: str


def packed_panel_bytes(num_inputs: int, bits: int, group: int, kept: int) -> int:
    """Bytes of a panel of 16 rows with its scales, as in the packed file where it has the pattern."""
    if kept in PACKED_PATTERNS:
        return stream_bytes(num_inputs, bits, kept) + 2 * PANEL_ROWS * (num_inputs // group)
    return panel_bytes(PANEL_ROWS, num_inputs, bits, group, kept)


def restrict(table: Measurements, overrides: Sequence[Override]) -> Measurements:
    """`table` with the options that the overrides leave; of several for one linear the last one holds.

    Raises InputError for an override that matches no linear or leaves one without options.
    """
    for override in overrides:
        if not any(fnmatchcase(linear.name, override.linear) for linear in table.linears):
            raise InputError(
                f"override {override.linear!r:.80}: no linear of that name; there are "
                f"{table.linears[0].name!r:.80} to {table.linears[-1].name!r:.80}"
            )
    return replace(table, linears=tuple(_restrict_linear(linear, overrides) for linear in table.linears))


def decode(data: bytes, kind: type[_T], where: str) -> _T:
    """A `kind` from its JSON, exactly its fields. Raises FormatError that starts with `where`."""
    if len(data) > MAX_FILE_BYTES:
        raise FormatError(f"{where}: {len(data)} bytes, at most {MAX_FILE_BYTES} are read; write it again")
    document = parse_json_object(data, where)
    try:
        table = msgspec.convert(document, kind)
    except (msgspec.ValidationError, InputError, OverflowError) as error:
        raise FormatError(f"{where}: {error}; write it again") from None
    if msgspec.json.decode(msgspec.json.encode(table)) != document:
        raise FormatError(f"{where}: unknown fields; the file is of another version, write it again")
    return table


def _restrict_linear(linear: MeasuredLinear, overrides: Sequence[Override]) -> MeasuredLinear:
    holding = [override for override in overrides if fnmatchcase(linear.name, override.linear)]
    if not holding:
        return linear
    options = tuple(option for option in linear.options if fnmatchcase(option.name, holding[-1].option))
    if not options:
        names = ", ".join(option.name for option in linear.options)
        raise InputError(
            f"override {holding[-1].linear!r:.80}: linear {linear.name!r:.80} has no option "
            f"{holding[-1].option!r:.80}; choose from {names}"
        )
    return replace(linear, options=options)


def _refuse_repeats(what: str, names: list[str]) -> None:
    if len(set(names)) != len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise InputError(f"measurements: {what}: {repeated!r:.80} occurs twice")
