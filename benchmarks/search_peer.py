"""Client of the transformers peer: starts the process, sends one request at a time, checks answers.

Knows the peer's protocol (peers/transformers_beam.py); knows no search, clock or report. The peer's OpenMP
threads spin for some milliseconds after an answer: leave a pause before timing anything else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.json_process import JsonProcess
from benchmarks.peers.setup import ensure_peer, peer_environment

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


class TransformersPeer(JsonProcess):
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
        options = options or PeerOptions()
        with tempfile.TemporaryDirectory() as folder:  # read before the peer says ready
            keywords_file = Path(folder) / "keywords.txt"
            keywords_file.write_text("\n".join(self._keywords) + "\n", encoding="utf-8")
            arguments = [str(SCRIPT), f"--gguf={gguf}", f"--keywords={keywords_file}", *options.arguments()]
            settings = {"OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
            environment = peer_environment() | settings
            command = [str(python or ensure_peer("transformers")), *arguments]
            super().__init__("transformers peer", command, environment)

    def request(
        self, tokens: Sequence[int], *, with_scores: bool = True, timeout_s: float = 120.0
    ) -> PeerAnswer:
        """The peer's answer to one prompt, given as token ids."""
        message = {"tokens": [int(token) for token in tokens], "scores": with_scores}
        answer = self.ask(message, timeout_s)
        keywords = [self._keywords[entry] for entry in answer["entries"]]
        return PeerAnswer(answer["ms"], answer["forwards"], keywords, answer.get("scores", []))
