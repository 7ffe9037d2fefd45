"""transformers' constrained beam search beside ours: same weights, keywords, prompts and cores, interleaved.

The peer has no cheaper way to share the instruction than the `prefill once` variant, which we add for it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from rich.progress import track

from adtrie.models.adapter import adapter_folder
from adtrie.models.alias import resolve_alias
from adtrie.search.exact import exact
from adtrie.search.stepwise import stepwise
from adtrie.search.verify import verify
from benchmarks import machine
from benchmarks.search_peer import PeerOptions, TransformersPeer, check_scores
from benchmarks.search_setting import GUESSED, Setting, load

WIDTH = K = 10
SLOW_PEER_QUERIES = 4  # a peer that takes half a minute a request gets the first few queries only
SETTLE_S = 0.25  # the peer's OpenMP threads spin for a while after an answer
PEERS = {
    "transformers bf16, as called": PeerOptions(dtype="bf16", early_stopping="false"),
    "transformers bf16, early stopping, prefix cache": PeerOptions(
        dtype="bf16", early_stopping="true", prefill="once"
    ),
    "transformers float32, early stopping, prefix cache": PeerOptions(
        dtype="fp32", early_stopping="true", prefill="once"
    ),
    "transformers dynamic INT8, early stopping, prefix cache": PeerOptions(
        dtype="int8", early_stopping="true", prefill="once"
    ),
}


def compare(setting: Setting) -> dict[str, Any]:
    """Checks scores against the float32 peer, then times each peer interleaved with our searches."""
    checked = check_answers([*setting.queries[:3]], setting.adapter)
    return {
        "queries": len(setting.queries),
        "threads": setting.model.engine.num_threads,
        "checked": checked,
        "peers": [_against(setting, name, options) for name, options in PEERS.items()],
    }


def _peer(setting: Setting, options: PeerOptions) -> TransformersPeer:
    keywords = [setting.catalogue.text(entry) for entry in range(setting.catalogue.num_entries)]
    shared = setting.template.text.split("{query}")[0].rstrip(" ")
    gguf = resolve_alias("smollm2-135m")
    adapter = str(adapter_folder(setting.adapter)) if setting.adapter else ""
    return TransformersPeer(gguf, keywords, replace(options, shared=shared, adapter=adapter))


def check_answers(queries: list[str], adapter: str | None) -> dict[str, Any]:
    """In float32 on both sides: scores of common entries agree, or nothing is timed."""
    setting = load(len(queries), weights="float32", adapter=adapter)
    session, largest, common = setting.session(), 0.0, 0
    with _peer(setting, PeerOptions(dtype="fp32")) as peer:
        for query in queries:
            session.reset()
            ours = stepwise(session, setting.catalogue.trie, setting.prompt(query), K, WIDTH)
            texts = [setting.catalogue.text(int(entry)) for entry in ours.entries]
            answer = peer.request(setting.whole_prompt(query))
            check = check_scores(
                dict(zip(texts, ours.scores.tolist(), strict=True)),
                dict(zip(answer.keywords, answer.scores, strict=True)),
            )
            common, largest = common + check.num_common, max(largest, check.max_difference)
    if common < 3 * len(queries) or largest > 2e-3:
        raise SystemExit(f"float32 scores differ from transformers' by {largest} on {common} common entries")
    return {"queries": len(queries), "common_entries": common, "largest_score_difference": largest}


def _against(setting: Setting, name: str, options: PeerOptions) -> dict[str, Any]:
    session, trie, cost = setting.session(), setting.catalogue.trie, setting.model.engine.latency()
    theirs: list[tuple[float, int]] = []
    ours: dict[str, list[float]] = {"verify width 10": [], "exact k=1": [], GUESSED: []}
    guess = setting.guesses()
    load_share = machine.ForeignLoad()
    with _peer(setting, options) as peer:
        queries = setting.queries[:SLOW_PEER_QUERIES] if options.prefill == "plain" else setting.queries
        for query in track(queries, name):
            answer = peer.request(setting.whole_prompt(query), with_scores=False)
            theirs.append((answer.ms, answer.forwards))
            time.sleep(SETTLE_S)
            prompt = setting.prompt(query)
            for search, samples in ours.items():
                session.reset()
                started = time.perf_counter()
                if search.startswith("exact"):
                    seeds = guess(query) if search == GUESSED else None
                    exact(session, trie, prompt, 1, cost, seeds=seeds)
                else:
                    verify(session, trie, prompt, K, WIDTH, cost)
                samples.append((time.perf_counter() - started) * 1e3)
        versions = peer.ready["versions"]
    share = load_share.share()
    ms = np.array([sample[0] for sample in theirs])
    return {
        "peer": name,
        "queries": len(theirs),
        "settings": {key: value for key, value in vars(options).items() if key not in ("shared", "adapter")},
        "versions": versions,
        "foreign_load_with_peer": round(share, 3),
        "p50_ms": round(float(np.median(ms)), 1),
        "p99_ms": round(float(np.percentile(ms, 99)), 1),
        "median_forwards": float(np.median([sample[1] for sample in theirs])),
        "ours": {
            search: {
                "p50_ms": round(float(np.median(samples)), 2),
                "times_faster_median": round(float(np.median(ms / np.array(samples))), 1),
            }
            for search, samples in ours.items()
        },
    }
