"""Peer process: transformers' constrained beam search over the same model and keywords, over JSON lines.

Runs in a virtual environment of its own (setup.py) and knows nothing of adtrie. It loads everything, writes
one "ready" object, then answers one request at a time, so that a benchmark can interleave it with other runs.

request   {"tokens": [...]} or {"text": "..."}: the whole prompt; "scores": false leaves the scores away
answer    {"ms", "forwards", "entries": [line from 0], "scores": [sum of log-probabilities]}, or {"error"}

generate() is called with what makes it fastest: KV cache, inference mode, SDPA attention, warm-up.
--prefill plain   as everybody calls it: generate() repeats the prompt for each beam before the first forward
                  and keeps nothing between requests.
--prefill once    what a careful user can add by hand: the prompt is run for one sequence, on top of the kept
                  cache of the --shared text, and only the cache is repeated for the beams.
Either way each step computes the full vocabulary for every beam and reorders the cache.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, GenerationConfig

EARLY_STOPPING = {"true": True, "false": False, "never": "never"}
IMPOSSIBLE = -1e8  # generate() marks beams that do not exist with a score of -1e9


def build_trie(sequences: list[list[int]]) -> tuple[dict[int, Any], int]:
    """The keywords as nested dictionaries token -> node, and the length of the longest sequence."""
    root: dict[int, Any] = {}
    for sequence in sequences:
        node = root
        for token in sequence:
            node = node.setdefault(token, {})
    return root, max(map(len, sequences))


class BeamSearch:
    """The model, the trie and the generation settings of one run."""

    def __init__(self, options: argparse.Namespace) -> None:
        folder, name = str(options.gguf.parent), options.gguf.name
        self.tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
        dtype = torch.bfloat16 if options.dtype == "bf16" else torch.float32
        self.model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=dtype).eval()
        if options.adapter:
            from peft import PeftModel

            self.model = PeftModel.from_pretrained(self.model, options.adapter).merge_and_unload().eval()
        if options.dtype == "int8":
            self.model = torch.ao.quantization.quantize_dynamic(
                self.model, {torch.nn.Linear}, dtype=torch.qint8
            )
        keywords = options.keywords.read_text(encoding="utf-8").splitlines()
        end = self.encode(options.end)
        if len(end) != 1:
            raise ValueError(f"--end {options.end!r} is {len(end)} tokens; expected 1")
        sequences = [self.encode(options.prefix + keyword) + end for keyword in keywords]
        self.entry_of = {tuple(sequence): entry for entry, sequence in enumerate(sequences)}
        self.trie, self.longest = build_trie(sequences)
        self.end = end[0]
        self.forwards = 0
        self.model.register_forward_pre_hook(self._count)
        self.config = GenerationConfig(
            num_beams=options.beams,
            num_return_sequences=options.beams,
            max_new_tokens=self.longest,
            early_stopping=EARLY_STOPPING[options.early_stopping],
            length_penalty=0.0,  # score = sum of log-probabilities
            do_sample=False,
            use_cache=True,
            eos_token_id=self.end,
            pad_token_id=self.end,
            return_dict_in_generate=True,
        )
        self.prefill_once = options.prefill == "once"
        self.shared: list[int] = []
        self.shared_cache: DynamicCache | None = None

    def _count(self, *_: object) -> None:
        self.forwards += 1

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _run_once(self, tokens: list[int], cache: DynamicCache) -> DynamicCache:
        """`cache` continued by `tokens` for a single sequence."""
        if tokens:
            self.model(torch.tensor([tokens]), past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cache

    def remember(self, tokens: list[int]) -> None:
        """Keeps the cache of the first part that all prompts share."""
        with torch.inference_mode():
            self.shared, self.shared_cache = (
                tokens,
                self._run_once(tokens, DynamicCache(config=self.model.config)),
            )

    def _prefill(self, prompt: list[int]) -> DynamicCache:
        """The cache of all but the last prompt token: run for one sequence, then repeated for each beam."""
        fits = prompt[: len(self.shared)] == self.shared and len(prompt) > len(self.shared)
        if fits and self.shared_cache is not None:
            cache = self._run_once(prompt[len(self.shared) : -1], copy.deepcopy(self.shared_cache))
        else:
            cache = self._run_once(prompt[:-1], DynamicCache(config=self.model.config))
        cache.batch_repeat_interleave(self.config.num_beams)
        return cache

    def _allowed(self, prompt_len: int) -> Callable[[int, torch.Tensor], list[int]]:
        def allowed(_: int, sequence: torch.Tensor) -> list[int]:
            node: dict[int, Any] = self.trie
            for token in sequence[prompt_len:].tolist():
                node = node.get(token, {})
            return list(node) or [self.end]  # generate() refuses an empty list; such beams have no score

        return allowed

    def search(self, prompt: list[int], with_scores: bool = True) -> dict[str, Any]:
        """One request: milliseconds, forwards, and the entries found with their scores, best first."""
        extra: dict[str, Any] = {}
        self.forwards = 0
        start = time.perf_counter()
        with torch.inference_mode():
            tokens = torch.tensor([prompt])
            if self.prefill_once:
                extra["past_key_values"] = self._prefill(prompt)
            output = self.model.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                generation_config=self.config,
                prefix_allowed_tokens_fn=self._allowed(len(prompt)),
                output_scores=with_scores,  # without it no scores of the sequences are returned
                **extra,
            )
        ms = (time.perf_counter() - start) * 1e3
        rows = output.sequences[:, len(prompt) :].tolist()
        scores = output.sequences_scores.tolist() if with_scores else [0.0] * len(rows)
        found = [(self._entry(row), score) for row, score in zip(rows, scores, strict=True)]
        found = [(entry, score) for entry, score in found if entry is not None and score > IMPOSSIBLE]
        answer = {"ms": ms, "forwards": self.forwards, "entries": [entry for entry, _ in found]}
        return answer | ({"scores": [score for _, score in found]} if with_scores else {})

    def _entry(self, tokens: list[int]) -> int | None:
        """The entry whose sequence the generated tokens begin with, up to and with the end token."""
        length = tokens.index(self.end) + 1 if self.end in tokens else 0
        return self.entry_of.get(tuple(tokens[:length]))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gguf", type=Path, required=True)
    parser.add_argument("--keywords", type=Path, required=True, help="UTF-8 text, one keyword a line")
    parser.add_argument("--dtype", choices=["bf16", "fp32", "int8"], default="bf16")
    parser.add_argument("--beams", type=int, default=10)
    parser.add_argument("--early-stopping", choices=list(EARLY_STOPPING), default="true")
    parser.add_argument("--adapter", default="", help="folder in peft's format, merged into the weights")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prefix", default=" ", help="text before each keyword")
    parser.add_argument("--end", default="\n", help="text after each keyword, one token")
    parser.add_argument("--prefill", choices=["plain", "once"], default="plain", help="see above")
    parser.add_argument("--shared", default="", help="text all prompts begin with, kept with --prefill once")
    parser.add_argument("--warm-up", type=int, default=2, help="untimed requests before `ready`")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    # Libraries print to standard output; the protocol keeps a copy of it for itself.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def reply(answer: dict[str, Any]) -> None:
        channel.write(json.dumps(answer) + "\n")
        channel.flush()

    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    start = time.perf_counter()
    search = BeamSearch(options)
    if options.prefill == "once" and options.shared:
        search.remember(search.encode(options.shared))
    for _ in range(options.warm_up):
        search.search(search.encode(options.shared + " a short listing title to warm up\nProduct name:"))
    reply(
        {
            "ready": True,
            "load_s": time.perf_counter() - start,
            "entries": len(search.entry_of),
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }
    )
    for line in sys.stdin:
        try:
            request = json.loads(line)
            prompt = request["tokens"] if "tokens" in request else search.encode(request["text"])
            reply(search.search(prompt, request.get("scores", True)))
        except Exception as error:  # the benchmark decides what a failed request means
            reply({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
