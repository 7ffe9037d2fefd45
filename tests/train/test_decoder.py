"""The torch decoder: logits of transformers, gradients of its merged linears, padding without effect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]", exc_type=ImportError)

from adtrie.models import open_checkpoint
from adtrie.train.adapted_linear import AdaptedLinear, LoraShape
from adtrie.train.decoder import Decoder

FAMILIES = ("llama", "llama3", "mistral", "qwen2", "qwen3", "ernie4_5")
ALL = ("q", "k", "v", "o", "gate", "up", "down")


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_transformers(models: Callable[[str], Path], family: str) -> None:
    with open_checkpoint(models(family)) as checkpoint:
        decoder = Decoder(checkpoint, LoraShape(4, 8.0, ALL))
    with np.load(models(family) / "logits.npz") as arrays, torch.no_grad():
        for key in ("chain0", "chain1", "chain2"):
            tokens = torch.from_numpy(arrays[f"{key}_tokens"].astype(np.int64))[None]
            logits = decoder.logits(decoder.hidden(tokens)[0]).numpy()
            np.testing.assert_allclose(logits[:, arrays["columns"]], arrays[f"{key}_logits"], atol=3e-5)


def test_padding_has_no_effect(models: Callable[[str], Path]) -> None:
    with open_checkpoint(models("llama")) as checkpoint:
        decoder = Decoder(checkpoint, None)
    tokens = torch.arange(40, 52)[None]
    with torch.no_grad():
        alone = decoder.hidden(tokens)[0]
        padded = torch.zeros(2, 20, dtype=torch.int64)
        padded[0, :12] = tokens
        torch.testing.assert_close(decoder.hidden(padded)[0, :12], alone, atol=1e-5, rtol=1e-5)


def test_gradients_of_a_merged_linear() -> None:
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float32)

    shape = LoraShape(3, 6.0, ("q", "v"))
    weights = [draw(8, 6), draw(4, 6), draw(4, 6)]
    linear = AdaptedLinear(weights, ["layers.0.q", "layers.0.k", "layers.0.v"], shape)
    linear.a.data.copy_(draw(*linear.a.shape))
    for b in linear.b:
        b.data.copy_(draw(*b.shape))
    linear.merge()
    x, upstream = draw(2, 5, 6).requires_grad_(), draw(2, 5, 16)
    (linear(x) * upstream).sum().backward()
    found = [x.grad, linear.a.grad, *(b.grad for b in linear.b)]

    leaves = [t.detach().clone().requires_grad_() for t in (x, linear.a, *linear.b)]
    x2, a, b_q, b_v = leaves
    plain = torch.cat([x2 @ w.T for w in weights], dim=-1)
    zero = torch.zeros(2, 5, 4)
    delta = torch.cat([x2 @ a[:3].T @ b_q.T, zero, x2 @ a[3:].T @ b_v.T], dim=-1)
    out = plain + 2.0 * delta
    torch.testing.assert_close(linear(x), out, atol=1e-5, rtol=1e-5)
    (out * upstream).sum().backward()
    for got, leaf in zip(found, leaves, strict=True):
        torch.testing.assert_close(got, leaf.grad, atol=1e-4, rtol=1e-4)
