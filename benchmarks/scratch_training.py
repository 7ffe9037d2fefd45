"""Trains a small model from random weights into a Hugging Face folder, everything in it. Needs torch.

Updates, dev loss and schedule are those of `adtrie tune`; only what is trained differs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adtrie.models import Checkpoint
from adtrie.train.decoder import GAIN_UNIT, Decoder
from adtrie.train.full_model import write_model
from adtrie.train.pairs import TuneData
from adtrie.train.recipe import Recipe
from adtrie.train.run import Run, Watch
from adtrie.train.save import STATE_FILE, write_card

_GAIN = ".gain"


class WholeDecoder(Decoder):
    """A decoder all of whose tensors are trained: embedding and norms beside the linears. For tied heads."""

    def __init__(self, source: Checkpoint) -> None:
        super().__init__(source, None)
        self.train_whole()
        self.train_norms()
        for tensor in (self.embed, self.final_norm):
            tensor.requires_grad_(True)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """What is trained."""
        yield from super().named_parameters()
        yield from (("embed.W", self.embed), ("final_norm.W", self.final_norm))

    def separated(self, values: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Every tensor of the model by its canonical name + .W; the norms of the layers began at one."""
        own = {name: values[name] for name in ("embed.W", "final_norm.W")}
        gains = {name: value for name, value in values.items() if name.endswith(_GAIN)}
        norms = {f"{name.removesuffix(_GAIN)}.W": 1 + GAIN_UNIT * gain for name, gain in gains.items()}
        return super().separated(values) | own | norms


def train(start: Checkpoint, data: TuneData, recipe: Recipe, folder: Path, watch: Watch) -> None:
    """Writes the model of the best dev loss to `folder`, with a card that says how it was made."""
    torch.set_num_threads(1)  # the order of sums, and so every weight, is the same on any number of cores
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(WholeDecoder(start), data, recipe, folder, {"start": start.fingerprint})
    began = time.process_time()
    run.train(watch, lambda: None)
    cpu_s = time.process_time() - began
    place = run.position
    write_model(folder, start, run.result())
    card = {
        "version": 1,
        "template": recipe.template,
        "task": data.name,
        "recipe": asdict(recipe),
        "examples": len(data.train),
        "steps": place.step,
        "tokens": place.num_tokens,
        "seconds": round(place.elapsed_s, 1),
        "cpu_seconds": round(cpu_s, 1),
        "best_dev_loss": round(place.best_loss, 5),
        "dev_curve": place.dev_curve,
    }
    write_card(folder, card)  # last: a folder with a card is a finished one
    (folder / STATE_FILE).unlink(missing_ok=True)
