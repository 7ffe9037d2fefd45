"""ONNX Runtime GenAI on a folder of its builder (INT4 in blocks of 32, accuracy level 4: INT8 kernels)."""

from __future__ import annotations

import argparse
from typing import Any

from protocol import CONTEXT, Decoder, Generated, Timeline, serve


class OnnxRuntime(Decoder):
    """og.Model with the threads of the folder's genai_config.json (export.py sets them)."""

    packages = ("onnxruntime-genai", "onnxruntime")

    def __init__(self, arguments: argparse.Namespace) -> None:
        import onnxruntime_genai

        self.library, self.threads = onnxruntime_genai, arguments.threads
        self.model = onnxruntime_genai.Model(arguments.model)

    def settings(self) -> dict[str, Any]:
        return {"threads": self.threads, "accuracy_level": 4, "block": 32}

    def generate(self, tokens: list[int], count: int) -> Generated:
        parameters = self.library.GeneratorParams(self.model)
        # The least length equals the greatest: end tokens cannot be chosen.
        length = min(CONTEXT, len(tokens) + count)
        parameters.set_search_options(do_sample=False, max_length=length, min_length=length)
        generator = self.library.Generator(self.model, parameters)
        line = Timeline()
        generator.append_tokens(tokens)
        for _ in range(count):
            generator.generate_next_token()
            line.add(generator.get_next_tokens()[0])
        return line.generated()


if __name__ == "__main__":
    serve(OnnxRuntime)
