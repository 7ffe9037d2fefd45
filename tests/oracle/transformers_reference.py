"""Writes transformers' tokens and float32 last-token logits of prompts for a GGUF file. Knows no adtrie.

Run by a Python with transformers and gguf as `transformers_reference.py MODEL.gguf PROMPTS.json OUT.npz
[ADAPTER]`. ADAPTER is a folder in peft's format, loaded by peft itself.
OUT holds tokens int32[sum of T], offsets int64[n+1], logits float32[n, V].
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(gguf: Path, prompts_file: Path, out: Path, adapter: Path | None = None) -> None:
    prompts = json.loads(prompts_file.read_text(encoding="utf-8"))
    folder, name = str(gguf.parent), gguf.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter)).eval()
    sequences = [tokenizer(prompt, add_special_tokens=False).input_ids for prompt in prompts]
    rows = []
    with torch.inference_mode():
        for sequence in sequences:  # one at a time: padding would change which kernels run
            rows.append(model(torch.tensor([sequence]), logits_to_keep=1).logits[0, -1].numpy())
    partial = out.with_suffix(".partial.npz")
    np.savez(
        partial,
        tokens=np.concatenate(sequences).astype(np.int32),
        offsets=np.cumsum([0, *map(len, sequences)]).astype(np.int64),
        logits=np.stack(rows).astype(np.float32),
    )
    os.replace(partial, out)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
