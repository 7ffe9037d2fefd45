"""From the parts of a run to ratios, the README's table and what was to be shown. Pure functions of JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

SHAPE_PARTS = ("engines-135m", "engines-0.5b", "engines-1.5b")
MEASURES = ("decode", "prefill_32", "prefill_128", "prefill_512")
DENSE, MIXED = "adtrie-int4", "adtrie-mixed"
BEST_BEAMS = ("transformers bf16, early stopping", "transformers dynamic INT8, early stopping")
# At least so many times the best peer: decode against equal or fewer bits, prefill against all.
DECODE_BARS = {"135m": 2.0, "0.5b": 1.35, "1.5b": 1.15}
PREFILL_BAR, MIXED_BAR, MANNERS_BAR, LOAD_BAR_S, MEMORY_BAR, FLOOR_BAR = 1.1, 1.25, 2.5, 0.5, 1.3, 1.7
BOUND_BARS = {"135m": 0.70, "0.5b": 0.85, "1.5b": 0.85}  # of the read bandwidth, batch 1
PEAK_SHAPE, PEAK_BAR = "0.5b", 0.65  # of the INT8 peak, prefill of 128
THROUGHPUT_BAR, QUEUE_BAR = 1.3, 1.5
BEAM_BARS = {
    ("INT4", "verify width 10"): (16.0, 12.0),
    ("mixed", "verify width 10"): (22.0, 16.0),
    **{("INT4", f"exact k=1{way}"): (60.0, 45.0) for way in ("", " bounded", " guessed", " guessed bounded")},
}


def assemble(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """{"shapes": ratios by shape, "claims": what was to be shown, with what was found}."""
    shapes = {
        parts[name]["shape"]: ratios(parts[name])
        for name in SHAPE_PARTS
        if name in parts and "failed" not in parts[name]
    }
    return {"shapes": shapes, "claims": claims(parts, shapes)}


def sound(part: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The engines of a part that were measured, by name."""
    return {engine["engine"]: engine for engine in part["engines"] if "failed" not in engine}


def best_peer(
    engines: Mapping[str, Mapping[str, Any]], measure: str, most_bits: int = 99
) -> Mapping[str, Any] | None:
    """The fastest engine that is not ours and stores at most so many bits a weight."""
    peers = [item for item in engines.values() if not item["ours"] and item["bits"] <= most_bits]
    return max(peers, key=lambda item: float(item["tokens_s"][measure]["median"]), default=None)


def ratio(ours: Mapping[str, Any], other: Mapping[str, Any], measure: str) -> float:
    """Median over rounds of ours / other, each round's own: what both suffered cancels."""
    pairs = zip(ours["tokens_s"][measure]["samples"], other["tokens_s"][measure]["samples"], strict=False)
    return round(median(a / b for a, b in pairs), 2)


def ratios(part: Mapping[str, Any]) -> dict[str, Any]:
    """Of each measure: our dense INT4 over the best peer, and over the best of equal or fewer bits."""
    engines = sound(part)
    found: dict[str, Any] = {}
    if DENSE not in engines:
        return found
    for measure in (name for name in MEASURES if name in engines[DENSE]["tokens_s"]):
        row: dict[str, Any] = {}
        for key, bits in (("all", 99), ("equal_bits", engines[DENSE]["bits"])):
            peer = best_peer(engines, measure, bits)
            if peer is not None:
                row[key] = {"peer": peer["label"], "times": ratio(engines[DENSE], peer, measure)}
        if MIXED in engines:
            row["mixed_over_dense"] = ratio(engines[MIXED], engines[DENSE], measure)
        found[measure] = row
    return found


def _claim(what: str, wanted: float, found: float | None, at_most: bool = False) -> dict[str, Any]:
    met = None if found is None else (found <= wanted if at_most else found >= wanted)
    return {"what": what, "wanted": wanted, "at_most": at_most, "found": found, "met": met}


def claims(parts: Mapping[str, Mapping[str, Any]], shapes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each bar with what was found, None where it was not measured."""
    found = []
    for shape, bar in DECODE_BARS.items():
        measured = shapes.get(shape, {})
        decode, prefill = measured.get("decode", {}), measured.get("prefill_128", {})
        times = decode.get("equal_bits", {}).get("times")
        found.append(_claim(f"{shape} decode, times the best peer of equal or fewer bits", bar, times))
        found.append(_claim(f"{shape} decode, mixed over dense", MIXED_BAR, decode.get("mixed_over_dense")))
        times = prefill.get("all", {}).get("times")
        found.append(_claim(f"{shape} prefill of 128, times the best peer", PREFILL_BAR, times))
    return [
        *found,
        *_bound_claims(parts.get("engine", {})),
        *_request_claims(parts.get("targeting", {})),
        *_company_claims(parts.get("concurrent", {})),
        *_process_claims(parts),
    ]


def _bound_claims(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    measured = {shape["shape"]: shape for shape in part.get("shapes", [])}
    what, key = "decode, share of the bandwidth bound", "decode_share_of_bound"
    found = [
        _claim(f"{name} {what}", bar, measured.get(name, {}).get(key)) for name, bar in BOUND_BARS.items()
    ]
    share = measured.get(PEAK_SHAPE, {}).get("prefill_128", {}).get("share_of_peak")
    return [*found, _claim(f"{PEAK_SHAPE} prefill of 128, share of the INT8 peak", PEAK_BAR, share)]


def _company_claims(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for mode, run in part.get("modes", {}).items():
        if "throughput_ratio" in run:
            what = f"{run['requests']} requests at once, {mode}"
            found += [
                _claim(f"{what}, requests/s over one by one", THROUGHPUT_BAR, run["throughput_ratio"]),
                _claim(f"{what}, p99 over a fair queue's", QUEUE_BAR, run["p99_of_queue"], at_most=True),
                _claim(f"{what}, answers that differ", 0, run["differing_answers"], at_most=True),
            ]
    return found


def _request_claims(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = {row["name"]: row for row in part.get("ours", [])}
    found = []
    for (variant, search), bars in BEAM_BARS.items():
        faster = rows.get(f"adtrie {variant} {search}", {}).get("times_faster_than", {})
        for peer, bar in zip(BEST_BEAMS, bars, strict=True):
            found.append(_claim(f"{search}, {variant}, times faster than {peer}", bar, faster.get(peer)))
    for name, row in rows.items():
        if "times_floor" in row:
            found.append(_claim(f"{name}, p50 over its floor", FLOOR_BAR, row["times_floor"], at_most=True))
    return found


def _process_claims(parts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    manners = sound(parts["manners"]) if "engines" in parts.get("manners", {}) else {}
    small = sound(parts["engines-135m"]) if "engines" in parts.get("engines-135m", {}) else {}
    ours = small.get(DENSE, {})
    loaded = round(ours["load_s"] - ours.get("import_s", 0.0), 3) if ours else None
    slower = manners.get(DENSE, {}).get("times_slower")
    return [
        _claim("decode beside a busy core, times slower", MANNERS_BAR, slower, at_most=True),
        _claim("135m load and plan from cache, imports apart, seconds", LOAD_BAR_S, loaded, at_most=True),
        *_memory_claims(parts),
    ]


def _memory_claims(parts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of every shape, with nothing taken off for caches, which the bar allows besides."""
    found = []
    for shape in DECODE_BARS:
        part = parts.get(f"engines-{shape}", {})
        ours = sound(part).get(DENSE, {}) if "engines" in part else {}
        times = round(ours["peak_bytes"] / ours["model_bytes"], 2) if ours else None
        found.append(_claim(f"{shape} peak memory over file size", MEMORY_BAR, times, at_most=True))
    return found


def disturbed(parts: Mapping[str, Mapping[str, Any]]) -> tuple[int, int]:
    """Turns and requests that others disturbed in every try, and all there were."""
    engines = [engine for part in parts.values() for engine in part.get("engines", [])]
    rows = [row for part in parts.values() for key in ("ours", "peers") for row in part.get(key, [])]
    bad = sum(item.get("disturbed_rounds", 0) for item in engines) + sum(row["disturbed"] for row in rows)
    return bad, sum(item.get("rounds", 0) for item in engines) + sum(row["requests"] for row in rows)


def table(result: Mapping[str, Any]) -> list[str]:
    """Markdown lines: an engine a row, decode and prefill of each shape, manners, start and memory."""
    parts = result["parts"]
    shapes = [parts[name] for name in SHAPE_PARTS if "engines" in parts.get(name, {})]
    if not shapes:
        return []
    head = "".join(f" {part['shape']} decode | prefill 128 | prefill 512 |" for part in shapes)
    lines = [f"| tokens/s |{head} beside a busy core | load s | peak MB |"]
    lines.append("|---|" + "---:|" * (3 * len(shapes) + 3))
    manners = sound(parts["manners"]) if "engines" in parts.get("manners", {}) else {}
    for name, label in _names(shapes).items():
        cells = [cell for part in shapes for cell in _cells(sound(part).get(name))]
        slower = manners.get(name, {}).get("times_slower")
        first = sound(shapes[0]).get(name, {})
        cells.append("" if slower is None else f"{slower:.1f}x slower")
        cells += [f"{first['load_s']:.1f}", f"{first['peak_bytes'] / 1e6:.0f}"] if first else ["", ""]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


def _names(shapes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {engine["engine"]: engine["label"] for part in shapes for engine in part["engines"]}


def _cells(engine: Mapping[str, Any] | None) -> list[str]:
    if engine is None:
        return [""] * 3
    rates = [engine["tokens_s"].get(name) for name in ("decode", "prefill_128", "prefill_512")]
    return [f"{rate['median']:.0f}" if rate else "" for rate in rates]


def text(result: Mapping[str, Any]) -> str:
    """The table, the claims and what failed, for a terminal."""
    bad, whole = disturbed(result["parts"])
    lines = [*table(result), "", f"{bad} of {whole} turns and requests were disturbed by other processes"]
    for claim in result["claims"]:
        sign = "<=" if claim["at_most"] else ">="
        found = "not measured" if claim["found"] is None else f"{claim['found']} ({_verdict(claim['met'])})"
        lines.append(f"{claim['what']}: wanted {sign} {claim['wanted']}, found {found}")
    lines += [f"part {name}: {part['failed']}" for name, part in result["parts"].items() if "failed" in part]
    lines += [
        f"{engine['label']} ({part['shape']}): {engine['failed']}"
        for part in result["parts"].values()
        for engine in part.get("engines", [])
        if "failed" in engine
    ]
    return "\n".join(lines)


def _verdict(met: bool | None) -> str:
    return "met" if met else "missed"
