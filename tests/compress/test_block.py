"""The batched block is the reference forward, and its gradients are those of finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from compress_models import tiny_source
from numpy.typing import NDArray

from adtrie.compress.block import BLOCK_LINEARS, SHARED_INPUTS, Block, Seen, rms_norm
from adtrie.engine.reference import ReferenceForward

FAMILIES = ("llama3", "qwen2", "qwen3", "ernie4_5")


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_are_the_reference_forward(family: str) -> None:
    source = tiny_source(family)
    tokens = np.random.default_rng(0).integers(3, 280, (2, 9)).astype(np.int32)
    x = source.matrix("embed")[tokens]
    for index in range(source.spec.num_layers):
        x = Block(source, index).forward(x)
    x = rms_norm(x, source.vector("final_norm"), source.spec.rms_epsilon)
    for row in range(2):
        reference = ReferenceForward(source.spec, source.tensor)
        expected = reference.forward(tokens[row], np.arange(-1, 8, dtype=np.int32))
        np.testing.assert_allclose(x[row], expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_finite_differences(family: str) -> None:
    block = Block(tiny_source(family), 1)
    _as_float64(block)
    random = np.random.default_rng(1)
    x, gradient = random.normal(size=(2, 2, 6, block.spec.hidden_size))
    seen: dict[str, tuple[NDArray, NDArray]] = {}

    def keep(one: Seen) -> None:
        seen.update({n: (one.inputs, g) for n, g in zip(one.names, one.gradients, strict=True)})

    to_x = block.backward(x, gradient, keep)
    direction = random.normal(size=x.shape)
    step = 1e-5
    ahead, behind = (float((block.forward(x + s * direction) * gradient).sum()) for s in (step, -step))
    assert (ahead - behind) / (2 * step) == pytest.approx(float((to_x * direction).sum()), rel=1e-5, abs=1e-7)
    for name in BLOCK_LINEARS:
        inputs, to_output = seen[name]
        change = random.normal(size=block.weights[name].shape)
        weights = block.weights[name]
        values = []
        for sign in (step, -step):
            block.weights[name] = weights + sign * change
            values.append(float((block.forward(x) * gradient).sum()))
        block.weights[name] = weights
        expected = float(np.einsum("tn,nk,tk->", to_output, change, inputs))
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(expected, rel=1e-5, abs=1e-7), name


def test_padding_changes_nothing() -> None:
    block = Block(tiny_source("llama"), 0)
    _as_float64(block)  # products of other shapes sum in another order, which shows in float32
    random = np.random.default_rng(2)
    x = random.normal(size=(1, 7, block.spec.hidden_size))
    padded = np.concatenate([x, random.normal(size=(1, 4, block.spec.hidden_size))], axis=1)
    np.testing.assert_allclose(block.forward(padded)[:, :7], block.forward(x), rtol=1e-5, atol=1e-6)


def test_every_input_is_seen_once() -> None:
    block = Block(tiny_source("llama"), 0)
    x = np.ones((1, 3, block.spec.hidden_size), np.float32)
    names: list[tuple[str, ...]] = []
    block.backward(x, x, lambda seen: names.append(seen.names))
    assert sorted(names) == sorted(SHARED_INPUTS)


def _as_float64(block: Block) -> None:
    block.weights = {name: values.astype(np.float64) for name, values in block.weights.items()}
    block._vectors = {name: values.astype(np.float64) for name, values in block._vectors.items()}
