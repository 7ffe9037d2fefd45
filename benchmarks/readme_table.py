"""Writes the README's table of speed and quality from the results: `python -m benchmarks.readme_table`.

With `--check` it only tells whether the README is what the results give (exit code 1 if not).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"
BEGIN = "<!-- table:begin (written by `python -m benchmarks.readme_table`) -->\n"
END = "<!-- table:end -->"
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
    model, floor = demo["quality"]
    lines = [_setting(demo), *HEAD, _row(floor["method"], floor)]
    for cost in demo["costs"]:
        # verify and stepwise give the same answers; exact was not run on all rows.
        quality = model if cost["search"].startswith(("verify", "stepwise")) else None
        speed = "" if cost["search"].startswith("stepwise") else f" ({cost['speed_up']:.2f}x stepwise)"
        lines.append(_row(f"adtrie `{cost['search']}`{speed}", quality, cost))
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


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def updated(readme: str, results: Path = RESULTS) -> str:
    """The README's text with its table made from `results`."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + table(results) + END + after


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
