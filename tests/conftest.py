"""What all tests share: a slow machine is no reason to fail; a tiny real model."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import adtrie

settings.register_profile("adtrie", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("adtrie")
# A job in the background is started with Ctrl-C ignored, and would hand that on to the commands under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("model") / "llama"
    shutil.copytree(Path(__file__).parent / "golden" / "llama", made)
    return made


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[adtrie.Model]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADTRIE_CACHE", str(tmp_path_factory.mktemp("cache")))
        with adtrie.load_model(folder, weights="float32", activations="float32", threads=1) as loaded:
            yield loaded
