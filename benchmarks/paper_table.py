"""The paper's ablation on our own models: `python -m benchmarks.paper_table [--scenario S] [--rows R ...]`.

Each row's quality and timing are parts of their own in benchmarks/results/paper_table/, so the table can be
made row by row; what is there already is not measured again. Every run ends by writing
benchmarks/results/paper_table.json and .html from all parts. `--rows none` does only that.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmarks import machine
from benchmarks.paper_assemble import assembled
from benchmarks.paper_page import paper_page
from benchmarks.paper_parts import PARTS, SECTIONS, Parts, identity
from benchmarks.paper_quality import quality
from benchmarks.paper_rows import ALL_ROWS, COMPARISONS, ROWS, SCENARIOS, Row, Scenario
from benchmarks.paper_setting import Bench, Sizes
from benchmarks.paper_timing import timing

RECOVERED = "-recovered"
DEFAULT_WORK = machine.ROOT / "build" / "paper_table"
GROUPS = {"all": ROWS, "none": (), "comparisons": COMPARISONS}


def chosen_rows(names: Sequence[str]) -> list[Row]:
    """Rows by name, or all | comparisons | none. Raises SystemExit for an unknown one."""
    rows: dict[str, Row] = {}
    for name in names:
        if name not in GROUPS and name not in ALL_ROWS:
            raise SystemExit(f"--rows: {name!r} is unknown; choose {', '.join((*GROUPS, *ALL_ROWS))}")
        rows |= {row.name: row for row in GROUPS.get(name, (ALL_ROWS.get(name),)) if row}
    return list(rows.values())


def measure_quality(bench: Bench, parts: Parts, rows: Sequence[Row], again: bool) -> None:
    """The quality of every row and of its recovered checkpoint, where it is not known."""
    for row in rows:
        key, recovered = bench.identity(row), bench.recovered(row)
        if again or parts.load(row.file_name, "quality", key) is None:
            started = time.monotonic()
            found = quality(bench, row)
            found |= {**bench.about, "seconds": round(time.monotonic() - started, 1)}
            if row.kind == "packed":
                found["recover_command"] = bench.recover_command(row)
            _tell(row.label, parts.save(row.file_name, "quality", key, found))
        if recovered is not None:
            name, key = row.file_name + RECOVERED, identity(key, str(recovered), recovered.stat().st_mtime_ns)
            if again or parts.load(name, "quality", key) is None:
                found = quality(bench, row, recovered) | bench.about
                _tell(f"{row.label} + recover", parts.save(name, "quality", key, found))


def measure_timing(bench: Bench, parts: Parts, rows: Sequence[Row], requests: int) -> None:
    """Milliseconds of all rows that have a kernel, and of full precision, in one run."""
    paths: dict[str, Path | None] = {"full": None}
    for row in (row for row in rows if row.kind == "packed"):
        paths[row.file_name] = bench.packed(row)
        recovered = bench.recovered(row)
        if recovered is not None:
            paths[row.file_name + RECOVERED] = recovered
    key = identity(bench.source.fingerprint, requests)
    for name, found in timing(bench, paths, requests).items():
        _tell(name, parts.save(name, "timing", key, found))


def measure(scenario: Scenario, rows: Sequence[Row], options: argparse.Namespace) -> None:
    """The sections asked for, of one scenario."""
    sizes = Sizes(options.tokens, options.texts, options.sample)
    bench = Bench(scenario, options.work, sizes, options.model, options.threads, options.recovered)
    parts = Parts(PARTS / scenario.name)
    with closing(bench):
        if "quality" in options.sections:
            measure_quality(bench, parts, rows, options.again)
        if "timing" in options.sections:
            measure_timing(bench, parts, rows, options.requests)


def main() -> None:
    """Measures what is asked for and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenario", choices=(*SCENARIOS, "both"), default="both")
    parser.add_argument(
        "--rows", nargs="+", default=["all"], metavar="ROW", help="all, comparisons, none, names"
    )
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--sample", type=int, default=Sizes.sample, help="requests of the task's metrics")
    parser.add_argument("--texts", type=int, default=Sizes.texts, help="held-out texts of the divergence")
    parser.add_argument("--tokens", type=int, default=Sizes.tokens, help="calibration tokens")
    parser.add_argument("--requests", type=int, default=20, help="timed requests")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--threads", type=int, help="default: all")
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK, help="kept between runs")
    parser.add_argument("--recovered", type=Path, help="folder with SCENARIO/ROW of `adtrie recover`")
    parser.add_argument("--again", action="store_true", help="measure what is known, too")
    options = parser.parse_args()
    rows = chosen_rows(options.rows)
    if rows:
        for name in SCENARIOS if options.scenario == "both" else (options.scenario,):
            measure(SCENARIOS[name], rows, options)
    write()


def write() -> None:
    """benchmarks/results/paper_table.json and .html from all parts."""
    result = {name: assembled(scenario, Parts(PARTS / name).all()) for name, scenario in SCENARIOS.items()}
    print(f"written to {machine.write('paper_table', {'scenarios': result})}")
    path = machine.RESULTS / "paper_table.html"
    path.write_text(paper_page(result), encoding="utf-8")
    print(f"written to {path}")


def _tell(label: str, path: Path) -> None:
    print(f"{label}: {path.relative_to(machine.ROOT)}", flush=True)


if __name__ == "__main__":
    main()
