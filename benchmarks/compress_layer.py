"""Relative calibration error of each method on one synthetic layer: `python -m benchmarks.compress_layer`.

Inputs with a spectrum of 1 / rank, uneven channels and a few of six times the size; heavy-tailed weights.
Says in which direction each method moves and how far; says nothing of a real model.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from adtrie.compress.hessian import Curvature
from adtrie.compress.linear import Method, compress_linear
from adtrie.compress.quantize import Grid
from adtrie.compress.sparsify import (
    Pruned,
    best_of_four,
    joint_sweep,
    least_squares,
    magnitude_scores,
    prune,
    sparsegpt,
    wanda_scores,
)
from adtrie.format.codes import DENSE, pattern_bits, pattern_name
from benchmarks import machine

Values = NDArray[np.float32]


def make_layer(num_outputs: int, num_inputs: int, num_tokens: int, seed: int) -> tuple[Values, Curvature]:
    """Weights [N, K] and the second moments of `num_tokens` inputs."""
    random = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(random.normal(size=(num_inputs, num_inputs)))
    mixing = basis * np.sqrt(1.0 / np.arange(1, num_inputs + 1)) @ basis.T
    inputs = random.normal(size=(num_tokens, num_inputs)) @ mixing
    inputs *= np.exp(0.5 * random.normal(size=num_inputs))
    inputs[:, random.choice(num_inputs, 1 + num_inputs // 50, replace=False)] *= 6
    weights = 0.03 * random.standard_t(6, size=(num_outputs, num_inputs))
    return weights.astype(np.float32), Curvature(inputs.T @ inputs)


def methods(
    weights: Values, curvature: Curvature, group: int
) -> list[tuple[str, float, Callable[[], Values]]]:
    """(name, bits per weight, the values it gives) of everything compared."""

    def rounded(kept: int, bits: int, group: int, method: Method) -> Callable[[], Values]:
        def solve() -> Values:
            pruned = prune(weights, curvature, kept)
            return compress_linear(weights, pruned, curvature, Grid(bits, group), method).dequantize()

        return solve

    rows = [
        (f"int{bits} g{g} {method}", bits + 16 / g, rounded(DENSE, bits, g, method))
        for bits, g in ((4, group), (4, weights.shape[1]), (8, weights.shape[1]))
        for method in get_args(Method)
    ]
    for kept in (3, 2, 1):
        name, bits = pattern_name(kept), float(pattern_bits(4, kept)) + 16 / group
        rows += [(f"{name} {what}", np.nan, solve) for what, solve in _masks(weights, curvature, kept)]
        rows.append(
            (f"{name} int4 joint sweep", bits, lambda kept=kept: _joint(weights, curvature, kept, group))
        )
        rows += [
            (f"{name} int4 {method}", bits, rounded(kept, 4, group, method)) for method in get_args(Method)
        ]
    return rows


def _masks(weights: Values, curvature: Curvature, kept: int) -> list[tuple[str, Callable[[], Values]]]:
    """Pruned but not rounded."""

    def fitted(scores: Values) -> Values:
        return least_squares(weights, best_of_four(scores, kept), curvature)

    def of(pruned: Pruned) -> Values:
        return pruned.values

    return [
        ("magnitude", lambda: weights * best_of_four(magnitude_scores(weights), kept)),
        ("Wanda", lambda: weights * best_of_four(wanda_scores(weights, curvature), kept)),
        ("Wanda + least squares", lambda: fitted(wanda_scores(weights, curvature))),
        ("SparseGPT", lambda: sparsegpt(weights, curvature, kept)[0]),
        ("SparseGPT + least squares", lambda: of(prune(weights, curvature, kept, exchanges=0))),
        ("the same + exchanges", lambda: of(prune(weights, curvature, kept))),
    ]


def _joint(weights: Values, curvature: Curvature, kept: int, group: int) -> Values:
    return joint_sweep(weights, curvature, kept, Grid(4, group))[0].dequantize()


def main() -> None:
    """Runs every method once and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--outputs", type=int, default=192)
    parser.add_argument("--inputs", type=int, default=576)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--group", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    weights, curvature = make_layer(options.outputs, options.inputs, options.tokens, options.seed)
    # Factors are made once per set of moments and shared; no method pays for them here.
    _ = curvature.by_column, curvature.by_block
    table: list[dict[str, Any]] = []
    for name, bits, solve in methods(weights, curvature, options.group):
        started = time.process_time()
        error = curvature.relative_error(weights, solve())
        table.append({"method": name, "relative_error": error, "cpu_s": time.process_time() - started})
        table[-1] |= {} if np.isnan(bits) else {"bits_per_weight": bits}
        print(f"{name:32} {bits:7.3f} bits  {error:.5f}  {table[-1]['cpu_s']:.2f} s")
    print(f"written to {machine.write('compress_layer', {'layer': vars(options), 'methods': table})}")


if __name__ == "__main__":
    main()
