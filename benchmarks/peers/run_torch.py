"""transformers as it comes (bf16 or fp32), or its linears in torch's dynamic INT8 (form int8).

One forward per token with a KV cache and logits of the last row only: less overhead than generate().
"""

from __future__ import annotations

import argparse
import ctypes
import gc
from typing import Any

from protocol import Decoder, Generated, Timeline, serve


class Transformers(Decoder):
    """AutoModelForCausalLM of a Hugging Face folder in inference mode."""

    packages = ("torch", "transformers")

    def __init__(self, arguments: argparse.Namespace) -> None:
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        torch.set_num_threads(arguments.threads)
        self.torch, self.cache = torch, transformers.DynamicCache
        self.form, self.threads = arguments.form, arguments.threads
        dtype = torch.bfloat16 if arguments.form == "bf16" else torch.float32
        model = transformers.AutoModelForCausalLM.from_pretrained(arguments.model, dtype=dtype).eval()
        if arguments.form == "int8":
            # Not a copy: beside other engines there is no room for float32 weights of a second model.
            linears = {torch.nn.Linear}
            torch.ao.quantization.quantize_dynamic(model, linears, dtype=torch.qint8, inplace=True)
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)
        self.model = model

    def settings(self) -> dict[str, Any]:
        return {
            "threads": self.threads,
            "form": self.form,
            "quantized_engine": self.torch.backends.quantized.engine,
            "attention": self.model.config._attn_implementation,
        }

    def generate(self, tokens: list[int], count: int) -> Generated:
        with self.torch.inference_mode():
            cache = self.cache()
            line = Timeline()
            token = line.add(self._forward(tokens, cache))
            for _ in range(count - 1):
                token = line.add(self._forward([token], cache))
        return line.generated()

    def _forward(self, tokens: list[int], cache: Any) -> int:
        ids = self.torch.tensor([tokens])
        logits = self.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        return int(logits[0, -1].argmax())


if __name__ == "__main__":
    serve(Transformers)
