"""Writes the README's tables of speed and quality from the results: `python -m benchmarks.readme_table`.

With `--check` it only tells whether the README is what the results give (exit code 1 if not).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import speed_summary

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"
BEGIN = "<!-- table:begin (written by `python -m benchmarks.readme_table`) -->\n"
END = "<!-- table:end -->"
QUALITY_BEGIN = "<!-- quality:begin (written by `python -m benchmarks.readme_table`) -->\n"
QUALITY_END = "<!-- quality:end -->"
SPEED_BEGIN = "<!-- speed:begin (written by `python -m benchmarks.readme_table`) -->\n"
SPEED_END = "<!-- speed:end -->"
COMPRESSION_BEGIN = "<!-- compression:begin (written by `python -m benchmarks.readme_table`) -->\n"
COMPRESSION_END = "<!-- compression:end -->"
NO_COMPRESSION = "Not measured yet: `python -m benchmarks.paper_table` does.\n"
# What is shown of each scenario: the mean of metrics of equally many requests.
COMPRESSION_METRICS = {
    "targeting": {"R@1": ("warm R@1", "cold R@1"), "R@10": ("warm R@10", "cold R@10")},
    "creative": {"BLEU": ("bleu",), "METEOR": ("meteor",)},
}
NO_SPEED = "Not measured yet: `make bench` does, in half an hour on a quiet machine.\n"
TEXT_METRICS = ("bleu", "meteor", "rouge_l", "coverage")
NOTHING = "No results are committed yet: `adtrie demo --json > benchmarks/results/demo.json` measures them.\n"
HEAD = [
    "| one request | R@1 | R@10 | p50 ms | p99 ms | forwards | rows |",
    "|---|---:|---:|---:|---:|---:|---:|",
]


def table(results: Path) -> str:
    """Markdown of demo.json (quality, our times) and, where they exist, search_peers and decode."""
    demo = _read(results / "demo.json")
    if demo is None:
        return NOTHING
    model, *compressed, floor = demo["quality"]
    lines = [_setting(demo), *HEAD, _row(floor["method"], floor)]
    for cost in demo["costs"]:
        # verify and stepwise give the same answers; exact was not run on all rows.
        quality = model if cost["search"].startswith(("verify", "stepwise")) else None
        speed = "" if cost["search"].startswith("stepwise") else f" ({cost['speed_up']:.2f}x stepwise)"
        lines.append(_row(f"adtrie `{cost['search']}`{speed}", quality, cost))
    lines += [_compressed_row(quality, demo["compressed"]) for quality in compressed]
    tuned = "" if demo.get("adapter") else "_untuned"
    peers = _read(results / f"search_peers{tuned}.json")
    lines += [_peer_row(peer) for peer in peers["peers"]] if peers else []
    decode = _read(results / "decode.json")
    return "\n".join(lines + ([_decode_line(decode)] if decode else [])) + "\n"


def _setting(demo: dict[str, Any]) -> str:
    adapter = demo.get("adapter")  # adapted linears leave the file's 4-bit grid
    form = f"adapter {adapter}, INT8" if adapter else "untuned, INT4"
    return (
        f"{demo['model']} ({form}) on PriceRunner: {demo['num_entries']:,} keywords, "
        f"{demo['quality'][0]['num_rows']} test listings, raw scores, beams of width 10. "
        f"{demo['machine']['cpu']}, {demo['threads']} threads, {demo['isa']}.\n"
    )


def _row(name: str, quality: dict[str, Any] | None, cost: dict[str, Any] | None = None) -> str:
    cells = [f"{quality['recall_at_1']:.3f}", f"{quality['recall_at_10']:.3f}"] if quality else ["", ""]
    if cost:
        cells += [f"{cost[key]:.0f}" for key in ("p50_ms", "p99_ms", "forwards", "rows")]
    else:
        cells += [""] * 4
    return f"| {name} | " + " | ".join(cells) + " |"


def _compressed_row(quality: dict[str, Any], found: dict[str, Any]) -> str:
    faster = found["full_p50_ms"] / found["p50_ms"]
    name = (
        f"adtrie `verify k=10`, {quality['method']}: {found['bits_per_weight']:.2f} bits per weight, "
        f"{found['num_bytes'] / 1e6:.0f} MB ({faster:.2f}x the uncompressed)"
    )
    scores = [f"{quality['recall_at_1']:.3f}", f"{quality['recall_at_10']:.3f}"]
    return f"| {name} | " + " | ".join([*scores, f"{found['p50_ms']:.0f}", "", "", ""]) + " |"


def _peer_row(peer: dict[str, Any]) -> str:
    cells = [f"{peer[key]:.0f}" for key in ("p50_ms", "p99_ms", "median_forwards")]
    ours = ", ".join(f"{name} {run['times_faster_median']}x" for name, run in peer["ours"].items())
    return f"| {peer['peer']}, beam 10 (faster beside it: {ours}) | | | " + " | ".join(cells) + " | |"


def _decode_line(decode: dict[str, Any]) -> str:
    first = decode["measured"][0]
    one = first["rows"][0]
    return (
        f"\nOne row per forward: {one['tokens_per_s']:.0f} tokens/s, {one['gb_per_s']:.1f} GB/s, "
        f"{one['percent_of_bandwidth_bound']:.0f} % of the read bandwidth of the same run ({first['name']})."
    )


def quality_tables(results: Path) -> str:
    """Markdown of all quality_TASK.json: targeting and ad text, each beside its floors."""
    reports = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("quality_*.json"))
    ]
    plain = {report["task"] for report in reports if not _variant(report)}
    targeting = [line for report in reports if "counts" in report for line in _targeting_rows(report, plain)]
    writing = [line for report in reports if "counts" not in report for line in _writing_rows(report, plain)]
    heads = (
        [
            "| targeting, all test rows | R@1 | R@10 | MRR | valid | forwards |",
            "|---" + "|---:" * 5 + "|",
        ],
        [
            "| ad text, all test rows | BLEU | METEOR | ROUGE-L | facts stated | tokens per forward |",
            "|---" + "|---:" * 5 + "|",
        ],
    )
    tables = [[*head, *rows] for head, rows in zip(heads, (targeting, writing), strict=True) if rows]
    return "\n\n".join("\n".join(lines) for lines in tables) + "\n" if tables else NOTHING


def _variant(report: dict[str, Any]) -> str:
    """What is added to the plain way of answering or writing."""
    setting = report["setting"]
    if setting.get("neighbours"):
        fused = ", fused" if setting.get("fusion") else ""
        return f" with {setting['neighbours']} neighbours{fused}"
    return f" with {setting['width']} beams" if "fact_weight" in setting else ""


def _targeting_rows(report: dict[str, Any], plain: set[str]) -> list[str]:
    lines = []
    costs = {cost["group"]: cost for cost in report["costs"]}
    for score in report["scores"]:
        ours = score["method"] == "adtrie"
        if _variant(report) and report["task"] in plain and not ours and "fused" not in score["method"]:
            continue  # these floors stand beside the plain result
        name = f"{report['task']} {score['group']} ({score['num_rows']:,}), {score['method']}"
        name += _variant(report) if ours else ""
        valid = "" if score["validity"] is None else f"{100 * score['validity']:.0f} %"
        cells = [_span(score["at_1"]), _span(score["at_k"]), f"{score['mrr']:.3f}", valid]
        cost = costs.get(score["group"]) if ours else None
        cells.append(f"{cost['forwards']:.0f}" if cost else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _writing_rows(report: dict[str, Any], plain: set[str]) -> list[str]:
    lines = []
    for score in report["scores"]:
        ours = score["method"] == "adtrie"
        if _variant(report) and report["task"] in plain and not ours:
            continue
        cells = [_span(score["metrics"][name]) if name in score["metrics"] else "" for name in TEXT_METRICS]
        drafted = f"{report['costs'][0]['tokens_per_forward']:.2f}" if ours else ""
        name = f"{report['task']} ({report['num_briefs']:,}), {score['method']}"
        name += _variant(report) if ours else ""
        lines.append(f"| {name} | " + " | ".join([*cells, drafted]) + " |")
    return lines


def _span(interval: dict[str, float]) -> str:
    return f"{interval['mean']:.3f} ({interval['low']:.3f}-{interval['high']:.3f})"


def compression_tables(results: Path) -> str:
    """Markdown of paper_table.json: the rows that are made, plain and with verification or drafts."""
    result = _read(results / "paper_table.json")
    found = [_compression(name, part) for name, part in result["scenarios"].items()] if result else []
    return "\n".join(filter(None, found)) or NO_COMPRESSION


def _compression(scenario: str, part: dict[str, Any]) -> str:
    shown = COMPRESSION_METRICS[scenario]
    head = [part["task"], "bits per weight", "MB", "KL, nats", *shown, "ms", "speed-up", "with the fast way"]
    rows, base = [], ""
    for plain, fast in zip(part["lines"], part["lines"][1:], strict=False):
        if plain["way"] != "plain" or not plain["made"]:
            continue
        recovered = plain["label"].startswith("+")
        base = base if recovered else plain["label"]
        metrics = [sum(plain["metrics"][one] for one in names) / len(names) for names in shown.values()]
        cells = [
            f"{plain['block_bits_per_weight']:.2f}",
            f"{plain['bytes'] / 1e6:.0f}",
            f"{plain['kl_mean']:.3f}",
        ]
        cells += [f"{value:.3f}" for value in metrics]
        timed = "ms_per_request" in plain
        cells += [f"{plain['ms_per_request']:.0f}", f"{plain['speed_up']:.2f}x"] if timed else ["", ""]
        cells.append(f"{fast['speed_up']:.2f}x" if timed and fast["way"] == "fast" else "")
        rows.append(f"| {base}{' + recover' if recovered else ''} | " + " | ".join(cells) + " |")
    ruler = "|---" + "|---:" * (len(head) - 1) + "|"
    return "\n".join([f"| {' | '.join(head)} |", ruler, *rows]) + "\n" if rows else ""


def speed_table(results: Path) -> str:
    """Markdown of speed.json: every engine's tokens a second, and what was to be shown."""
    result = _read(results / "speed.json")
    lines = speed_summary.table(result) if result else []
    if result is None or not lines:
        return NO_SPEED
    bad, whole = speed_summary.disturbed(result["parts"])
    setting = f"2 threads, medians. {_machines(result['parts'])}."
    lines = [f"{setting} Other processes disturbed {bad} of {whole} turns and requests.\n", *lines]
    lines += ["", "| to be shown | wanted | found |", "|---|---:|---:|"]
    for claim in result["claims"]:
        sign = "at most" if claim["at_most"] else "at least"
        found = "not measured" if claim["found"] is None else f"{claim['found']:g}"
        found += " (missed)" if claim["met"] is False else ""
        lines.append(f"| {claim['what']} | {sign} {claim['wanted']:g} | {found} |")
    return "\n".join(lines) + "\n"


def _machines(parts: dict[str, dict[str, Any]]) -> str:
    """Each machine with its day, and the parts that were measured there where there are several."""
    of: dict[str, list[str]] = {}
    for name, part in parts.items():
        if "machine" in part:  # a part that failed has none
            machine = part["machine"]
            shown = f"{machine['processor']} ({machine['model']}), {machine['date']}"
            of.setdefault(shown, []).append(name)
    return "; ".join(shown + (f" ({', '.join(names)})" if len(of) > 1 else "") for shown, names in of.items())


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def updated(readme: str, results: Path = RESULTS) -> str:
    """The README's text with its tables made from `results`."""
    with_speed = _between(readme, BEGIN, END, table(results))
    with_quality = _between(with_speed, QUALITY_BEGIN, QUALITY_END, quality_tables(results))
    with_sizes = _between(with_quality, COMPRESSION_BEGIN, COMPRESSION_END, compression_tables(results))
    return _between(with_sizes, SPEED_BEGIN, SPEED_END, speed_table(results))


def _between(text: str, begin: str, end: str, new: str) -> str:
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return before + begin + new + end + after


def main() -> int:
    """Writes or checks the README."""
    current = README.read_text(encoding="utf-8")
    wanted = updated(current)
    if "--check" in sys.argv[1:]:
        if wanted != current:
            print("README.md: not the table of benchmarks/results; run python -m benchmarks.readme_table")
        return int(wanted != current)
    README.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
