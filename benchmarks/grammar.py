"""llama.cpp held to a catalogue by a grammar, beside our beam of width 1: greedy both, the same model file.

The grammar is a radix tree of the entries' characters, the form that gives its matcher the fewest
alternatives at a time. `benchmarks.search grammar` calls it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from adtrie.api import Model, load_model
from adtrie.catalogue import Catalogue
from adtrie.evaluate import load_task
from adtrie.models.alias import resolve_alias
from benchmarks import machine
from benchmarks.catalogue import MAX_TOKENS, STRINGS, read_strings
from benchmarks.peers.setup import HERE, ensure_peer, peer_environment

SIZES = (100, 1_000, 12_613, 100_000)
PROMPTS, LIMIT_S = 6, 240.0
MODEL = "smollm2-135m"


def grammar_of(texts: Sequence[str]) -> str:
    """GBNF rules for exactly these texts, each closed by a line end; texts are distinct and have none."""
    rules: list[str] = []
    _add_rule(rules, sorted(f"{text}\n" for text in texts), 0)
    return "root ::= r0\n" + "".join(rules)


def _add_rule(rules: list[str], texts: Sequence[str], at: int) -> str:
    """The name of the rule for the rest of `texts` (sorted) from character `at` on."""
    name, place = f"r{len(rules)}", len(rules)
    rules.append("")
    edges, first = [], 0
    while first < len(texts):
        last = first + 1
        while last < len(texts) and texts[last][at] == texts[first][at]:
            last += 1
        end = len(texts[first]) if last == first + 1 else _common(texts[first], texts[last - 1], at)
        edge = _quoted(texts[first][at:end])
        edges.append(edge if last == first + 1 else f"{edge} {_add_rule(rules, texts[first:last], end)}")
        first = last
    rules[place] = f"{name} ::= {' | '.join(edges)}\n"
    return name


def _common(one: str, other: str, at: int) -> int:
    """Where two texts that agree up to `at` first differ."""
    while one[at] == other[at]:
        at += 1
    return at


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def compare(sizes: Sequence[int] = SIZES) -> dict[str, Any]:
    """Milliseconds of an answer by number of entries; why a size was not managed."""
    task = load_task("pricerunner")
    queries = [row.query for row in task.sample("test", PROMPTS)]
    model = load_model(MODEL)
    return {
        "model": MODEL,
        "threads": model.engine.num_threads,
        "limit_s": LIMIT_S,
        "sets": [_at(size, model, _texts(task.keywords, size), queries) for size in sizes],
    }


def _texts(keywords: Sequence[str], size: int) -> list[str]:
    """The first keywords; real strings where they are not enough."""
    if size <= len(keywords):
        return list(keywords[:size])
    readable = (text.strip() for text in read_strings(STRINGS) if text.strip() and text.isprintable())
    return list(dict.fromkeys(islice(readable, size)))


def _at(size: int, model: Model, texts: Sequence[str], queries: Sequence[str]) -> dict[str, Any]:
    load = machine.ForeignLoad()
    found = {"entries": len(texts), "adtrie": _ours(model, texts, queries)}
    started = time.perf_counter()
    grammar = grammar_of(texts)
    found["grammar_s"] = round(time.perf_counter() - started, 3)
    found["grammar_bytes_per_entry"] = round(len(grammar.encode()) / len(texts), 1)
    around = model.template
    prompts = [f"{around.before}{query}{around.after} " for query in queries]
    found["llama.cpp"] = _theirs(grammar, prompts, {text.strip() for text in texts})
    return found | {"foreign_load": round(load.share(), 3)}


def _ours(model: Model, texts: Sequence[str], queries: Sequence[str]) -> dict[str, Any]:
    started = time.perf_counter()
    catalogue = Catalogue.build(texts, model.tokenizer, max_tokens=MAX_TOKENS)
    build_s = time.perf_counter() - started
    answers = [model.target(query, catalogue, k=1, mode="stepwise", width=1) for query in queries][1:]
    return {"build_s": round(build_s, 3), "ms_p50": round(statistics.median(hits.ms for hits in answers), 1)}


def _theirs(grammar: str, prompts: Sequence[str], texts: set[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("grammar.gbnf", "prompts.json")]
        files[0].write_text(grammar, encoding="utf-8")
        files[1].write_text(json.dumps(list(prompts)), encoding="utf-8")
        try:
            command = [ensure_peer("llama_cpp"), HERE / "llama_grammar.py", resolve_alias(MODEL), *files]
            done = subprocess.run(
                list(map(str, command)),
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                env=peer_environment(),
            )
        except subprocess.TimeoutExpired:
            return {"failed": f"{len(prompts)} answers took more than {LIMIT_S:g} s"}
        except RuntimeError as error:
            return {"failed": str(error).splitlines()[-1]}
    if done.returncode != 0:
        return {"failed": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][-300:]}
    found = json.loads(done.stdout)
    answers = found["answers"]
    return {
        "version": found["version"],
        "ms_p50": round(1e3 * statistics.median(one["s"] for one in answers), 1),
        "plain_ms_p50": round(1e3 * statistics.median(one["plain_s"] for one in answers), 1),
        "tokens_p50": statistics.median(one["tokens"] for one in answers),
        "valid": sum(one["text"].strip() in texts for one in answers),
        "answers": len(answers),
    }
