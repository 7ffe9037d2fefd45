"""Range-checked fields of an untrusted mapping (config.json, GGUF metadata). Knows no model family."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from adtrie.errors import FormatError

_MISSING: Any = object()


class Fields:
    """Typed access to `values`; every method raises FormatError naming the file and the key."""

    def __init__(self, values: Mapping[str, Any], where: str, prefix: str = "") -> None:
        self.values = values
        self.where = where
        self._prefix = prefix

    def get(self, key: str) -> Any:
        """The raw value, or None when the key is absent or null."""
        return self.values.get(self._prefix + key)

    def integer(self, key: str, low: int, high: int, default: Any = _MISSING) -> int:
        """An integer in low..high; booleans, floats and strings are refused."""
        value = self._value(key, default)
        if type(value) is not int or not low <= value <= high:
            raise self._error(key, value, f"an integer in {low}..{high}")
        return value

    def number(self, key: str, low: float, high: float, default: Any = _MISSING) -> float:
        """A finite number in low..high."""
        value = self._value(key, default)
        in_range = type(value) in (int, float) and low <= value <= high
        if not in_range or not math.isfinite(value):
            raise self._error(key, value, f"a number in {low}..{high}")
        return float(value)

    def flag(self, key: str, default: Any = _MISSING) -> bool:
        """A boolean."""
        value = self._value(key, default)
        if type(value) is not bool:
            raise self._error(key, value, "true or false")
        return value

    def section(self, key: str) -> Fields | None:
        """The nested object `key`, or None when absent or null."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._error(key, value, "an object")
        return Fields(value, f"{self.where}, {key}")

    def _value(self, key: str, default: Any) -> Any:
        value = self.get(key)
        if value is not None:
            return value
        if default is _MISSING:
            raise FormatError(
                f"{self.where}: {self._prefix + key} is missing; fetch the original file or add the "
                "value the model was trained with"
            )
        return default

    def _error(self, key: str, value: Any, expected: str) -> FormatError:
        return FormatError(f"{self.where}: {self._prefix + key} is {value!r:.80}, expected {expected}")
