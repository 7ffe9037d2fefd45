"""CTranslate2's generator in INT8, greedy; each step reports its token."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from protocol import Decoder, Generated, Timeline, serve


class CTranslate2(Decoder):
    """A converted folder; tokens go by name there, so ids are looked up in its vocabulary."""

    packages = ("ctranslate2",)

    def __init__(self, arguments: argparse.Namespace) -> None:
        import ctranslate2

        self.threads = arguments.threads
        self.generator = ctranslate2.Generator(
            arguments.model,
            device="cpu",
            compute_type=arguments.form or "int8",
            inter_threads=1,
            intra_threads=arguments.threads,
        )
        self.names = json.loads((Path(arguments.model) / "vocabulary.json").read_text(encoding="utf-8"))

    def settings(self) -> dict[str, Any]:
        return {"threads": self.threads, "compute_type": self.generator.compute_type}

    def generate(self, tokens: list[int], count: int) -> Generated:
        line = Timeline()
        self.generator.generate_batch(
            [[self.names[token] for token in tokens]],
            max_length=count,
            min_length=count,
            sampling_topk=1,
            include_prompt_in_result=False,
            callback=lambda step: line.add(step.token_id) < 0,  # false: go on
        )
        return line.generated()


if __name__ == "__main__":
    serve(CTranslate2)
