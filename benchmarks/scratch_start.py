"""The small model before its training: shape, shortened vocabulary, random weights; and the floor to beat.

Knows no torch and no file.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.config import ModelSpec
from adtrie.models import Checkpoint, Tokenizer
from adtrie.models.tensor_plan import HUGGING_FACE, tensor_plan

VOCAB = 8_192  # the logits of a longer vocabulary would take most of the training
SPEC = ModelSpec(
    family="llama",
    num_layers=4,
    hidden_size=256,
    intermediate_size=768,
    num_heads=4,
    num_kv_heads=2,
    head_size=64,
    vocab_size=VOCAB,
    max_positions=512,
    rope_base=10_000.0,
    rms_epsilon=1e-5,
    tied_head=True,
)
SPREAD = 0.02  # of random weights; of linears that are added to a state less, the deeper the model is


def random_checkpoint(tokenizer: Tokenizer, spec: ModelSpec, seed: int) -> Checkpoint:
    """A model nobody trained, with the vocabulary of `tokenizer` cut to that of `spec`."""
    plan = tensor_plan(spec, HUGGING_FACE, interleaved=False)
    shapes = {planned.source: planned.shape for planned in plan.values()}
    return Checkpoint(
        spec,
        shortened(tokenizer, spec.vocab_size),
        "random weights",
        _RandomTensors(spec, shapes, seed),
        plan,
    )


class _RandomTensors:
    """Ones for vectors, normal values for matrices; each depends on its name and the seed alone."""

    def __init__(self, spec: ModelSpec, shapes: dict[str, tuple[int, ...]], seed: int) -> None:
        self._spec, self._shapes, self._seed = spec, shapes, seed

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return self._shapes

    def stored(self) -> dict[str, tuple[str, int]]:
        return {name: ("F32", 4 * int(np.prod(shape))) for name, shape in self._shapes.items()}

    def read(self, name: str) -> NDArray[np.float32]:
        shape = self._shapes[name]
        if len(shape) == 1:
            return np.ones(shape, np.float32)
        added = name.endswith((HUGGING_FACE.parts["o"] + ".weight", HUGGING_FACE.parts["down"] + ".weight"))
        spread = SPREAD / np.sqrt(2 * self._spec.num_layers) if added else SPREAD
        random = np.random.default_rng([self._seed, zlib.crc32(name.encode())])
        return (spread * random.standard_normal(shape)).astype(np.float32)

    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps([self._seed, asdict(self._spec)]).encode()).hexdigest()

    def close(self) -> None:
        pass


def shortened(tokenizer: Tokenizer, size: int) -> Tokenizer:
    """`tokenizer` with its first `size` ids: merges are learned in order, so these are a vocabulary too."""
    definition: dict[str, Any] = json.loads(tokenizer.definition())
    model = definition["model"]
    vocab = {content: token for content, token in model["vocab"].items() if token < size}
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    merges = [[left, right] for left, right in pairs if {left, right, left + right} <= vocab.keys()]
    definition["added_tokens"] = [each for each in definition["added_tokens"] if each["id"] < size]
    definition["model"] = {**model, "vocab": vocab, "merges": merges}
    return Tokenizer(
        definition,
        "shortened tokenizer",
        eos=tokenizer.eos_token,
        bos=tokenizer.bos_token,
        add_bos=tokenizer.add_bos,
    )


def unigram_loss(
    train: Iterable[NDArray[np.int32]], held_out: Iterable[NDArray[np.int32]], vocab_size: int
) -> float:
    """Nats per token of `held_out` for one who knows how often each token occurs in `train`, and one more."""
    counts = np.bincount(np.concatenate(list(train)), minlength=vocab_size) + 1.0
    log_shares = np.log(counts / counts.sum())
    return float(-log_shares[np.concatenate(list(held_out))].mean())
