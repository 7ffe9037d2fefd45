"""Halves of blocks that are fitted already, one file each, so that an interrupted run repeats none.

Knows the files; how a half is fitted is the business of reconstruct.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adtrie.errors import FormatError, InputError
from adtrie.train.reconstruct import Fit, Place
from adtrie.train.save import read_state, write_state


class FittedPieces:
    """Pieces of one run in `folder`; those of another identity (JSON values) are refused."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._folder, self._identity = folder, dict(identity)

    def load(self, place: Place, parameters: Mapping[str, Tensor]) -> tuple[Fit, int] | None:
        """Copies the piece into `parameters`; its fit and number of updates, None where there is none.

        Raises InputError for a piece of another run, FormatError for a damaged one.
        """
        path = self._path(place)
        if not path.exists():
            return None
        tensors, values = read_state(path)
        self._check(values["identity"])
        shapes = {name: tuple(each.shape) for name, each in parameters.items()}
        if {name: each.shape for name, each in tensors.items()} != shapes:
            raise FormatError(f"{path}: is damaged; delete it and continue with --resume")
        for name, parameter in parameters.items():
            parameter.data.copy_(torch.from_numpy(tensors[name]))
        return Fit(*values["fit"]), int(values["steps"])

    def save(self, place: Place, parameters: Mapping[str, Tensor], fit: Fit, steps: int) -> None:
        """Writes one piece."""
        tensors = {name: np.array(each.detach().cpu().numpy()) for name, each in parameters.items()}
        values = {"identity": self._identity, "steps": steps, "fit": [fit.before, fit.after]}
        write_state(self._path(place), tensors, values)

    def _path(self, place: Place) -> Path:
        return self._folder / f"block-{place[0]}-{place[1]}.safetensors"

    def _check(self, found: Mapping[str, Any]) -> None:
        for key, value in self._identity.items():
            if found.get(key) != value:
                raise InputError(
                    f"--resume: {self._folder} holds a run with {key} {found.get(key)!r:.80}, now it is "
                    f"{value!r:.80}; repeat its command"
                )
