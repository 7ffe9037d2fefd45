"""64 requests at once against one after another, SmolLM2-135M: `python -m benchmarks.concurrent`.

12,613 keywords. Rounds alternate between both with the same queries, and answers are compared. The fair queue
that latencies are held against serves the same requests in the order of their arrival. With `--rates` they
come at random moments; the queue is then simulated with the times that its requests took. Written mode by
mode to benchmarks/results/concurrent.json; what is not measured again stays.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adtrie.request import Hits, TargetOptions
from benchmarks import machine, search_setting
from benchmarks.search_setting import Setting

MODES = {
    "exact k=1": TargetOptions(k=1),
    "verify width 10": TargetOptions(k=10, mode="verify"),
    "exact k=10": TargetOptions(k=10),
}
LIMIT_S = 1.0  # of the p99, where requests per second at a limit are meant
Run = tuple[NDArray[np.float64], list[Hits]]  # seconds from arrival to answer, answers


def one_after_another(setting: Setting, options: TargetOptions) -> Run:
    """The fair queue: all arrive at the beginning, each is served alone by all threads."""
    began, ends, answers = time.perf_counter(), [], []
    for query in setting.queries:
        answers.append(setting.model.answer(query, setting.catalogue, options))
        ends.append(time.perf_counter() - began)
    return np.array(ends), answers


def in_company(
    setting: Setting, options: TargetOptions, concurrency: int, arrivals: NDArray[np.float64]
) -> Run:
    """The same requests submitted at `arrivals` (seconds); all wait until the batch is made."""
    began = time.perf_counter()
    with setting.model.concurrent(concurrency=concurrency) as company:
        late, pending = [], []
        for query, at in zip(setting.queries, arrivals.tolist(), strict=True):
            time.sleep(max(0.0, began + at - time.perf_counter()))
            late.append(time.perf_counter() - began - at)
            pending.append(company.submit(query, setting.catalogue, options))
        answers = [one.result() for one in pending]
    return np.array(late) + [hits.ms / 1e3 for hits in answers], answers


def at_once(setting: Setting, options: TargetOptions, rounds: int, concurrency: int) -> dict[str, Any]:
    """Requests per second and latencies of both ways: medians over the rounds, ratios those of one round."""
    samples, differing, unproven = [], 0, [0, 0]
    load, none = machine.ForeignLoad(), np.zeros(len(setting.queries))
    for number in range(rounds):
        runs: dict[str, Run] = {}
        for way in (("queue", "company"), ("company", "queue"))[number % 2]:
            alone = way == "queue"
            runs[way] = (
                one_after_another(setting, options)
                if alone
                else in_company(setting, options, concurrency, none)
            )
        samples.append(_sample(runs["queue"], runs["company"]))
        print(json.dumps(samples[-1]), flush=True)
        pairs = list(zip(runs["queue"][1], runs["company"][1], strict=True))
        differing += sum(_differ(options, *pair) for pair in pairs)
        for side in (0, 1):
            unproven[side] += sum(pair[side].gap > 0 for pair in pairs)
    medians = {key: round(float(np.median([one[key] for one in samples])), 4) for key in samples[0]}
    proven = {"queue_not_proven": unproven[0], "not_proven": unproven[1]} if options.mode == "exact" else {}
    return {
        "requests": len(setting.queries),
        "rounds": rounds,
        "concurrency": concurrency,
        "foreign_load": round(load.share(), 3),
        "differing_answers": differing,
        **proven,
        **medians,
        "throughput_ratios": [one["throughput_ratio"] for one in samples],
    }


def at_rates(
    setting: Setting, options: TargetOptions, concurrency: int, rates: Sequence[float]
) -> dict[str, Any]:
    """p99 by requests per second, in company and of a fair queue, and the most that keeps p99 in LIMIT_S."""
    ends, _ = one_after_another(setting, options)
    service, rows = np.diff(ends, prepend=0.0), []
    gaps = np.random.default_rng(0).exponential(1.0, ends.size)
    for rate in rates:
        arrivals = np.cumsum(gaps) / rate
        waited = in_company(setting, options, concurrency, arrivals)[0]
        queued = _queue_latencies(arrivals, service)
        p99, queue_p99 = (round(float(np.percentile(one, 99)), 3) for one in (waited, queued))
        rows.append({"requests_per_s": rate, "p99_s": p99, "queue_p99_s": queue_p99})
        print(json.dumps(rows[-1]), flush=True)
    within = {
        key: [one["requests_per_s"] for one in rows if one[key] <= LIMIT_S]
        for key in ("p99_s", "queue_p99_s")
    }
    return {
        "limit_s": LIMIT_S,
        "by_rate": rows,
        "requests_per_s_within": max(within["p99_s"], default=None),
        "queue_requests_per_s_within": max(within["queue_p99_s"], default=None),
    }


def _queue_latencies(arrivals: NDArray[np.float64], service: NDArray[np.float64]) -> NDArray[np.float64]:
    free, latencies = 0.0, []
    for at, takes in zip(arrivals.tolist(), service.tolist(), strict=True):
        free = max(free, at) + takes
        latencies.append(free - at)
    return np.array(latencies)


def _sample(queue: Run, company: Run) -> dict[str, float]:
    alone, waited = queue[0], company[0]
    numbers = {
        "queue_requests_per_s": alone.size / alone.max(),
        "requests_per_s": waited.size / waited.max(),
        "throughput_ratio": alone.max() / waited.max(),
    }
    for percent in (50, 99):
        queued, ours = np.percentile(alone, percent), np.percentile(waited, percent)
        numbers |= {
            f"queue_p{percent}_s": queued,
            f"p{percent}_s": ours,
            f"p{percent}_of_queue": ours / queued,
        }
    for name, (_, answers) in {"queue_": queue, "": company}.items():
        numbers[f"{name}rows"] = float(np.mean([hits.rows for hits in answers]))
    return {key: round(float(value), 4) for key, value in numbers.items()}


def _differ(options: TargetOptions, alone: Hits, company: Hits) -> bool:
    """Whether answers differ that must not: those of a beam, and proven ones."""
    if options.mode == "exact" and (alone.gap > 0 or company.gap > 0):
        return False
    first, second = ([(hit.id, hit.score) for hit in hits] for hits in (alone, company))
    return first != second or alone.gap != company.gap


def main() -> None:
    """Runs the modes asked for, all by default."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modes", nargs="*", default=list(MODES), metavar="MODE", help=", ".join(MODES))
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rates", type=float, nargs="+", help="requests per second: measures these instead")
    options = parser.parse_args()
    if unknown := set(options.modes) - set(MODES):
        parser.error(f"unknown mode {min(unknown)!r}; choose from {', '.join(MODES)}")
    adapter = search_setting.adapter_named(search_setting.TASK)
    setting = search_setting.load(options.requests, adapter=adapter)
    setting.model.warm()
    result = {
        "adapter": adapter,
        "threads": setting.model.engine.num_threads,
        "isa": setting.model.engine.isa,
    }
    for mode in options.modes:
        found = machine.read("concurrent")
        if options.rates:
            measured = {"arrivals": at_rates(setting, MODES[mode], options.concurrency, options.rates)}
        else:
            measured = at_once(setting, MODES[mode], options.rounds, options.concurrency)
        modes = found.get("modes", {})
        modes[mode] = modes.get(mode, {}) | measured
        print(json.dumps({mode: measured}, indent=1))
        print(f"written to {machine.write('concurrent', result | {'modes': modes})}")


if __name__ == "__main__":
    main()
