"""A targeting request in every search, and of transformers' beams: `python -m benchmarks.speed_targeting`.

Tuned SmolLM2-135M over 12,613 keywords (or, with --catalogue scale, 1.7 million real strings, without peers:
their dictionaries of tokens would take gigabytes). For each query everything has one turn, another one first
each time; peers are stopped in between.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from adtrie import _core
from adtrie.api import Mode, Model, TargetOptions, load_model
from adtrie.catalogue import Catalogue
from adtrie.evaluate import load_task
from adtrie.models.adapter import adapter_folder
from adtrie.models.alias import resolve_alias
from benchmarks import machine, search_peers
from benchmarks.peer_models import REAL, SHAPES, model_in, scale_catalogue
from benchmarks.request_cost import Floor, rate_at_limit
from benchmarks.search_peer import PeerOptions, TransformersPeer
from benchmarks.undisturbed import TRIES, Patience, Sample

ADAPTER = "pricerunner"
WIDTH = 10
LIMITS_MS = (100.0, 250.0, 500.0, 1000.0)
SEARCHES: dict[str, tuple[Mode, int]] = {
    "verify width 10": ("verify", 10),
    "stepwise width 10": ("stepwise", 10),
    "exact k=1": ("exact", 1),
    "exact k=10": ("exact", 10),
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


@dataclass(frozen=True)
class Request:
    """What one request took. rows: without the prompt's; forwards: with it."""

    ms: float
    forwards: int
    rows: int = 0


@dataclass
class Participant:
    """Something that answers queries. ask: query to what it took; queries: how many it is asked."""

    name: str
    ask: Callable[[str], Request]
    queries: int
    pids: tuple[int, ...] = ()


def take_turns(
    participants: Sequence[Participant],
    queries: Sequence[str],
    watch: Callable[[Iterable[int]], Callable[[], float]],
    tries: int = TRIES,
) -> dict[str, list[Sample[Request]]]:
    """Samples of each participant, query by query in turn, another participant first each time."""
    found: dict[str, list[Sample[Request]]] = {item.name: [] for item in participants}
    patience = Patience(tries, len(queries) * len(participants) // 4)
    for number, query in enumerate(queries):
        at = number % len(participants)
        for item in [*participants[at:], *participants[:at]]:
            if number < item.queries:
                sample = patience.sample(
                    lambda ask=item.ask, text=query: ask(text), lambda pids=item.pids: watch(pids)
                )
                found[item.name].append(sample)
    return found


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


def ours(model: Model, catalogue: Catalogue, search: str) -> Callable[[str], Request]:
    """Asks one of our searches through the public call, tokenizer included."""
    mode, k = SEARCHES[search]
    options = TargetOptions(k, mode, width=WIDTH)
    model.warm(options)

    def ask(query: str) -> Request:
        hits = model.answer(query, catalogue, options)
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


def summary(
    name: str, samples: Sequence[Sample[Request]], peers: Mapping[str, Sequence[Sample[Request]]]
) -> dict[str, Any]:
    """One participant's figures; beside each peer the median of the ratios of the same query."""
    ms = [sample.value.ms for sample in samples]
    return {
        "name": name,
        "requests": len(ms),
        "p50_ms": round(float(np.median(ms)), 2),
        "p99_ms": round(float(np.percentile(ms, 99)), 2),
        "median_forwards": float(np.median([sample.value.forwards for sample in samples])),
        "median_rows": float(np.median([sample.value.rows for sample in samples])),
        "repeated": sum(sample.tries - 1 for sample in samples),
        "disturbed": sum(sample.disturbed for sample in samples),
        "requests_s_at_p99_ms": {f"{limit:.0f}": rate_at_limit(ms, limit) for limit in LIMITS_MS},
        "times_faster_than": {
            other: round(
                float(np.median([b.value.ms / a.value.ms for a, b in zip(samples, theirs, strict=False)])), 2
            )
            for other, theirs in peers.items()
        },
        "ms": [round(value, 2) for value in ms],
    }


def measure(
    catalogue_name: str, variants: Sequence[str], peers: Sequence[str], num_queries: int, tries: int
) -> dict[str, Any]:
    """Everything on one catalogue."""
    failed: dict[str, str] = {}
    task, models = load_task(ADAPTER), our_models(variants, failed)
    first = next(iter(models.values()))
    at_scale = catalogue_name == "scale"
    catalogue = (
        Catalogue.open(scale_catalogue()) if at_scale else Catalogue.build(task.keywords, first.tokenizer)
    )
    queries = [row.query for row in task.sample("test", num_queries)]
    # An answer of k=10 may take thousands of rows: the first third of the queries shows it.
    participants = [
        Participant(f"adtrie {name} {search}", ours(model, catalogue, search), _queries(search, num_queries))
        for name, model in models.items()
        for search in SEARCHES
        if not (at_scale and search == "exact k=10")
    ]
    with ExitStack() as stack:
        others = start_peers((catalogue, first), peers, stack, failed)
        for item in participants:
            item.ask(queries[-1])  # prefix, tables and caches
        found = take_turns(
            [*others, *participants], queries, lambda pids: machine.ForeignLoad(pids).share, tries
        )
    theirs = {item.name: found[item.name] for item in others}
    floors = {name: _floor(model) for name, model in models.items()}
    rows = []
    for item in participants:
        model = models[item.name.split()[1]]
        floor = floors[item.name.split()[1]]
        rows.append(summary(item.name, found[item.name], theirs))
        if floor is not None:
            prompts = [len(model.template.query_tokens(query, model.tokenizer)) for query in queries]
            rows[-1]["times_floor"] = _times_floor(found[item.name], prompts, floor)
    return {
        "catalogue": catalogue_name,
        "entries": catalogue.num_entries,
        "adapter": ADAPTER,
        "queries": len(queries),
        "threads": first.engine.num_threads,
        "median_prompt_tokens": float(np.median([len(first.encode(query)) for query in queries])),
        "floors": {name: floor and asdict(floor) for name, floor in floors.items()},
        "weight_bytes": {name: model.engine.weight_bytes for name, model in models.items()},
        "ours": rows,
        "peers": [summary(name, samples, {}) for name, samples in theirs.items()],
        "not_measured": failed,
    }


def _floor(model: Model) -> Floor | None:
    """Bounds of this machine, measured now; None where the core cannot measure its arithmetic peak."""
    if not hasattr(_core, "int8_peak"):
        return None
    engine, spec = model.engine, model.spec
    read = float(np.median(_core.read_bandwidth(engine.weight_bytes, engine.num_threads, 7)))
    row_s = 2.0 * SHAPES[REAL].num_parameters / max(_core.int8_peak(engine.num_threads, 3))
    share = 1.0 - spec.vocab_size * spec.hidden_size / SHAPES[REAL].num_parameters
    return Floor(engine.weight_bytes / read, row_s, row_s * share)


def _queries(search: str, num_queries: int) -> int:
    return max(1, num_queries // 3) if search == "exact k=10" else num_queries


def _times_floor(samples: Sequence[Sample[Request]], prompts: Sequence[int], floor: Floor) -> float:
    """Median of milliseconds over the floor of the same request."""
    ratios = [
        sample.value.ms / floor.ms(prompt, sample.value.forwards, sample.value.rows)
        for sample, prompt in zip(samples, prompts, strict=False)
    ]
    return round(float(np.median(ratios)), 2)


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
    result = measure(options.catalogue, options.variants, names, options.queries, options.tries)
    options.out.write_text(json.dumps({"checked": checked, **result}, indent=1) + "\n", encoding="utf-8")
    for row in [*result["ours"], *result["peers"]]:
        print(row["name"], row["p50_ms"], "ms", row["times_faster_than"])


if __name__ == "__main__":
    main()
