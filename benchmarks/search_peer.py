"""Client of the transformers peer: starts the process, sends one request at a time, checks answers.

Knows the peer's protocol (peers/transformers_beam.py); knows no search, clock or report. The peer's OpenMP
threads spin for some milliseconds after an answer: leave a pause before timing anything else.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.peers.setup import ensure_peer

SCRIPT = Path(__file__).resolve().parent / "peers" / "transformers_beam.py"


@dataclass(frozen=True)
class PeerOptions:
    """How the peer runs; the meaning of each is in peers/transformers_beam.py."""

    dtype: str = "bf16"  # "bf16" | "fp32" | "int8"
    beams: int = 10
    early_stopping: str = "true"  # "true" | "false" | "never"
    prefill: str = "plain"  # "plain" | "once"
    shared: str = ""  # text that all prompts begin with
    adapter: str = ""  # folder in peft's format, merged into the weights
    threads: int = 2
    prefix: str = " "  # before each keyword
    end: str = "\n"  # after each keyword

    def arguments(self) -> list[str]:
        """Command-line arguments of the peer script."""
        pairs = {name.replace("_", "-"): str(value) for name, value in vars(self).items()}
        return [f"--{name}={value}" for name, value in pairs.items()]


@dataclass(frozen=True)
class PeerAnswer:
    """One answer: milliseconds of the request, forwards, keywords and their sums of log-probabilities."""

    ms: float
    forwards: int
    keywords: list[str]
    scores: list[float]


@dataclass(frozen=True)
class ScoreCheck:
    """Keywords that two answers share and the largest difference of their scores (0 where none is shared)."""

    num_common: int
    max_difference: float


def check_scores(ours: Mapping[str, float], theirs: Mapping[str, float]) -> ScoreCheck:
    """Compares the scores of the keywords that both answers hold."""
    common = ours.keys() & theirs.keys()
    return ScoreCheck(len(common), max((abs(ours[key] - theirs[key]) for key in common), default=0.0))


class TransformersPeer:
    """A running peer process; a context manager. Raises RuntimeError if the peer fails or falls silent."""

    def __init__(
        self,
        gguf: Path,
        keywords: Sequence[str],
        options: PeerOptions | None = None,
        *,
        python: Path | None = None,
    ) -> None:
        """Starts the process and waits until it is ready; `python` overrides the peer's own environment."""
        self._keywords = list(keywords)
        self._folder = tempfile.TemporaryDirectory()
        options = options or PeerOptions()
        keywords_file = Path(self._folder.name) / "keywords.txt"
        keywords_file.write_text("\n".join(self._keywords) + "\n", encoding="utf-8")
        self._errors = open(Path(self._folder.name) / "stderr.txt", "w+", encoding="utf-8")  # noqa: SIM115
        arguments = [str(SCRIPT), f"--gguf={gguf}", f"--keywords={keywords_file}", *options.arguments()]
        settings = {"OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [str(python or ensure_peer("transformers")), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | settings,
        )
        try:
            self.ready = self._read(timeout_s=600.0)
        except RuntimeError:
            self.close()
            raise

    def request(
        self, tokens: Sequence[int], *, with_scores: bool = True, timeout_s: float = 120.0
    ) -> PeerAnswer:
        """The peer's answer to one prompt, given as token ids."""
        assert self._process.stdin is not None
        message = {"tokens": [int(token) for token in tokens], "scores": with_scores}
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError(self._failure("stopped")) from None
        answer = self._read(timeout_s)
        keywords = [self._keywords[entry] for entry in answer["entries"]]
        return PeerAnswer(answer["ms"], answer["forwards"], keywords, answer.get("scores", []))

    def _read(self, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                raise RuntimeError(self._failure(f"did not answer within {timeout_s:.0f} s"))
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(self._failure("stopped"))
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"the transformers peer refused a request: {answer['error']}")
        return answer

    def _failure(self, what: str) -> str:
        self._errors.flush()
        self._errors.seek(0)
        return f"the transformers peer {what}; it last said: {self._errors.read()[-1500:]}"

    def close(self) -> None:
        """Ends the process."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # a request that a dead peer did not take
                self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()
        self._folder.cleanup()

    def __enter__(self) -> TransformersPeer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
