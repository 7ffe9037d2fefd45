"""Exact top-1 over 1,735,369 real strings, checked against enumeration: `python -m benchmarks.scale`.

For each query every entry below one fixed first token is scored: the likeliest first token with few enough
rows below it. Exact over those entries must give the best of them, and exact over all entries nothing worse.
Beside it every entry below the answer's first tokens is scored, as many tokens as keep that within the rows.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from rich.progress import track

from adtrie.api import load_model
from adtrie.catalogue import Catalogue, Trie
from adtrie.evaluate import load_task
from adtrie.search.enumerate import enumerate_all
from adtrie.search.exact import exact
from adtrie.search.frontier import ROOT, Frontier
from benchmarks import machine
from benchmarks.catalogue import MAX_TOKENS, STRINGS, read_strings
from benchmarks.search_setting import Setting

Node = tuple[int, int, int]


def fixed_start(trie: Trie, entry: int, most_rows: int) -> Node:
    """The highest node (lo, hi, depth >= 1) on the entry's path with at most `most_rows` rows below it."""
    node: Node = (0, trie.num_entries, 0)
    for token in trie.tokens(entry):
        children = trie.children(*node)
        at = int(np.searchsorted(children.tokens, token))
        node = (int(children.lo[at]), int(children.hi[at]), node[2] + 1)
        if int(trie.num_rows(*node)[0]) <= most_rows:
            break
    return node


def likely_start(session: Any, trie: Trie, prompt: Any, most_rows: int) -> Node:
    """The likeliest first token with at most `most_rows` rows, and more than one entry, below it."""
    nodes = Frontier(session, trie, prompt)
    nodes.feed([np.array([ROOT])])
    below = nodes.children(np.array([ROOT]))
    lo, hi = nodes.lo[below], nodes.hi[below]
    fits = (trie.num_rows(lo, hi, np.ones_like(lo)) <= most_rows) & (hi - lo > 1)
    first = int(np.argmax(np.where(fits, nodes.score[below], -np.inf)))
    return int(lo[first]), int(hi[first]), 1


def trie_of(trie: Trie, node: Node) -> Trie:
    """A trie of only the entries of `node`, in the same order."""
    sequences = [trie.tokens(entry) for entry in range(node[0], node[1])]
    offsets = np.cumsum([0, *map(len, sequences)], dtype=np.int64)
    return Trie.from_sequences(np.concatenate(sequences), offsets)[0]


def check_query(setting: Setting, query: str, max_rows: int, most_rows: int) -> dict[str, Any]:
    """One query: rows, milliseconds and gap of exact, and the enumeration that agrees with it."""
    trie, cost = setting.catalogue.trie, setting.model.engine.latency()
    session, prompt = setting.session(max_rows=max_rows + 4096), setting.prompt(query)
    started = time.perf_counter()
    found = exact(session, trie, prompt, 1, cost, max_rows=max_rows)
    ms = (time.perf_counter() - started) * 1e3
    if found.entries.size == 0:
        return {"query": query, "rows": found.rows, "ms": round(ms, 1), "gap": None}
    entry, score = int(found.entries[0]), float(found.scores[0])
    below_answer = fixed_start(trie, entry, most_rows)
    below_token = likely_start(setting.session(max_rows=8192), trie, prompt, most_rows)
    enumerated = {}
    for name, node in (("answer", below_answer), ("first_token", below_token)):
        part = trie_of(trie, node)
        everything = enumerate_all(setting.session(max_rows=most_rows + 4096), part, prompt)
        best, best_score = node[0] + int(everything.entries[0]), float(everything.scores[0])
        if best_score > score + found.gap:
            raise SystemExit(f"{query!r}: an entry scores {best_score}, above {score} + gap {found.gap}")
        if name == "answer" and found.gap == 0.0 and (best, best_score) != (entry, score):
            raise SystemExit(f"{query!r}: exact gives {entry} at {score}, enumeration {best} at {best_score}")
        if name == "first_token":
            session = setting.session(max_rows=most_rows + 4096)
            again = exact(session, part, prompt, 1, cost, max_rows=most_rows + 1)
            if again.gap != 0.0 or (node[0] + again.entries[0], again.scores[0]) != (best, best_score):
                raise SystemExit(f"{query!r}: exact and enumeration differ below a first token")
        enumerated[name] = {"tokens": node[2], "entries": node[1] - node[0], "rows": everything.rows}
    return {
        "query": query,
        "answer": setting.catalogue.text(entry),
        "rows": found.rows,
        "forwards": found.forwards,
        "ms": round(ms, 1),
        "gap": found.gap,
        "enumerated_below": enumerated,
    }


def main() -> None:
    """Builds the catalogue, answers the queries, checks each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--max-rows", type=int, default=20_000)
    parser.add_argument("--enumerate-rows", type=int, default=3_000, help="most rows of one enumeration")
    options = parser.parse_args()
    if not STRINGS.exists():
        raise SystemExit(f"{STRINGS} is missing: this benchmark needs the shared data beside the repository")
    model = load_model("smollm2-135m")
    model.warm()
    catalogue = Catalogue.build(read_strings(STRINGS), model.tokenizer, max_tokens=MAX_TOKENS)
    rows = load_task("pricerunner").sample("test", options.queries)
    setting = Setting(model, catalogue, [row.query for row in rows])
    checked = [
        check_query(setting, query, options.max_rows, options.enumerate_rows)
        for query in track(setting.queries, "exact k=1 of 1.7 million")
    ]
    result = {
        "entries": len(catalogue),
        "max_rows": options.max_rows,
        "proven": sum(row["gap"] == 0.0 for row in checked),
        "median_rows": float(np.median([row["rows"] for row in checked])),
        "median_ms": float(np.median([row["ms"] for row in checked])),
        "queries": checked,
    }
    print(f"written to {machine.write('scale', result)}")


if __name__ == "__main__":
    main()
