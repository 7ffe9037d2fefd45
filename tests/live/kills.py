"""Kills a writer again and again and compares what it leaves with the history that it acknowledged."""

from __future__ import annotations

import os
import random as random_module
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from live_model import Model, held, rebuilt
from storm import BASE, apply, change_of

from adtrie.live import LiveCatalogue

STORM = Path(__file__).with_name("storm.py")


@dataclass
class Outcome:
    """Kills done, versions at the end, kills that came while a base was being written."""

    kills: int
    versions: int
    amid_compaction: int


def check_kills(path: Path, kills: int, seed: int, longest_s: float, random: random_module.Random) -> Outcome:
    """Raises AssertionError when anything acknowledged is missing, or anything else is there."""
    folder, model, version, amid = path / "live", Model(BASE), 0, 0
    LiveCatalogue.create(folder, rebuilt(BASE))
    for _ in range(kills):
        acknowledged = _storm(folder, seed, version + 1, random.uniform(0.0, longest_s)) or version
        amid += bool(list(folder.glob(".base-*.tmp")))
        with LiveCatalogue.open(folder) as live:
            assert acknowledged <= live.version <= acknowledged + 1
            while version < live.version:
                version += 1
                apply(model, change_of(version, seed))
            assert held(live.snapshot()) == model.content()
            assert live.snapshot().pauses == model.pauses
    return Outcome(kills, version, amid)


def _storm(folder: Path, seed: int, first: int, seconds: float) -> int:
    """The last version that a writer acknowledged before it was killed; 0 when it was none."""
    command = [sys.executable, str(STORM), str(folder), str(seed), str(first)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as writer:
        assert writer.stdout is not None and writer.stderr is not None
        begun = writer.stdout.readline()  # so that kills fall among changes, not before them
        time.sleep(seconds)
        assert writer.poll() is None, writer.stderr.read().decode()
        writer.send_signal(signal.SIGKILL)
        lines = (begun + writer.stdout.read()).decode().split("\n")
    return max((int(line) for line in lines[:-1] if line), default=0)
