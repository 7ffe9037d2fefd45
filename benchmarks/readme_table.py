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


def table(demo: dict[str, Any]) -> str:
    """Markdown of one demonstration: quality beside the floor, then cost per search, the machine named."""
    machine = demo["machine"]
    rows = [
        f"PriceRunner, {demo['num_entries']:,} keywords, {demo['quality'][0]['num_rows']} test listings. "
        f"{machine['cpu']}, {demo['threads']} threads, {demo['isa']}.\n",
        "| one request | p50 ms | p99 ms | forwards | rows | against stepwise |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    rows += [
        f"| `{cost['search']}` | {cost['p50_ms']:.0f} | {cost['p99_ms']:.0f} | {cost['forwards']:.0f} "
        f"| {cost['rows']:.0f} | {cost['speed_up']:.2f}x |"
        for cost in demo["costs"]
    ]
    rows += ["", "| quality | R@1 | R@10 |", "|---|---:|---:|"]
    rows += [
        f"| {row['method']} | {row['recall_at_1']:.3f} | {row['recall_at_10']:.3f} |"
        for row in demo["quality"]
    ]
    return "\n".join(rows) + "\n"


def updated(readme: str, results: Path = RESULTS) -> str:
    """The README's text with its table made from `results`."""
    path = results / "demo.json"
    body = table(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else NOTHING
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + body + END + after


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
