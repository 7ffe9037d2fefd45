"""A targeting request in every search, and of transformers' beams: `python -m benchmarks.speed_targeting`.

Tuned SmolLM2-135M over 12,613 keywords (or, with --catalogue scale, 1.7 million real strings, without peers:
their dictionaries of tokens would take gigabytes). For each query everything has one turn, another one first
each time; peers are stopped in between.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adtrie.api import Model, TargetOptions, load_model
from adtrie.catalogue import Catalogue, Neighbours
from adtrie.evaluate import load_task
from adtrie.models.adapter import adapter_folder
from adtrie.models.alias import resolve_alias
from benchmarks import search_peers
from benchmarks.machine import ForeignLoad
from benchmarks.peer_models import REAL, model_in, scale_catalogue
from benchmarks.request_floor import Probes, kept_shares, multiplied
from benchmarks.request_turns import Participant, Request, summary, take_turns
from benchmarks.search_peer import PeerOptions, TransformersPeer
from benchmarks.undisturbed import TRIES, Sample

ADAPTER = "pricerunner"
WIDTH = 10
# The same answer: the entry of nearest text is scored first; normalisers over frequent tokens prune.
GUESSED, BOUNDED = "guessed", "bounded"
SEARCHES = {
    "verify width 10": TargetOptions(10, "verify", width=WIDTH),
    "stepwise width 10": TargetOptions(10, "stepwise", width=WIDTH),
    "exact k=1": TargetOptions(1),
    f"exact k=1 {BOUNDED}": TargetOptions(1, normaliser="bounded"),
    f"exact k=1 {GUESSED}": TargetOptions(1),
    f"exact k=1 {GUESSED} {BOUNDED}": TargetOptions(1, normaliser="bounded"),
    "exact k=10": TargetOptions(10),
}
VARIANTS = {  # forms of the tuned model; the first is what --adapter gives without compression
    "INT8": None,
    "INT4": "tuned-int4",
    "mixed": "tuned-mixed",
}
# A peer's options, and how many queries it is asked: the first takes seconds for each.
PEERS = {
    "transformers bf16, early stopping": (PeerOptions("bf16"), 6),
    "transformers dynamic INT8, early stopping": (PeerOptions("int8"), 12),
    "transformers dynamic INT8, early stopping, prefix cache": (PeerOptions("int8", prefill="once"), 12),
}


def our_models(names: Sequence[str], failed: dict[str, str]) -> dict[str, Model]:
    """The tuned model in each of the forms; why one could not be had goes to `failed`."""
    found = {}
    for name in names:
        form = VARIANTS[name]
        try:
            if form is None:
                found[name] = load_model("smollm2-135m", adapter=ADAPTER)
            else:
                found[name] = load_model(model_in(form, REAL))
        except RuntimeError as error:
            failed[f"adtrie {name}"] = str(error)[-400:]
    if not found:
        raise SystemExit(f"no form of the tuned model could be had: {failed}")
    return found


def ours(
    model: Model, catalogue: Catalogue, search: str, likely: Neighbours | None
) -> Callable[[str], Request]:
    """Asks one of our searches through the public call, tokenizer and what is `likely` included."""
    options, seeds = SEARCHES[search], likely if GUESSED in search else None
    if options.bounded:
        model.learn_frequent(catalogue)
    model.warm(options)

    def ask(query: str) -> Request:
        hits = model.answer(query, catalogue, options, seeds=seeds)
        return Request(hits.ms, hits.forwards, hits.rows)

    return ask


def peer(process: TransformersPeer, whole_prompt: Callable[[str], list[int]]) -> Callable[[str], Request]:
    """Asks a peer, which is awake only meanwhile."""

    def ask(query: str) -> Request:
        process.resume()
        try:
            answer = process.request(whole_prompt(query), with_scores=False)
        finally:
            process.pause()
        return Request(answer.ms, answer.forwards)

    return ask


def start_peers(
    setting: tuple[Catalogue, Model], names: Sequence[str], stack: ExitStack, failed: dict[str, str]
) -> list[Participant]:
    """The peers, loaded with the same keywords and adapter; why one could not be had goes to `failed`."""
    catalogue, model = setting
    keywords = [catalogue.text(entry) for entry in range(catalogue.num_entries)]
    template, adapter = model.template, str(adapter_folder(ADAPTER))
    shared = template.text.split("{query}")[0].rstrip(" ")

    def whole_prompt(query: str) -> list[int]:
        prefix = template.prefix_tokens(model.tokenizer)
        return [*prefix.tolist(), *template.query_tokens(query, model.tokenizer).tolist()]

    found = []
    for name in names:
        print(f"starting {name}", file=sys.stderr)
        options, queries = PEERS[name]
        options = replace(options, shared=shared, adapter=adapter)
        try:
            process = TransformersPeer(resolve_alias("smollm2-135m"), keywords, options)
        except RuntimeError as error:
            failed[name] = str(error)[-400:]
            continue
        stack.enter_context(process).pause()
        found.append(Participant(name, peer(process, whole_prompt), queries, (process.pid,)))
    return found


def measure(
    at_scale: bool, variants: Sequence[str], peers: Sequence[str], num_queries: int, tries: int
) -> dict[str, Any]:
    """Everything on one catalogue."""
    failed: dict[str, str] = {}
    task, models = load_task(ADAPTER), our_models(variants, failed)
    first = next(iter(models.values()))
    catalogue = (
        Catalogue.open(scale_catalogue()) if at_scale else Catalogue.build(task.keywords, first.tokenizer)
    )
    queries = [row.query for row in task.sample("test", num_queries)]
    own = our_participants(models, catalogue, at_scale, num_queries)
    with ExitStack() as stack:
        others = start_peers((catalogue, first), peers, stack, failed)
        for item in own:
            item.ask(queries[-1])  # prefix, tables and caches
        probes = Probes(models, {name: multiplied(first.spec, _kept(name)) for name in models})
        limits = [Participant("limits", probes.ask, num_queries)]
        found = take_turns([*limits, *others, *own], queries, lambda pids: ForeignLoad(pids).share, tries)
    theirs = {item.name: found[item.name] for item in others}
    prompt_rows = [len(first.template.query_tokens(query, first.tokenizer)) for query in queries]
    return {
        "entries": catalogue.num_entries,
        "adapter": ADAPTER,
        "queries": len(queries),
        "threads": first.engine.num_threads,
        "cached_prefix_tokens": len(first.template.prefix_tokens(first.tokenizer)),
        "median_prompt_tokens": float(np.median(prompt_rows)),  # after the prefix
        "weight_bytes": {name: model.engine.weight_bytes for name, model in models.items()},
        "ours": [
            summary(item.name, found[item.name], theirs)
            | _times_floor(item.name, found[item.name], probes, queries, prompt_rows)
            for item in own
        ],
        "peers": [summary(name, samples, {}) for name, samples in theirs.items()],
        "not_measured": failed,
    }


def our_participants(
    models: Mapping[str, Model], catalogue: Catalogue, at_scale: bool, num_queries: int
) -> list[Participant]:
    """Each form of the model in each search. Ten proven entries may take thousands of rows: fewer queries.

    An index of texts does not hold millions.
    """
    likely = None if at_scale else Neighbours(catalogue, count=1)
    return [
        Participant(
            f"adtrie {name} {search}",
            ours(model, catalogue, search, likely),
            max(1, num_queries // 3) if search == "exact k=10" else num_queries,
        )
        for name, model in models.items()
        for search in SEARCHES
        if not (at_scale and (search == "exact k=10" or GUESSED in search))
    ]


def _kept(name: str) -> dict[str, float]:
    """The share of its weights that each linear of a form keeps; empty for all."""
    form = VARIANTS[name]
    return {} if form is None else kept_shares(model_in(form, REAL))


def _times_floor(
    name: str,
    samples: Sequence[Sample[Request]],
    probes: Probes,
    queries: Sequence[str],
    prompt_rows: Sequence[int],
) -> dict[str, float]:
    """{"times_floor": ...}, empty for a bounded search: the floor counts the whole head for every row."""
    if name.endswith(BOUNDED):
        return {}
    return {"times_floor": probes.times_floor(name.split()[1], samples, queries, prompt_rows)}


def main() -> None:
    """Checks scores against transformers, measures, writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--catalogue", choices=["keywords", "scale"], default="keywords")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--peers", nargs="*", type=int, default=list(range(len(PEERS))), help="by number")
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--tries", type=int, default=TRIES)
    parser.add_argument("--no-check", action="store_true", help="leave out the comparison of float32 scores")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    names = [] if options.catalogue == "scale" else [list(PEERS)[number] for number in options.peers]
    checked = None
    if names and not options.no_check:
        texts = [row.query for row in load_task(ADAPTER).sample("test", 3)]
        checked = search_peers.check_answers(texts, ADAPTER)
    at_scale = options.catalogue == "scale"
    result = measure(at_scale, options.variants, names, options.queries, options.tries)
    options.out.write_text(json.dumps({"checked": checked, **result}, indent=1) + "\n", encoding="utf-8")
    for row in [*result["ours"], *result["peers"]]:
        print(row["name"], row["p50_ms"], "ms", row["times_faster_than"])


if __name__ == "__main__":
    main()
