"""OpenVINO GenAI on a GGUF file, with its own clock: the pipeline reports each token's time itself."""

from __future__ import annotations

import argparse
from typing import Any

from protocol import Decoder, Generated, serve


class OpenVino(Decoder):
    """LLMPipeline on the processor with as many threads as asked for, other settings as they come."""

    packages = ("openvino-genai", "openvino")

    def __init__(self, arguments: argparse.Namespace) -> None:
        import openvino
        import openvino_genai

        self.openvino, self.genai, self.threads = openvino, openvino_genai, arguments.threads
        self.pipeline = openvino_genai.LLMPipeline(
            arguments.model, "CPU", INFERENCE_NUM_THREADS=arguments.threads
        )

    def settings(self) -> dict[str, Any]:
        return {"threads": self.threads, "hint": "default"}

    def generate(self, tokens: list[int], count: int) -> Generated:
        import numpy as np

        ids = np.array([tokens], np.int64)
        prompt = self.genai.TokenizedInputs(
            self.openvino.Tensor(ids), self.openvino.Tensor(np.ones_like(ids))
        )
        config = self.genai.GenerationConfig(
            max_new_tokens=count, min_new_tokens=count, ignore_eos=True, do_sample=False
        )
        result = self.pipeline.generate(prompt, config)
        times = result.perf_metrics
        first = times.get_ttft().mean / 1e3
        rest = times.get_tpot().mean / 1e3 * (count - 1) if count > 1 else 0.0
        return Generated([int(token) for token in result.tokens[0]], first, rest)


if __name__ == "__main__":
    serve(OpenVino)
