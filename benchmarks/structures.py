"""Structures of allowed sequences side by side, each in a process of its own: `benchmarks.search` calls it.

Seconds to build, bytes per entry, microseconds of one step of 70 beams at each depth. What a structure lists
is compared with a brute force over the plain sequences before it is timed. Needs no model; texts need the
tokenizer of one. Fair objections: rivals are NumPy and Python as ours is, their originals are partly torch or
C++; a nested dictionary could also keep its nodes between steps, as no published code does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine
from benchmarks.structure_rivals import STRUCTURES, Prefix

BEAMS = 70
VOCAB_IDS, LENGTH_IDS = 2048, 8
MAX_DEPTH = 12  # steps timed; few texts are longer
DICT_BYTES_PER_EDGE = 230  # a dictionary of one item; used to tell what will not fit
MARISA = "marisa"


def structures_text(sizes: tuple[int, ...] = (12_613, 100_000, 1_735_369)) -> dict[str, Any]:
    """Keywords as the tokenizer of smollm2-135m writes them; sizes above the data's are what there is."""
    return {"beams": BEAMS, "sets": [_compare(f"text {size}", lambda n=size: _texts(n)) for size in sizes]}


def structures_ids(sizes: tuple[int, ...] = (1_000_000, 10_000_000)) -> dict[str, Any]:
    """Uniform codes of 8 tokens from a vocabulary of 2,048."""
    return {"beams": BEAMS, "sets": [_compare(f"ids {size}", lambda n=size: _ids(n)) for size in sizes]}


def with_earlier(result: dict[str, Any], path: Path) -> dict[str, Any]:
    """The result, and the sets of an earlier one in the file that it did not measure; each has its date."""
    earlier = json.loads(path.read_text())["sets"] if path.is_file() else []
    sets = {one["set"]: one for one in (*earlier, *result["sets"])}
    return {**result, "sets": sorted(sets.values(), key=lambda one: one["entries"])}


def _texts(size: int) -> tuple[NDArray[Any], NDArray[np.int64], int]:
    """Flat tokens, offsets, vocabulary of distinct texts: PriceRunner keywords, real strings above those."""
    from adtrie.evaluate import load_task
    from adtrie.models import open_checkpoint
    from benchmarks.catalogue import STRINGS, read_strings

    with open_checkpoint("smollm2-135m") as checkpoint:
        tokenizer = checkpoint.tokenizer
        keywords: Iterator[str] = iter(load_task("pricerunner").keywords)
        texts = keywords if size <= 12_613 else read_strings(STRINGS)
        flat, offsets = tokenizer.encode_batch([f" {text}" for text in islice(texts, size)])
        end = int(tokenizer.encode("\n")[0])
        return (*_distinct(flat, offsets, end), tokenizer.vocab_size)


def _distinct(
    flat: NDArray[Any], offsets: NDArray[np.int64], end: int
) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Sequences of 1 to 254 tokens without the end token in them, each once, closed by it."""
    seen: dict[bytes, None] = {}
    tokens = flat.astype(np.uint16)
    for first, last in zip(offsets.tolist(), offsets[1:].tolist(), strict=False):
        part = tokens[first:last]
        if 0 < part.size < 255 and not (part == end).any():
            seen.setdefault(part.tobytes() + np.uint16(end).tobytes())
    lengths = np.fromiter((len(one) // 2 for one in seen), np.int64, len(seen))
    return np.frombuffer(b"".join(seen), np.uint16), np.concatenate(
        (np.zeros(1, np.int64), np.cumsum(lengths))
    )


def _ids(size: int) -> tuple[NDArray[Any], NDArray[np.int64], int]:
    codes = np.random.default_rng(0).integers(0, VOCAB_IDS, (size, LENGTH_IDS), dtype=np.uint16)
    return codes.ravel(), np.arange(0, codes.size + 1, LENGTH_IDS), VOCAB_IDS  # equal ones are refused later


def _compare(name: str, make: Callable[[], tuple[NDArray[Any], NDArray[np.int64], int]]) -> dict[str, Any]:
    """All structures on one set of sequences."""
    with tempfile.TemporaryDirectory() as folder:
        tokens, offsets, vocab = make()
        np.save(Path(folder) / "tokens.npy", tokens)
        np.save(Path(folder) / "offsets.npy", offsets)
        steps = _steps(tokens, offsets)
        (Path(folder) / "steps.json").write_text(json.dumps({"vocab": vocab, "steps": steps}))
        num_entries, num_tokens = len(offsets) - 1, int(offsets[-1])
        del tokens, offsets
        load, found = machine.ForeignLoad(), {}
        for structure in (*STRUCTURES, MARISA):
            print(f"{name}: {structure} ...", file=sys.stderr, flush=True)
            found[structure] = _measured(structure, Path(folder), num_entries, num_tokens)
        return {
            "set": name,
            "date": time.strftime("%Y-%m-%d"),
            "entries": num_entries,
            "vocabulary": vocab,
            "beams_per_step": [len(step["prefixes"]) for step in steps],
            "foreign_load": round(load.share(), 3),
            "structures": found,
        }


def _steps(tokens: NDArray[Any], offsets: NDArray[np.int64]) -> list[dict[str, Any]]:
    """For each depth the distinct prefixes of random entries that go on, their children by brute force."""
    rng = np.random.default_rng(7)
    lengths = np.diff(offsets)
    steps: list[dict[str, Any]] = []
    below: dict[Prefix, NDArray[np.int64]] = {(): np.arange(len(lengths))}
    chosen = rng.integers(0, len(lengths), BEAMS)
    for depth in range(min(MAX_DEPTH, int(lengths.max()))):
        children, deeper = [], {}
        for prefix, rows in below.items():
            column = tokens[offsets[rows] + depth]
            children.append(np.unique(column).tolist())
            for token in {
                int(tokens[offsets[row] + depth]) for row in chosen if _begins(row, prefix, tokens, offsets)
            }:
                inside = rows[column == token]
                if inside.size > 1 or lengths[inside[0]] > depth + 1:
                    deeper[(*prefix, token)] = inside
        steps.append({"prefixes": list(below), "children": children})
        below = deeper
        if not below:
            break
    return steps


def _begins(row: int, prefix: Prefix, tokens: NDArray[Any], offsets: NDArray[np.int64]) -> bool:
    first, last = int(offsets[row]), int(offsets[row + 1])
    return last - first > len(prefix) and tuple(tokens[first : first + len(prefix)].tolist()) == prefix


def _measured(structure: str, folder: Path, num_entries: int, num_tokens: int) -> dict[str, Any]:
    """The result of one structure in its own process; a reason where it cannot run here."""
    if structure == "nested dictionary":
        needed, there = DICT_BYTES_PER_EDGE * num_tokens, _available_bytes()
        if needed > there:  # most tokens of large sets have an edge of their own
            return {"skipped": f"about {needed / 2**30:.0f} GiB needed, {there / 2**30:.0f} GiB available"}
    if structure == MARISA:
        from benchmarks.peers.setup import ensure_peer

        try:
            python = str(ensure_peer("marisa"))
        except RuntimeError as error:
            return {"skipped": str(error).splitlines()[-1]}
        command = [python, str(Path(__file__).parent / "peers" / "marisa_children.py"), str(folder)]
    else:
        command = [sys.executable, "-m", "benchmarks.structure_process", structure, str(folder)]
    done = subprocess.run(command, cwd=machine.ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{structure}: {done.stderr.strip()[-1500:] or f'ended with {done.returncode}'}")
    result: dict[str, Any] = json.loads(done.stdout)
    result["bytes_per_entry"] = round(result.pop("bytes") / num_entries, 1)
    return result


def _available_bytes() -> int:
    """Memory that can be used without swapping, as the kernel estimates it."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(line for line in lines if line.startswith("MemAvailable"))
    return int(available.split()[1]) * 1024 if available else os.sysconf("SC_AVPHYS_PAGES")
