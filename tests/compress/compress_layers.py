"""Layers to compress: correlated inputs with outlier channels, heavy-tailed weights, every trouble."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from adtrie.compress.hessian import Curvature

Layer = tuple[NDArray[np.float32], Curvature]


def make_layer(num_outputs: int, num_inputs: int, seed: int, num_tokens: int = 0) -> Layer:
    """Weights and second moments whose spectrum falls as 1 / rank; singular if fewer tokens than inputs."""
    random = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(random.normal(size=(num_inputs, num_inputs)))
    mixing = basis * np.sqrt(1.0 / np.arange(1, num_inputs + 1)) @ basis.T
    inputs = random.normal(size=(num_tokens or 4 * num_inputs, num_inputs)) @ mixing
    inputs *= np.exp(0.5 * random.normal(size=num_inputs))
    inputs[:, random.integers(num_inputs, size=1 + num_inputs // 50)] *= 6
    weights = 0.03 * random.standard_t(6, size=(num_outputs, num_inputs))
    return weights.astype(np.float32), Curvature(inputs.T @ inputs)


@st.composite
def layers(draw: st.DrawFn, widths: tuple[int, ...] = (4, 8, 32, 64)) -> Layer:
    """Small layers, some singular, with dead inputs, rows of zeros, huge or tiny weights or moments."""
    num_inputs = draw(st.sampled_from(widths))
    tokens = draw(st.sampled_from([1, num_inputs // 2, 4 * num_inputs]))
    weights, curvature = make_layer(
        draw(st.sampled_from([1, 5, 17])), num_inputs, draw(st.integers(0, 99)), tokens
    )
    moments = curvature.moments.copy()
    dead = draw(st.lists(st.integers(0, num_inputs - 1), max_size=num_inputs))
    moments[dead], moments[:, dead] = 0.0, 0.0
    if draw(st.booleans()):
        weights[0] = 0.0
    if draw(st.booleans()):
        weights[-1, 0] *= 1000
    weights *= draw(st.sampled_from([np.float32(1), np.float32(1e-6), np.float32(1e3)]))
    return weights, Curvature(moments * draw(st.sampled_from([1.0, 1e-30, 1e30])))


def damped_errors(
    weights: NDArray[np.float32], values: NDArray[np.float32], curvature: Curvature
) -> NDArray[np.float64]:
    """The error of each row in the norm that the solvers descend in."""
    change = weights.astype(np.float64) - values
    return np.asarray(np.einsum("nk,kl,nl->n", change, curvature.damped.astype(np.float64), change))
