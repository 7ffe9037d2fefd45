"""What an entry's resemblance to a query is worth beside a model's score: one constant per entry and request.

The weights are learned elsewhere (`evaluate.fusing`) and read from a small JSON file. Knows no model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from adtrie.errors import FormatError, InputError

FEATURES = ("text", "past", "larger", "seen", "frequency")
MAX_WEIGHT = 1e5  # a bonus of five such weights is still a valid prior
_MAX_BYTES = 1 << 16
_FIELDS = {"version", "nats", "alpha", "alone", "learned_from"}

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Fusion:
    """Nats that a unit of each feature adds to a log-probability; `alone`: what ranks without a model.

    The features of an entry: `text` and `past`, cosines of the query with its text and with its nearest past
    query; `larger` of the two; `seen`, 1 for an entry with past queries; `frequency`, log(1 + their number).
    `alpha` is that of `Prior.from_unconditional`, which the weights count on. `learned_from` says of what.
    InputError unless there is one finite weight for each feature.
    """

    nats: Mapping[str, float]
    alpha: float
    alone: Mapping[str, float]
    learned_from: Mapping[str, Any]

    def __post_init__(self) -> None:
        _check_number("alpha", self.alpha)
        for name, weights in (("nats", self.nats), ("alone", self.alone)):
            if set(weights) != set(FEATURES):
                raise InputError(
                    f"{name}: expected one number for each of {', '.join(FEATURES)}, got {sorted(weights)}"
                )
            for feature, weight in weights.items():
                _check_number(f"{name}: {feature}", weight)

    def bonus(self, features: Float64) -> Float64:
        """float64[N]: what to add to the log-probability of entries with features float64[N, 5]."""
        return features @ _ordered(self.nats)

    def without_model(self, features: Float64) -> Float64:
        """float64[N]: scores that rank entries by the features alone."""
        return features @ _ordered(self.alone)

    def to_json(self) -> bytes:
        """What `read` takes."""
        document = {
            "version": 1,
            "nats": dict(self.nats),
            "alpha": self.alpha,
            "alone": dict(self.alone),
            "learned_from": dict(self.learned_from),
        }
        return (json.dumps(document, indent=1) + "\n").encode()

    @classmethod
    def read(cls, path: Path) -> Self:
        """The fusion in a file. InputError where it cannot be read, FormatError for another content."""
        try:
            if path.stat().st_size > _MAX_BYTES or not path.is_file():
                raise FormatError(f"{path}: expected a fusion, a JSON file of at most {_MAX_BYTES:,} bytes")
            document = json.loads(path.read_bytes().decode("utf-8"))
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); 'adtrie evaluate --learn-fusion' makes one"
            ) from None
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{path}: no valid JSON ({error}); learn the fusion again") from None
        if not isinstance(document, dict) or set(document) != _FIELDS or document["version"] != 1:
            raise FormatError(f"{path}: expected a fusion of version 1 with {', '.join(sorted(_FIELDS))}")
        nats, alone, origin = (document[name] for name in ("nats", "alone", "learned_from"))
        if not all(isinstance(one, dict) for one in (nats, alone, origin)):
            raise FormatError(f"{path}: expected objects in nats, alone and learned_from")
        try:
            return cls(nats, document["alpha"], alone, origin)
        except InputError as error:
            raise FormatError(f"{path}: {error}") from None


def features_of(text: Float64, past: Float64, num_past: Float64) -> Float64:
    """float64[N, 5] in the order of FEATURES, of two cosines and a number of past queries per entry."""
    return np.stack((text, past, np.maximum(text, past), num_past > 0, np.log1p(num_past)), axis=1)


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_WEIGHT:
        raise InputError(f"{name} is {value!r:.40}, expected a number of at most {MAX_WEIGHT:g}")


def _ordered(weights: Mapping[str, float]) -> Float64:
    return np.array([weights[name] for name in FEATURES], np.float64)
