"""Greedy decoding of llama.cpp held to a grammar: `llama_grammar.py MODEL GRAMMAR PROMPTS` prints JSON.

Runs in the environment of the peer llama_cpp. PROMPTS is a JSON list; the first one is not timed. Per prompt:
seconds with the grammar and without it for as many tokens, the text, its tokens.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import llama_cpp

MOST_TOKENS = 64


def answer(model: Any, prompt: str, grammar: Any, most: int) -> tuple[float, str, int]:
    """Seconds, text and number of tokens."""
    model.reset()
    started = time.perf_counter()
    found = model.create_completion(prompt, max_tokens=most, temperature=0.0, grammar=grammar)
    seconds = time.perf_counter() - started
    return seconds, found["choices"][0]["text"], found["usage"]["completion_tokens"]


def main() -> None:
    """Reads the three files, answers, prints."""
    model = llama_cpp.Llama(sys.argv[1], n_ctx=1024, n_threads=2, n_threads_batch=2, verbose=False)
    grammar = llama_cpp.LlamaGrammar.from_string(Path(sys.argv[2]).read_text(encoding="utf-8"), verbose=False)
    found = []
    for prompt in json.loads(Path(sys.argv[3]).read_text(encoding="utf-8")):
        seconds, text, count = answer(model, prompt, grammar, MOST_TOKENS)
        plain_s, _, plain_count = answer(model, prompt, None, count)
        found.append(
            {"s": seconds, "text": text, "tokens": count, "plain_s": plain_s, "plain_tokens": plain_count}
        )
    print(json.dumps({"version": llama_cpp.__version__, "answers": found[1:]}))


if __name__ == "__main__":
    main()
