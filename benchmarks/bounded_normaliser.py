"""What bounds the normaliser of the head, and what that is worth: `python -m benchmarks.bounded_normaliser`.

First, on hidden states of real searches: how wide the rigorous bounds of cheaper heads are (parts of the
inputs, INT4; both in the coordinates that make such bounds narrowest), and what share of the tokens must be
scored exactly to narrow the normaliser to 0.05 nats. Then whole searches with `normaliser` bounded and full,
in turn: answers must be equal where both are proven. Seconds are processor seconds of the stages.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.config import QuantizedMatrix, RowCost
from adtrie.engine import Session
from adtrie.format.tensors import dense_values
from adtrie.frequent import SHARE
from adtrie.search import exact, verify
from benchmarks import machine
from benchmarks.search_setting import Setting, adapter_named, load

Floats = NDArray[Any]
NATS = 0.05
# Milliseconds by rows: a fixed table, so that both ways make forwards of like sizes on any machine.
COST = RowCost.measured([1, 8, 64, 512], [5.0, 8.0, 40.0, 300.0])


class Rows:
    """A scorer that keeps the rows it was asked for."""

    renormalised = False

    def __init__(self, session: Session) -> None:
        self._session = session
        self.calls: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]] = []

    def score(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        self.calls.append((tokens.copy(), parents.copy(), np.diff(child_ptr) > 0))
        return self._session.score(tokens, parents, child_ptr, child_tokens)


def hidden_states(setting: Setting, queries: list[str]) -> Floats:
    """float32[R, H] of the rows with children that verify (width 10) and exact (k = 1) feed."""
    session, again, found = setting.session(), setting.session(), []
    for query in queries:
        for run in (
            lambda rows, prompt: verify(rows, setting.catalogue.trie, prompt, 10, 10, COST),
            lambda rows, prompt: exact(rows, setting.catalogue.trie, prompt, 1, COST),
        ):
            session.reset(), again.reset()
            rows = Rows(session)
            run(rows, setting.prompt(query))
            found += [again.forward(tokens, parents)[asked] for tokens, parents, asked in rows.calls]
    return np.concatenate(found)


def balanced(weights: Floats, hidden: Floats) -> tuple[Floats, Floats, Floats]:
    """Maps of hidden states and of centred weights [K, K] to coordinates in which both have the variances
    float64[K], falling, and products stay what they are: a bound by lengths is then as narrow as it gets."""
    centred = weights - weights.mean(axis=0)
    spread = centred.T.astype(np.float64) @ centred / len(weights)
    moments = hidden.T.astype(np.float64) @ hidden / len(hidden)
    moments += 1e-6 * np.trace(moments) / len(moments) * np.eye(len(moments))
    root = np.linalg.cholesky(moments)
    turn, squares, _ = np.linalg.svd(root.T @ spread @ root)
    sizes = np.sqrt(squares)
    of_hidden = np.sqrt(sizes)[:, None] * turn.T @ np.linalg.inv(root)
    return of_hidden, (1 / np.sqrt(sizes))[:, None] * turn.T @ root.T, sizes


def rounded(values: Floats) -> Floats:
    """INT4 in groups of 32."""
    groups = values.reshape(len(values), -1, 32)
    steps = np.abs(groups).max(axis=2, keepdims=True) / 7
    return np.asarray(np.round(groups / np.where(steps > 0, steps, 1)) * steps).reshape(values.shape)


def to_score(rough: Floats, error: Floats, logits: Floats) -> tuple[int, int]:
    """Tokens, and panels of 16, to score exactly so that log Z is known to NATS either way."""
    top = logits.max()
    exact_part, upper, lower = (np.exp(x - top) for x in (logits, rough + error, rough - error))
    counts = []
    for size in (1, 16):
        parts = [np.add.reduceat(x, np.arange(0, x.size, size)) for x in (exact_part, upper, lower)]
        order = np.argsort(-parts[1])
        known = np.concatenate(([0.0], np.cumsum(parts[0][order])))
        high, low = (np.append(np.cumsum(p[order][::-1])[::-1], 0.0) for p in parts[1:])
        counts.append(int(np.argmax((known + high) / (known + low) <= np.exp(2 * NATS))))
    return counts[0], counts[1]


def cheaper_heads(weights: Floats, learned: Floats, hidden: Floats) -> list[dict[str, Any]]:
    """Bounds, errors and exact shares of each cheaper head; coordinates are those of `learned` states."""
    of_hidden, of_weights, _ = balanced(weights, learned)
    centre = weights.mean(axis=0)
    inner, outer = hidden @ of_hidden.T, (weights - centre) @ of_weights.T
    logits, shift = (hidden @ weights.T).astype(np.float64), (hidden @ centre)[:, None]
    width, found = weights.shape[1], []
    for name, kept in [(f"{k} of {width} inputs", k) for k in (width // 4, width // 2, 3 * width // 4)] + [
        ("INT4", 0)
    ]:
        rough_weights = np.where(np.arange(width) < kept, outer, 0.0) if kept else rounded(outer)
        rest = outer - rough_weights
        rough = inner @ rough_weights.T + shift
        lengths = np.linalg.norm(inner[:, kept:], axis=1)[:, None]
        error = lengths * np.linalg.norm(rest, axis=1)
        if (np.abs(rough - logits) > error + 1e-3).any():
            raise SystemExit("a bound does not hold: nothing was written")
        shares = np.array([to_score(*row) for row in zip(rough, error, logits, strict=True)])
        shares = shares / (len(weights), len(weights) / 16)
        found.append(
            {
                "head": name,
                "bytes": 0.5 if not kept else kept / width,
                "operations": 1.0 if not kept else kept / width,
                "bound_nats_p50": round(float(np.median(error)), 2),
                "error_nats_p99": round(float(np.quantile(np.abs(rough - logits), 0.99)), 2),
                "tokens_p50": round(float(np.median(shares[:, 0])), 3),
                "tokens_mean": round(float(shares[:, 0].mean()), 3),
                "panels_p50": round(float(np.median(shares[:, 1])), 3),
                "panels_mean": round(float(shares[:, 1].mean()), 3),
            }
        )
    return found


def missed(weights: Floats, learned: Floats, hidden: Floats) -> list[dict[str, Any]]:
    """How far log Z over the tokens likeliest in `learned` is below the full one, by their share."""
    mass, probabilities = (softmax(states @ weights.T) for states in (learned, hidden))
    order, found = np.argsort(-mass.mean(axis=0)), []
    for share in (16, 8, 4, 2):
        nats = -np.log(probabilities[:, order[: len(weights) // share]].sum(axis=1, dtype=np.float64))
        quantiles = dict(
            zip(("p50", "p90", "p99", "max"), np.quantile(nats, [0.5, 0.9, 0.99, 1]), strict=True)
        )
        found.append({"tokens": f"1/{share}"} | {name: round(float(x), 5) for name, x in quantiles.items()})
    return found


def softmax(logits: Floats) -> Floats:
    """Rows of probabilities."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def searches(setting: Setting, k: int, queries: list[str]) -> dict[str, Any]:
    """Both normalisers in turn: processor seconds of all stages and of the head, rows, milliseconds."""
    engine, prefix = setting.model.engine, setting.template.prefix_tokens(setting.model.tokenizer)
    sessions = {"full": engine.session(prefix), "bounded": engine.session(prefix, bounded=True)}
    sums: dict[str, dict[str, float]] = {name: defaultdict(float) for name in sessions}
    ms: dict[str, list[float]] = {name: [] for name in sessions}
    for number, query in enumerate(queries):
        results = {}
        for name in sorted(sessions, reverse=bool(number % 2)):
            sessions[name].reset()
            engine._model.profile(True)
            began = time.perf_counter()
            result = exact(sessions[name], setting.catalogue.trie, setting.prompt(query), k, COST)
            ms[name].append((time.perf_counter() - began) * 1e3)
            stages = {
                stage: sum(w for w, _ in threads) for stage, threads in engine._model.stage_seconds.items()
            }
            for what, value in (("all_s", sum(stages.values())), ("head_s", stages["head"])):
                sums[name][what] += value
            for what, value in (
                ("rows", result.rows),
                ("forwards", result.forwards),
                ("proven", result.gap == 0),
            ):
                sums[name][what] += value
            results[name] = result
        full, bounded = results["full"], results["bounded"]
        if full.gap == bounded.gap == 0 and not (
            np.array_equal(full.entries, bounded.entries) and np.array_equal(full.scores, bounded.scores)
        ):
            raise SystemExit(f"{query!r}: proven answers differ: nothing was written")
    engine._model.profile(False)
    rounded_sums = {name: {what: round(float(v), 3) for what, v in one.items()} for name, one in sums.items()}
    ratio = np.median(np.array(ms["full"]) / np.array(ms["bounded"]))
    return {"k": k, "queries": len(queries), "speedup_p50": round(float(ratio), 3)} | {
        name: one | {"p50_ms": round(float(np.median(ms[name])), 1)} for name, one in rounded_sums.items()
    }


def main() -> None:
    """Prints and writes all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--hard", type=int, default=8, help="queries with k = 10")
    parser.add_argument("--states", type=int, default=300)
    options = parser.parse_args()
    setting = load(options.queries, adapter=adapter_named("pricerunner"))
    queries = list(setting.queries)
    with_learning = queries[: max(len(queries) // 4, 1)]
    learned, held_out = (
        hidden_states(setting, part) for part in (with_learning, queries[len(with_learning) :])
    )
    random = np.random.default_rng(0)
    hidden = held_out[random.permutation(len(held_out))[: options.states]]
    head = setting.model.checkpoint.matrix("embed" if setting.model.spec.tied_head else "head")
    weights = head.dequantize() if isinstance(head, QuantizedMatrix) else dense_values(head)
    out: dict[str, Any] = {"nats": NATS, "share": f"1/{SHARE}"}
    out["cheaper_heads"] = cheaper_heads(weights, learned, hidden)
    out["frequent_tokens_miss_nats"] = missed(weights, learned, hidden)
    began = time.perf_counter()
    setting.model.learn_frequent(setting.catalogue, setting.template)
    out["learn_s"] = round(time.perf_counter() - began, 1)
    out["searches"] = [searches(setting, 1, queries), searches(setting, 10, queries[: options.hard])]
    print(machine.write("bounded_normaliser", out).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
