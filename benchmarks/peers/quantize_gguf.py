"""A GGUF file in another of llama.cpp's types, in its environment: `quantize_gguf.py IN OUT q4_0|q8_0`.

What is already quantized is quantized again: good for speed, not for quality.
"""

from __future__ import annotations

import ctypes
import sys

import llama_cpp

TYPES = {"q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0, "q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0}


def main() -> int:
    """Exit code 0 where the file was written."""
    source, out, kind = sys.argv[1:]
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype, parameters.allow_requantize, parameters.nthread = TYPES[kind], True, 2
    return int(llama_cpp.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(parameters)))


if __name__ == "__main__":
    sys.exit(main())
