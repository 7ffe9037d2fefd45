"""llama.cpp through llama-cpp-python's bindings: one llama_decode per forward, logits of the last row."""

from __future__ import annotations

import argparse
import ctypes
from typing import Any

from protocol import CONTEXT, Decoder, Generated, Timeline, serve


class Llama(Decoder):
    """A GGUF file in llama.cpp, its weights repacked for this processor where it knows how."""

    packages = ("llama-cpp-python",)

    def __init__(self, arguments: argparse.Namespace) -> None:
        import llama_cpp

        self.library, self.threads = llama_cpp, arguments.threads
        self.model = llama_cpp.Llama(
            model_path=arguments.model,
            n_ctx=CONTEXT,
            n_batch=512,
            n_ubatch=512,
            n_threads=arguments.threads,
            n_threads_batch=arguments.threads,
            verbose=False,
        )
        self.context = self.model._ctx.ctx
        self.vocab = self.model.n_vocab()

    def settings(self) -> dict[str, Any]:
        features = self.library.llama_print_system_info().decode()
        return {"threads": self.threads, "n_ubatch": 512, "features": features}

    def generate(self, tokens: list[int], count: int) -> Generated:
        self.library.llama_memory_clear(self.library.llama_get_memory(self.context), True)
        line = Timeline()
        token = line.add(self._forward(tokens))
        for _ in range(count - 1):
            token = line.add(self._forward([token]))
        return line.generated()

    def _forward(self, tokens: list[int]) -> int:
        import numpy as np

        array = (self.library.llama_token * len(tokens))(*tokens)
        code = self.library.llama_decode(self.context, self.library.llama_batch_get_one(array, len(tokens)))
        if code != 0:
            raise RuntimeError(f"llama_decode gave {code}")
        logits = self.library.llama_get_logits_ith(self.context, -1)
        values = np.ctypeslib.as_array(ctypes.cast(logits, ctypes.POINTER(ctypes.c_float)), (self.vocab,))
        return int(values.argmax())


if __name__ == "__main__":
    serve(Llama)
