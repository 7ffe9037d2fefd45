"""Speed of one forward against what the machine allows: `python -m benchmarks.engine`.

Shapes of SmolLM2-135M, Qwen2.5-0.5B and Qwen2.5-1.5B with random weights (speed does not depend on values):
INT4 linears, INT8 embedding and head, as the engine packs a float checkpoint. Decode is compared with the
read bandwidth of a step's bytes, which are the weights and the keys and values of the rows above it; prefill
with the INT8 arithmetic peak, measured in the same run. Times are of the clock; with `--processor-time` (one
thread) processor seconds, for machines that others use too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from adtrie import _core
from adtrie.config import ModelSpec
from adtrie.engine import Engine, Session
from adtrie.format.panels import PackedLinear, stream_bytes
from benchmarks import machine

CONTEXT = 128
PROMPTS = (32, 128, 512)
DECODED = 24  # tokens of one sample of decode
GROUP = 64
Clock = Callable[[], float]


def _spec(
    layers: int, hidden: int, inner: int, heads: int, kv_heads: int, vocab: int, bias: bool
) -> ModelSpec:
    return ModelSpec(
        "qwen2" if bias else "llama", layers, hidden, inner, heads, kv_heads, hidden // heads, vocab,
        8192, 10000.0, 1e-5, True, qkv_bias=bias,
    )  # fmt: skip


SHAPES = {
    "135m": _spec(30, 576, 1536, 9, 3, 49152, False),
    "0.5b": _spec(24, 896, 4864, 14, 2, 151936, True),
    "1.5b": _spec(28, 1536, 8960, 12, 2, 151936, True),
}


class Memory:
    """One piece of memory, in huge pages, that linears follow each other in like those of a loaded file."""

    def __init__(self, num_bytes: int) -> None:
        self._bytes, self._used = np.empty(num_bytes, np.uint8), 0

    def random(self, num_bytes: int, random: np.random.Generator) -> NDArray[np.uint8]:
        """The next uint8[num_bytes], random, at a multiple of 64."""
        start = self._used + -(self._bytes.ctypes.data + self._used) % 64
        self._used = start + num_bytes
        part = self._bytes[start : self._used]
        part[:] = np.frombuffer(random.bytes(num_bytes), np.uint8)
        return part


@dataclass(frozen=True)
class RandomWeights:
    """A checkpoint of some shape whose weights are random: good for speed and nothing else."""

    spec: ModelSpec
    memory: Memory
    head_bits: int = 8
    fingerprint: str = "random"

    @classmethod
    def of(cls, spec: ModelSpec, head_bits: int, fingerprint: str) -> RandomWeights:
        """With memory for all of them; what is not used of it is never there."""
        weights = linear_operations(spec) / 2 + spec.vocab_size * spec.hidden_size
        return cls(spec, Memory(int(weights) + (1 << 22)), head_bits, fingerprint)

    def vector(self, name: str) -> NDArray[np.float32]:
        """Ones for norms, small values for biases."""
        spec = self.spec
        if name.endswith("bias"):
            heads = spec.num_heads if ".q." in name else spec.num_kv_heads
            return np.full(heads * spec.head_size, 0.01, np.float32)
        return np.ones(spec.hidden_size, np.float32)

    def matrix(self, name: str) -> PackedLinear:
        """Random codes, scales that keep activations near one."""
        spec, slot = self.spec, name.split(".")[-1]
        heads, kv_heads = spec.num_heads * spec.head_size, spec.num_kv_heads * spec.head_size
        outputs, inputs = {
            "embed": (spec.vocab_size, spec.hidden_size),
            "q": (heads, spec.hidden_size),
            "k": (kv_heads, spec.hidden_size),
            "v": (kv_heads, spec.hidden_size),
            "o": (spec.hidden_size, heads),
            "down": (spec.hidden_size, spec.intermediate_size),
        }.get(slot, (spec.intermediate_size, spec.hidden_size))
        bits = self.head_bits if slot == "embed" else 4
        return random_linear(outputs, inputs, bits, self.memory)


def random_linear(outputs: int, inputs: int, bits: int, memory: Memory) -> PackedLinear:
    """A dense linear of random codes whose products of unit inputs have about unit size."""
    panels = outputs // 16
    size = panels * stream_bytes(inputs, bits, 4)
    codes = memory.random(size, np.random.default_rng(outputs + inputs))
    scales = np.full((panels, inputs // GROUP, 16), 3.5 / (1 << bits) / np.sqrt(inputs), np.float16)
    return PackedLinear(outputs, inputs, bits, GROUP, np.full(panels, 4, np.uint8), codes, scales)


def linear_operations(spec: ModelSpec) -> float:
    """Multiplications and additions of all linears of all layers for one row, head not counted."""
    heads = spec.num_heads + spec.num_kv_heads
    per_layer = 2 * heads * spec.head_size * spec.hidden_size + 3 * spec.hidden_size * spec.intermediate_size
    return 2.0 * spec.num_layers * per_layer


def row_bytes(spec: ModelSpec) -> int:
    """Bytes of the keys and values of one row, which every later row of its path reads: float32."""
    return 4 * 2 * spec.num_layers * spec.num_kv_heads * spec.head_size


def feed(session: Session, count: int, clock: Clock = time.perf_counter) -> float:
    """Seconds of one forward of a chain of `count` tokens, one child asked of the last."""
    tokens = (np.arange(count, dtype=np.int32) * 7 + 3) % 1000
    parents = np.arange(-1, count - 1, dtype=np.int32)
    ptr = np.zeros(count + 1, np.int64)
    ptr[-1] = 1
    session.reset()
    started = clock()
    session.score(tokens, parents, ptr, np.array([7], np.int32))
    return clock() - started


def decode(session: Session, clock: Clock = time.perf_counter) -> float:
    """Seconds per token of DECODED tokens fed one after another, one child of each asked."""
    ptr, child = np.array([0, 1], np.int64), np.array([7], np.int32)
    session.reset()
    started = clock()
    for i in range(DECODED):
        session.score(np.array([100 + i], np.int32), np.array([i - 1], np.int32), ptr, child)
    return (clock() - started) / DECODED


def profile(engine: Engine, run: Any, times: int) -> dict[str, Any]:
    """Milliseconds by stage of one `run()`: work of the busiest thread, mean waiting of all."""
    model = engine._model
    model.profile(True)
    for _ in range(times):
        run()
    seconds = model.stage_seconds
    model.profile(False)
    scale = 1e3 / times
    return {
        stage: {
            "work_ms": round(max(work for work, _ in threads) * scale, 3),
            "wait_ms": round(sum(wait for _, wait in threads) / len(threads) * scale, 3),
        }
        for stage, threads in seconds.items()
    }


def measure(name: str, threads: int | None, repeats: int, head_bits: int, clock: Clock) -> dict[str, Any]:
    """Medians over interleaved samples of one shape."""
    spec = SHAPES[name]
    engine = Engine(RandomWeights.of(spec, head_bits, f"random {name}"), threads=threads)
    engine.latency()  # and with it the plan that a user gets
    below = engine.session(np.arange(CONTEXT, dtype=np.int32))
    fresh = engine.session()
    decode(below)
    feed(fresh, 32)
    load = machine.ForeignLoad()
    seconds: dict[Any, list[float]] = {"decode": [], **{n: [] for n in PROMPTS}}
    reads: list[float] = []
    alone: list[float] = []
    peaks: dict[int, list[float]] = {n: [] for n in PROMPTS}
    for _ in range(repeats):
        reads.append(max(_core.read_bandwidth(engine.weight_bytes, engine.num_threads, 3)))
        seconds["decode"].append(decode(below, clock))
        alone.append(max(_core.int8_peak(1, 3)))
        for count in PROMPTS:  # each beside a peak of its own moment
            peaks[count].append(max(_core.int8_peak(engine.num_threads, 3)))
            seconds[count].append(feed(fresh, count, clock))
    median = {key: float(np.median(values)) for key, values in seconds.items()}
    step_bytes = engine.weight_bytes + round((CONTEXT + DECODED / 2) * row_bytes(spec))
    bound = [bytes_s / step_bytes * s for bytes_s, s in zip(reads, seconds["decode"], strict=True)]
    out: dict[str, Any] = {
        "shape": name,
        "weights": f"random, INT4 groups of {GROUP}, embedding and head INT{head_bits}",
        "threads": engine.num_threads,
        "isa": engine.isa,
        "clock": "processor" if clock is time.thread_time else "wall",
        "weight_bytes": engine.weight_bytes,
        "step_bytes": step_bytes,
        "repeats": repeats,
        "foreign_load": round(load.share(), 3),
        "read_gb_s": round(float(np.median(reads)) / 1e9, 2),
        "int8_peak_gop_s": round(float(np.median(list(peaks.values()))) / 1e9, 1),
        "int8_peak_one_thread_gop_s": round(float(np.median(alone)) / 1e9, 1),
        "decode_tokens_s": round(1 / median["decode"], 1),
        # Reading is timed by the clock: beside processor seconds it says nothing.
        "decode_share_of_bound": round(float(np.median([1 / b for b in bound])), 3)
        if clock is time.perf_counter
        else None,
        "decode_profile": profile(engine, lambda: decode(below), 2),
    }
    for count in PROMPTS:
        done = count * linear_operations(spec)
        shares = [done / s / peak for s, peak in zip(seconds[count], peaks[count], strict=True)]
        out[f"prefill_{count}"] = {
            "tokens_s": round(count / median[count], 1),
            "ms": round(median[count] * 1e3, 2),
            "share_of_peak": round(float(np.median(shares)), 3),
        }
    out["prefill_profile"] = profile(engine, lambda: feed(fresh, 128), 2)
    for stage in out["decode_profile"].values():
        for key in stage:
            stage[key] = round(stage[key] / DECODED, 4)
    return out


def _of_bound(share: float | None) -> str:
    return "" if share is None else f" ({share:.0%} of the bandwidth bound)"


def show(result: dict[str, Any]) -> None:
    """The result as tables on the terminal."""
    console = Console(width=130)
    for item in result["shapes"]:
        console.print(
            f"[bold]{item['shape']}[/] {item['weight_bytes'] / 1e6:.0f} MB, {item['threads']} thread(s), "
            f"{item['isa']}, {item['read_gb_s']} GB/s, peak {item['int8_peak_gop_s']} GOP/s "
            f"(one thread {item['int8_peak_one_thread_gop_s']}), "
            f"foreign load {item['foreign_load']:.0%}, {item['clock']} time"
        )
        parts = [(n, item[f"prefill_{n}"]) for n in PROMPTS]
        console.print(
            f"  decode {item['decode_tokens_s']} tokens/s{_of_bound(item['decode_share_of_bound'])}; "
            + ", ".join(f"prefill {n}: {p['tokens_s']} ({p['share_of_peak']:.0%} of peak)" for n, p in parts)
        )
        table = Table("stage", "decode work", "wait", "prefill 128 work", "wait (ms)")
        for stage in item["decode_profile"]:
            parts = (item["decode_profile"][stage], item["prefill_profile"][stage])
            table.add_row(stage, *(str(part[key]) for part in parts for key in ("work_ms", "wait_ms")))
        console.print(table)


def main() -> None:
    """Measures the shapes; writes benchmarks/results/engine.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--head-bits", type=int, choices=(4, 8), default=8)
    parser.add_argument("--processor-time", action="store_true", help="one thread, by its processor seconds")
    parser.add_argument("--dry", action="store_true", help="print only")
    options = parser.parse_args()
    clock = time.thread_time if options.processor_time else time.perf_counter
    threads = 1 if options.processor_time else options.threads
    shapes = [measure(name, threads, options.repeats, options.head_bits, clock) for name in options.shapes]
    result = {"context": CONTEXT, "shapes": shapes}
    show(result)
    if not options.dry:
        print(f"written to {machine.write('engine', result)}")


if __name__ == "__main__":
    main()
