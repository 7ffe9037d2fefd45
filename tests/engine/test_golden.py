"""The native forward and the NumPy reference against the logits of transformers, every family."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adtrie.engine import Engine
from adtrie.engine.reference import ReferenceForward
from adtrie.models import Checkpoint, open_checkpoint
from golden import FAMILIES, golden_folder, golden_logits, sequences


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Checkpoint]:
    return request.param, open_checkpoint(golden_folder(request.param, tmp_path))


def test_reference_matches_transformers(family: tuple[str, Checkpoint]) -> None:
    name, checkpoint = family
    arrays = golden_logits(name)

    def tensor(key: str) -> object:
        return checkpoint.vector(key) if "norm" in key or "bias" in key else checkpoint.matrix(key)

    for key, tokens, parents in sequences(arrays):
        reference = ReferenceForward(checkpoint.spec, tensor)
        logits = reference.logits(reference.forward(tokens, parents))
        np.testing.assert_allclose(logits[:, arrays["columns"]], arrays[f"{key}_logits"], atol=2e-5)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_native_matches_transformers(family: tuple[str, Checkpoint], isa: str, threads: int) -> None:
    name, checkpoint = family
    arrays = golden_logits(name)
    engine = Engine(checkpoint, weights="float32", activations="float32", isa=isa, threads=threads)
    for key, tokens, parents in sequences(arrays):
        logits = engine.session().logits(tokens, parents)
        np.testing.assert_allclose(logits[:, arrays["columns"]], arrays[f"{key}_logits"], atol=2e-5)
        assert (logits.argmax(axis=1) == arrays[f"{key}_argmax"]).all()


def test_scores_are_log_probabilities(family: tuple[str, Checkpoint], isa: str) -> None:
    name, checkpoint = family
    arrays = golden_logits(name)
    engine = Engine(checkpoint, weights="float32", activations="float32", isa=isa)
    columns = arrays["columns"]
    for key, tokens, parents in sequences(arrays):
        ptr = np.arange(len(tokens) + 1, dtype=np.int64) * len(columns)
        listed = np.tile(columns, len(tokens))
        raw = engine.session(score="raw").score(tokens, parents, ptr, listed).reshape(len(tokens), -1)
        expected = arrays[f"{key}_logits"] - arrays[f"{key}_logsumexp"][:, None]
        np.testing.assert_allclose(raw, expected, atol=3e-5)
        renormalised = engine.session(score="renormalised").score(tokens, parents, ptr, listed)
        logits = arrays[f"{key}_logits"].astype(np.float64)
        mass = np.log(np.exp(logits).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(renormalised.reshape(len(tokens), -1), logits - mass, atol=3e-5)
