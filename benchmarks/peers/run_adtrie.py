"""adtrie itself in the same protocol: a session of the engine, logits of the last row only.

Form is a weight format, with the activations that suit it; empty: as the file has it.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from protocol import CONTEXT, Decoder, Generated, Timeline, serve


class Adtrie(Decoder):
    """A packed or Hugging Face folder or GGUF file."""

    packages = ("adtrie", "numpy")

    def __init__(self, arguments: argparse.Namespace) -> None:
        began = time.perf_counter()
        from adtrie.api import load_model

        self.import_s = time.perf_counter() - began
        self.model = load_model(
            arguments.model,
            weights=arguments.form or "auto",
            threads=arguments.threads,
        )
        self.model.engine.latency()  # the plan: from its cache after the first start
        self.session = self.model.engine.session(max_rows=CONTEXT)

    def settings(self) -> dict[str, Any]:
        engine = self.model.engine
        return {"threads": engine.num_threads, "isa": engine.isa, "weight_bytes": engine.weight_bytes}

    def generate(self, tokens: list[int], count: int) -> Generated:
        self.session.reset()
        line = Timeline()
        token = line.add(self._forward(tokens, -1))
        for position in range(len(tokens) - 1, len(tokens) + count - 2):
            token = line.add(self._forward([token], position))
        return line.generated()

    def _forward(self, tokens: list[int], parent: int) -> int:
        import numpy as np

        chain = np.arange(parent, parent + len(tokens), dtype=np.int32)
        return int(self.session.logits(np.array(tokens, np.int32), chain, len(tokens) - 1)[0].argmax())


if __name__ == "__main__":
    serve(Adtrie)
