"""The JSON lines that every engine process speaks. Standard library only: it runs in each peer's environment.

start     --model PATH --form NAME --threads N; other options are the engine's own
ready     {"ready": true, "load_s", "import_s", "versions", "settings"}: seconds from the first import to a
          usable model, and those of importing where the engine tells them apart, else 0
request   {"do": "generate", "tokens": [...], "count": n}: n tokens, greedy, from an empty cache, no early end
answer    {"tokens": [...], "first_s", "rest_s"}: seconds to the first token, and of the n - 1 after it
request   {"do": "memory"};  answer {"peak_bytes", "resident_bytes"} of the process
failure   {"error": "..."} to any request; the process goes on
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any, NamedTuple

CONTEXT = 1024  # tokens that prompt and answer take together at most


class Generated(NamedTuple):
    """Tokens of one greedy continuation, and seconds to the first and of the rest."""

    tokens: list[int]
    first_s: float
    rest_s: float


class Timeline:
    """Stamps of tokens as they come: what turns a token loop into `Generated`."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.tokens: list[int] = []
        self.stamps: list[float] = []

    def add(self, token: int) -> int:
        """Notes a token that has just become known, and returns it."""
        self.stamps.append(time.perf_counter())
        self.tokens.append(int(token))
        return int(token)

    def generated(self) -> Generated:
        """The continuation so far, at least one token."""
        return Generated(self.tokens, self.stamps[0] - self.started, self.stamps[-1] - self.stamps[0])


class Decoder:
    """What a peer's script implements around its engine."""

    packages: tuple[str, ...] = ()
    import_s = 0.0

    def settings(self) -> dict[str, Any]:
        """How the engine runs: threads, types, kernels."""
        raise NotImplementedError

    def generate(self, tokens: list[int], count: int) -> Generated:
        """`count` greedy tokens after the prompt, from an empty cache; end tokens do not end it."""
        raise NotImplementedError


def options() -> argparse.Namespace:
    """The options all engines take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="file or folder in the engine's own format")
    parser.add_argument("--form", default="", help="what the engine makes of it, where it has a choice")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def memory() -> dict[str, int]:
    """Peak and present resident bytes of this process, mapped files included."""
    with open("/proc/self/status", encoding="ascii") as file:
        fields = dict(line.split(":", 1) for line in file)
    kib = {name: int(fields[name].split()[0]) for name in ("VmHWM", "VmRSS")}
    return {"peak_bytes": kib["VmHWM"] * 1024, "resident_bytes": kib["VmRSS"] * 1024}


def serve(load: Callable[[argparse.Namespace], Decoder]) -> None:
    """Loads the engine, says ready, then answers requests until standard input ends."""
    arguments = options()
    # Libraries print to standard output; the protocol keeps a copy of it for itself.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def reply(answer: dict[str, Any]) -> None:
        channel.write(json.dumps(answer) + "\n")
        channel.flush()

    started = time.perf_counter()
    decoder = load(arguments)
    load_s = time.perf_counter() - started
    versions = {name: metadata.version(name) for name in decoder.packages}
    ready = {"load_s": load_s, "import_s": decoder.import_s, "versions": versions}
    reply({"ready": True, **ready, "settings": decoder.settings()})
    for line in sys.stdin:
        try:
            reply(answer_to(json.loads(line), decoder))
        except Exception as error:  # the benchmark decides what a failed request means
            reply({"error": f"{type(error).__name__}: {error}"})


def answer_to(request: dict[str, Any], decoder: Decoder) -> dict[str, Any]:
    """The answer to one request; raises whatever the engine raises, ValueError for a request unknown."""
    if request.get("do") == "memory":
        return memory()
    if request.get("do") != "generate":
        raise ValueError(f"expected do: generate or memory, got {request.get('do')!r}")
    tokens, count = [int(token) for token in request["tokens"]], int(request["count"])
    if not tokens or count < 1 or len(tokens) + count > CONTEXT:
        raise ValueError(f"{len(tokens)} tokens and {count} more; at least 1 each, {CONTEXT} together")
    generated = decoder.generate(tokens, count)
    if len(generated.tokens) != count:
        raise ValueError(f"the engine gave {len(generated.tokens)} tokens, {count} were asked for")
    return generated._asdict()
