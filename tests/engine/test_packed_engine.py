"""A model whose linears are packed streams: the engine against the NumPy forward; memory is referred to."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest
from compressed_linears import random_linear
from instruction_sets import ISAS
from numpy.typing import NDArray

from adtrie.config import ModelSpec
from adtrie.engine import Engine
from adtrie.engine.reference import ReferenceForward
from adtrie.errors import InputError
from adtrie.format.panels import PackedLinear, pack

SPEC = ModelSpec("llama", 2, 64, 160, 4, 2, 16, 75, 128, 10000.0, 1e-5, False)
SHAPES = {
    "embed": (75, 64),
    "head": (75, 64),
    "q": (64, 64),
    "k": (32, 64),
    "v": (32, 64),
    "o": (64, 64),
    "gate": (160, 64),
    "up": (160, 64),
    "down": (64, 160),
}


class PackedSource:
    """Random weights; embedding and head INT8, the other linears patterns in turn per panel."""

    spec = SPEC
    fingerprint = "0" * 64

    def vector(self, name: str) -> NDArray[np.float32]:
        return np.ones(64, np.float32)

    def matrix(self, name: str) -> PackedLinear:
        slot, seed = name.split(".")[-1], sum(name.encode())
        num_outputs, num_inputs = SHAPES[slot]
        panels = -(-num_outputs // 16)
        if slot in ("embed", "head"):
            return pack(random_linear([4] * panels, num_outputs, num_inputs, 64, 8, seed))
        kept = [(4, 2, 1)[(panel + seed) % 3] for panel in range(panels)]
        return pack(random_linear(kept, num_outputs, num_inputs, 32, 4, seed))


def reference_logits(tokens: NDArray[np.int32], parents: NDArray[np.int32]) -> NDArray[np.float64]:
    source = PackedSource()
    tensor: Callable[[str], object] = lambda name: (  # noqa: E731
        source.vector(name) if "norm" in name else source.matrix(name)
    )
    forward = ReferenceForward(SPEC, tensor)
    return forward.logits(forward.forward(tokens, parents))


TOKENS = np.array([3, 70, 12, 12, 5, 44, 9, 1, 2, 30, 31, 32], np.int32)
PARENTS = np.array([-1, 0, 1, 1, 2, 3, 5, 5, 5, 5, 5, 5], np.int32)


@pytest.mark.parametrize("isa", ISAS)
def test_float_activations_follow_the_reference(isa: str) -> None:
    expected = reference_logits(TOKENS, PARENTS)
    for weights in ("auto", "float32"):
        engine = Engine(PackedSource(), weights=weights, activations="float32", isa=isa, threads=1)
        logits = engine.session().logits(TOKENS, PARENTS)
        np.testing.assert_allclose(logits, expected, atol=3e-5 * np.abs(expected).max())
    half = Engine(PackedSource(), weights="bfloat16", isa=isa, threads=1).session().logits(TOKENS, PARENTS)
    np.testing.assert_allclose(half, expected, atol=0.05 * np.abs(expected).max())


def test_int8_activations_are_close_and_do_not_depend_on_company_or_threads() -> None:
    expected = reference_logits(TOKENS, PARENTS)
    for isa in ISAS:
        together = Engine(PackedSource(), isa=isa, threads=1).session().logits(TOKENS, PARENTS)
        np.testing.assert_allclose(together, expected, atol=0.05 * np.abs(expected).max())
        session = Engine(PackedSource(), isa=isa, threads=2).session()
        alone = [session.logits(TOKENS[i : i + 1], PARENTS[i : i + 1])[0] for i in range(len(TOKENS))]
        np.testing.assert_array_equal(np.stack(alone), together)


def test_streams_are_referred_to_and_kept_alive() -> None:
    class Once(PackedSource):
        """Aligned streams, as a memory-mapped file has them."""

        def matrix(self, name: str) -> PackedLinear:
            packed = super().matrix(name)
            raw = np.zeros(len(packed.stream) + 64, np.uint8)
            start = -raw.ctypes.data % 64
            stream = raw[start : start + len(packed.stream)]
            stream[:] = packed.stream
            return PackedLinear(*packed.shape, packed.bits, packed.group, packed.kept, stream, packed.scales)

    engine = Engine(Once(), threads=1)
    before = engine.logits(TOKENS)
    gc.collect()
    churn = [np.full(20_000, i, np.uint8) for i in range(200)]
    np.testing.assert_array_equal(engine.logits(TOKENS), before)
    del churn
    linears = [PackedSource().matrix(name) for name in ("embed", "head")]
    linears += [
        PackedSource().matrix(f"layers.{i}.{n}") for i in range(2) for n in SHAPES if n[0] not in "eh"
    ]
    exact = sum(linear.num_bytes for linear in linears)
    assert exact <= engine.weight_bytes <= exact + 256 * len(linears)


def test_a_linear_of_another_shape_is_refused() -> None:
    class Wrong(PackedSource):
        def matrix(self, name: str) -> PackedLinear:
            return super().matrix("layers.0.q" if name == "layers.1.down" else name)

    with pytest.raises((InputError, ValueError), match=r"\[64, 160\]"):
        Engine(Wrong(), threads=1)
