"""Kernels of packed linears beside the read bandwidth of the same run: `python -m benchmarks.kernels`.

One linear of each pattern with equal outputs and inputs, so a time ratio is a speed-up; sizes such that the
dense INT4 stream fits the second-level cache, the last-level cache, and neither. One thread; every round
measures all patterns in turn, figures are medians over rounds. The answer is checked against NumPy first.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from adtrie import _core
from adtrie.compress.sparsify import best_of_four
from adtrie.config import QuantizedMatrix
from adtrie.engine.reference import multiply_bfloat16, multiply_int8
from adtrie.format.codes import CompressedLinear
from adtrie.format.panels import PackedLinear, pack
from benchmarks import machine

NUM_INPUTS, GROUP = 1536, 64
LEVELS = {"L2": 0.5, "L3": 8.0, "DRAM": 192.0}  # MiB of the dense INT4 stream
PATTERNS = {"dense": (4,), "2:4": (2,), "1:4": (1,), "2:4 and 1:4 in turn": (2, 1)}
ROWS = (1, 8)
MIN_SAMPLE_S = 0.001  # of one pattern in one round: short, so that what a round compares is close in time
# (best instruction set or a name, rows, pattern) -> least speed-up over dense INT4 of the same set and rows
BARS = {
    ("best", 1, "2:4"): 1.25,
    ("best", 8, "2:4"): 1.3,
    ("best", 1, "1:4"): 2.0,
    ("avx2", 1, "2:4"): 1.1,
}
# Panels at a time, how many times that far ahead weights are fetched, whether into the first cache: each
# kernel has its best of these.
WAYS = (
    (1, 0, False),
    (1, 1, False),
    (2, 1, False),
    (3, 1, False),
    (6, 1, False),
    (6, 2, False),
    (2, 1, True),
    (3, 1, True),
    (6, 1, True),
)
DENSE_BAR = 0.8  # of read bandwidth, dense INT4 with one row

TRIES = 5  # of each way, before any kernel is timed
Job = Callable[[int], list[float]]
Way = tuple[int, int, bool]
Activations = tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int32]]


def random_linear(kept: tuple[int, ...], num_panels: int) -> CompressedLinear:
    """Codes, scales and survivors at random, panel p keeping kept[p % len(kept)] of four."""
    random = np.random.default_rng(0)
    pattern = np.resize(np.array(kept, np.uint8), num_panels)
    shape = (16 * num_panels, NUM_INPUTS)
    mask = np.ones(shape, bool)
    for panel, count in enumerate(pattern.tolist()):
        if count < 4:
            rows = slice(16 * panel, 16 * panel + 16)
            mask[rows] = best_of_four(random.random((16, NUM_INPUTS)).astype(np.float32), count)
    codes = np.where(mask, random.integers(0, 16, shape), 8).astype(np.uint8)
    scales = random.normal(size=(shape[0], NUM_INPUTS // GROUP)).astype(np.float16)
    return CompressedLinear(QuantizedMatrix(codes, scales, None, 4, GROUP), pattern, mask)


def repeated(packed: PackedLinear, times: int) -> PackedLinear:
    """`packed` below itself, `times` times; its outputs are whole panels."""
    return PackedLinear(
        packed.num_outputs * times,
        packed.num_inputs,
        packed.bits,
        packed.group,
        np.tile(packed.kept, times),
        np.tile(packed.stream, times),
        np.tile(packed.scales, (times, 1, 1)),
    )


def native(packed: PackedLinear) -> _core.Linear:
    """The linear on the native core."""
    scales = packed.scales.view(np.uint16)
    return _core.Linear(
        packed.stream, scales, packed.kept, packed.bits, packed.group, packed.num_outputs, packed.num_inputs
    )


def check(linear: CompressedLinear, x: Activations, isas: list[str]) -> None:
    """Ends the run unless every instruction set gives the product of NumPy, all of them the same bits."""
    codes, scales, _ = x
    expected = multiply_int8(linear.values, codes, scales)
    outputs = [native(pack(linear)).multiply_int8(*x, isa) for isa in isas]
    error = float(np.abs(outputs[0] - expected).max() / np.abs(expected).max())
    if error > 1e-5 or any((y != outputs[0]).any() for y in outputs):
        raise SystemExit(f"kernels disagree (relative error {error:.2g}): nothing was timed")


def measure_level(name: str, dense_mib: float, isas: list[str], rounds: int) -> dict[str, Any]:
    """Median seconds of every pattern, instruction set and row count at one size, beside a plain read."""
    panel_bytes = NUM_INPUTS * 8
    base = 36  # panels that are made; the others repeat them
    times = max(1, round(dense_mib * 2**20 / panel_bytes / base))
    inputs = np.random.default_rng(1).normal(size=(max(ROWS), NUM_INPUTS)).astype(np.float32)
    x = _core.quantize_rows(inputs, "scalar")
    jobs: dict[tuple[str, str, int], Job] = {}
    sizes, cores, weights = {}, {}, base * times * 16 * NUM_INPUTS
    for pattern, kept in PATTERNS.items():
        linear = random_linear(kept, base)
        check(linear, x, isas)
        packed = repeated(pack(linear), times)
        sizes[pattern], cores[pattern] = packed.num_bytes, native(packed)
    ways = {}
    for isa, rows, pattern in itertools.product(isas, ROWS, PATTERNS):
        few = tuple(np.ascontiguousarray(part[:rows]) for part in x)
        key = pattern, isa, rows
        jobs[key], ways[key] = best_way(cores[pattern], few, isa)
    jobs |= _bfloat16_jobs(base * times * 4, inputs, sizes)  # a quarter of the outputs: the bytes of dense
    seconds, rates = _rounds(jobs, sizes, rounds)
    rows_out = []
    for (pattern, isa, rows), values in seconds.items():
        median = float(np.median(values))
        out = {"pattern": pattern, "isa": isa, "rows": rows, "us": round(median * 1e6, 2)}
        out |= {"bytes": sizes[pattern], "gb_s": round(sizes[pattern] / median / 1e9, 2)}
        out["percent_of_read"] = round(100 * sizes[pattern] / median / rates[pattern], 1)
        if pattern != "bfloat16":
            dense = np.array(seconds["dense", isa, rows])
            out["gweights_s"] = round(weights * rows / median / 1e9, 1)
            out["speedup_over_dense"] = round(float(np.median(dense / np.array(values))), 3)
            out["panels"], out["ahead"], out["near"] = ways[pattern, isa, rows]
        rows_out.append(out)
    return {
        "level": name,
        "weights": weights,
        "read_gb_s": round(rates["dense"] / 1e9, 2),
        "kernels": rows_out,
    }


def best_way(core: _core.Linear, x: Activations, isa: str) -> tuple[Job, Way]:
    """What times a kernel in the fastest of WAYS, and that way."""

    def timed(way: Way) -> Job:
        return lambda repeats: core.time_int8(*x, isa, repeats, False, *way)

    # Repeated alone, a kernel of many rows finds all weights near and looks best without fetching any.
    ways = [way for way in WAYS if len(x[0]) == 1 or way[1] > 0]
    seconds: dict[Way, list[float]] = {way: [] for way in ways}
    for _ in range(TRIES):  # by turns
        for way in ways:
            seconds[way].append(float(np.median(timed(way)(3))))
    best = min(ways, key=lambda way: float(np.median(seconds[way])))
    return timed(best), best


def _bfloat16_jobs(
    num_outputs: int, x: NDArray[np.float32], sizes: dict[str, int]
) -> dict[tuple[str, str, int], Job]:
    """The uncompressed baseline, activations in bfloat16 too, on the best instruction set."""
    isa = _core.isa()
    values = np.random.default_rng(2).normal(size=(1024, NUM_INPUTS)).astype(np.float32)
    checked = _core.Linear.bfloat16(values[:32].copy())
    if (checked.multiply(x, isa, "bfloat16") != multiply_bfloat16(values[:32], x)).any():
        raise SystemExit("bfloat16 differs from the reference: nothing was timed")
    core = _core.Linear.bfloat16(np.resize(values, (num_outputs, NUM_INPUTS)))
    sizes["bfloat16"] = core.num_bytes
    inputs = {rows: x[:rows].copy() for rows in ROWS}
    return {
        ("bfloat16", isa, rows): lambda n, f=few: core.time_float(f, isa, n, "bfloat16")
        for rows, few in inputs.items()
    }


def _rounds(
    jobs: dict[tuple[str, str, int], Job], sizes: dict[str, int], rounds: int
) -> tuple[dict[tuple[str, str, int], list[float]], dict[str, float]]:
    """Seconds of each job per round (median of its repeats), and bytes per second of reading each size."""
    repeats = {key: max(1, round(MIN_SAMPLE_S / min(job(3)))) for key, job in jobs.items()}
    seconds: dict[tuple[str, str, int], list[float]] = {key: [] for key in jobs}
    reads: dict[str, list[float]] = {name: [] for name in sizes}
    for _ in range(rounds):
        for name, size in sizes.items():
            reads[name].append(float(np.median(_core.read_bandwidth(size, 1, 3 + (16 << 20) // size))))
        for key, job in jobs.items():
            job(1)  # into the caches
            seconds[key].append(float(np.median(job(repeats[key]))))
    return seconds, {name: float(np.median(rates)) for name, rates in reads.items()}


def verdicts(levels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every bar at every size, met or not."""
    out = []
    for level in levels:
        for item in level["kernels"]:
            best = item["isa"] == level["best_isa"]
            bar = BARS.get(("best" if best else item["isa"], item["rows"], item["pattern"]))
            if bar is not None:
                reached = item["speedup_over_dense"]
                what = f"{item['pattern']} over dense INT4, {item['isa']}, {item['rows']} row(s)"
                out.append({"what": what, "level": level["level"], "bar": bar, "reached": reached})
            if item["pattern"] == "dense" and item["rows"] == 1 and item["isa"] == level["best_isa"]:
                reached = round(item["percent_of_read"] / 100, 3)
                what = "dense INT4 over read bandwidth, 1 row"
                out.append({"what": what, "level": level["level"], "bar": DENSE_BAR, "reached": reached})
    return [{**verdict, "met": verdict["reached"] >= verdict["bar"]} for verdict in out]


def show(result: dict[str, Any]) -> None:
    """The result as tables on the terminal."""
    console = Console()
    for level in result["levels"]:
        title = f"{level['level']}: {level['weights'] / 1e6:.1f} M weights, reads {level['read_gb_s']} GB/s"
        table = Table(
            "isa", "rows", "pattern", "us", "GB/s", "% of read", "Gweights/s", "x dense", title=title
        )
        for item in sorted(level["kernels"], key=lambda i: (i["isa"], i["rows"])):
            names = (
                "isa",
                "rows",
                "pattern",
                "us",
                "gb_s",
                "percent_of_read",
                "gweights_s",
                "speedup_over_dense",
            )
            table.add_row(*(str(item.get(name, "")) for name in names))
        console.print(table)
    for verdict in result["bars"]:
        mark = "met" if verdict["met"] else "NOT MET"
        console.print(
            f"{verdict['level']:5} {verdict['what']}: {verdict['reached']} (bar {verdict['bar']}) {mark}"
        )


def available(names: tuple[str, ...]) -> list[str]:
    """The kernel tables that this machine can run, best first."""
    out = []
    for name in names:
        try:
            out.append(str(_core.isa(name)))
        except ValueError:
            continue
    return out


def main() -> None:
    """Measures all sizes; writes benchmarks/results/kernels.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--levels", nargs="+", choices=list(LEVELS), default=list(LEVELS))
    options = parser.parse_args()
    isas = list(dict.fromkeys([str(_core.isa()), *available(("avx2",))]))  # the best first
    load, started = machine.ForeignLoad(), time.perf_counter()
    levels = []
    for name in options.levels:
        level = measure_level(name, LEVELS[name], isas, options.rounds)
        levels.append({"best_isa": isas[0], **level})
    result: dict[str, Any] = {"inputs": NUM_INPUTS, "group": GROUP, "threads": 1, "rounds": options.rounds}
    result |= {"foreign_load": round(load.share(), 3), "seconds": round(time.perf_counter() - started, 1)}
    result |= {"levels": levels, "bars": verdicts(levels)}
    show(result)
    print(f"written to {machine.write('kernels', result)}")


if __name__ == "__main__":
    main()
