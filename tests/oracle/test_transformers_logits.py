"""The engine in float32 on the real model against transformers (and peft) on the same file: tokens, logits.

transformers runs in another process and its answers are kept in the temporary folder (40 MB), because loading
the GGUF there takes half a minute. Which Python: $ADTRIE_ORACLE_PYTHON, else this one if it has transformers
(the peer of the search benchmark, .peers/transformers/bin/python, will do). Minutes, so never by accident.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from adtrie.engine import Engine
from adtrie.evaluate import load_task
from adtrie.models import AdaptedCheckpoint, Checkpoint, open_checkpoint
from adtrie.models.adapter import adapted_checkpoint, adapter_folder, shipped_adapters
from adtrie.models.adapter_files import WEIGHTS_FILE
from adtrie.models.alias import cached_path

pytestmark = [pytest.mark.oracle, pytest.mark.model]

ALIAS = "smollm2-135m"
NUM_PROMPTS, NUM_ADAPTED = 200, 20
SCRIPT = Path(__file__).with_name("transformers_reference.py")


@dataclass(frozen=True)
class Reference:
    """Tokens of each prompt and logits float32[n, V] after its last token, as transformers gives them."""

    prompts: list[str]
    tokens: list[NDArray[np.int32]]
    logits: NDArray[np.float32]


def oracle_python() -> str:
    """A Python that has transformers; skips the test where there is none."""
    chosen = os.environ.get("ADTRIE_ORACLE_PYTHON")
    if chosen:
        return chosen
    if all(importlib.util.find_spec(name) for name in ("transformers", "torch", "gguf")):
        return sys.executable
    pytest.skip("no Python with transformers: install adtrie[oracle] or set ADTRIE_ORACLE_PYTHON")


def computed_reference(gguf: Path, prompts: list[str], adapter: Path | None = None) -> Reference:
    """What transformers_reference.py finds for these prompts and this file, computed once per machine."""
    stat = gguf.stat()
    parts = [SCRIPT.read_text(encoding="utf-8"), str(stat.st_size), str(stat.st_mtime_ns), *prompts]
    parts += [] if adapter is None else [hashlib.sha256((adapter / WEIGHTS_FILE).read_bytes()).hexdigest()]
    key = hashlib.sha256("\x1f".join(parts).encode("utf-8")).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / "adtrie-oracle"
    folder.mkdir(exist_ok=True)
    out = folder / f"{key}.npz"
    if not out.exists():
        prompts_file = folder / f"{key}.json"
        prompts_file.write_text(json.dumps(prompts), encoding="utf-8")
        command = [oracle_python(), str(SCRIPT), str(gguf), str(prompts_file), str(out)]
        command += [] if adapter is None else [str(adapter)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
        if adapter is not None and "No module named 'peft'" in done.stderr:
            pytest.skip("no Python with peft: install it beside transformers or set ADTRIE_ORACLE_PYTHON")
        assert done.returncode == 0, done.stderr[-2000:]
    with np.load(out) as arrays:
        return Reference(prompts, np.split(arrays["tokens"], arrays["offsets"][1:-1]), arrays["logits"])


@pytest.fixture(scope="module")
def gguf() -> Path:
    path = cached_path(ALIAS)
    if not path.is_file():
        pytest.skip(f"{ALIAS} is not cached: run `adtrie inspect {ALIAS}` once")
    return path


@pytest.fixture(scope="module")
def reference(gguf: Path) -> Reference:
    rows = load_task("pricerunner").sample("test", NUM_PROMPTS)
    prompts = [f"Listing: {row.query}\nProduct name:" for row in rows]
    return computed_reference(gguf, prompts)


@pytest.fixture(scope="module")
def checkpoint(gguf: Path) -> Checkpoint:
    return open_checkpoint(gguf)


def test_tokens_are_those_of_transformers(checkpoint: Checkpoint, reference: Reference) -> None:
    for prompt, tokens in zip(reference.prompts, reference.tokens, strict=True):
        assert checkpoint.tokenizer.encode_template(prompt).tolist() == tokens.tolist(), prompt


def test_float32_logits_are_those_of_transformers(checkpoint: Checkpoint, reference: Reference) -> None:
    assert len(reference.tokens) == NUM_PROMPTS
    check_logits(checkpoint, reference)


@pytest.mark.parametrize("name", shipped_adapters())
def test_peft_gives_the_logits_of_a_shipped_adapter(gguf: Path, name: str) -> None:
    with adapted_checkpoint(open_checkpoint(gguf), name) as adapted:
        assert adapted.template is not None
        queries = [row.query for row in load_task("pricerunner").sample("test", NUM_ADAPTED)]
        prompts = [adapted.template.replace("{query}", query) for query in queries]
        check_logits(adapted, computed_reference(gguf, prompts, adapter_folder(name)))


def check_logits(checkpoint: Checkpoint | AdaptedCheckpoint, reference: Reference) -> None:
    engine = Engine(checkpoint, weights="float32", activations="float32")
    for prompt, tokens, expected in zip(reference.prompts, reference.tokens, reference.logits, strict=True):
        found = engine.logits(tokens)[-1]
        error = np.abs(found - expected).max() / np.abs(expected).max()
        assert error <= 1e-4, f"{prompt!r}: relative error {error:.1e}"
        assert found.argmax() == expected.argmax(), prompt
