"""Quality of the shipped adapters on all test rows: `python -m benchmarks.quality [TASK ...]`.

Runs `adtrie evaluate TASK --adapter TASK` and writes benchmarks/results/quality_TASK.json. Before that it
says of each metric whether the new value lies in the interval that the committed result states. A task with
a shipped fusion is measured with it. With --neighbours 10 the entries a query resembles join the beam's:
quality_TASK_neighbours.json. With --beams N (and --length-penalty, --fact-weight) ad text is the best of a
beam: quality_TASK_beams.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from adtrie.cli.neighbours import FUSION_FILE
from adtrie.evaluate.creative_tasks import CREATIVE_TASK_NAMES
from adtrie.models import shipped_adapters
from adtrie.models.adapter import adapter_folder
from benchmarks import machine

OURS = "adtrie"


def evaluated(task: str, arguments: list[str]) -> dict[str, Any]:
    """The report of `adtrie evaluate`; SystemExit where it fails or shows a broken promise."""
    command = [sys.executable, "-m", "adtrie", "evaluate", task, "--adapter", task, "--json", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
    report: dict[str, Any] = json.loads(done.stdout)
    del report["machine"], report["examples"]  # machine.write describes the machine; the page shows examples
    return report


def intervals(report: dict[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    """Name and interval of each metric of ours."""
    for score in report["scores"]:
        if score["method"] != OURS:
            continue
        if "metrics" in score:
            yield from score["metrics"].items()
        else:
            yield f"{score['group']} R@1", score["at_1"]
            yield f"{score['group']} R@{len(score['recall'])}", score["at_k"]


def compared(new: dict[str, Any], stated: dict[str, Any]) -> list[str]:
    """One line per metric: its new value against the stated interval."""
    old = dict(intervals(stated))
    return [
        f"{name}: {one['mean']:.4f}, stated {old[name]['low']:.4f} to {old[name]['high']:.4f}: "
        + ("inside" if old[name]["low"] <= one["mean"] <= old[name]["high"] else "OUTSIDE")
        for name, one in intervals(new)
        if name in old
    ]


def written(options: argparse.Namespace) -> tuple[list[str], str]:
    """Arguments of a task that writes, and what its result's name ends with."""
    if not options.beams:
        return ["--check-draft"], ""
    ranked = ["--length-penalty", str(options.length_penalty), "--fact-weight", str(options.fact_weight)]
    return ["--beams", str(options.beams), *ranked], "_beams"


def targeted(task: str, options: argparse.Namespace) -> tuple[list[str], str]:
    """Arguments of a task that targets, and what its result's name ends with."""
    if (adapter_folder(task) / FUSION_FILE).exists():
        return ["--fusion", task], ""
    if options.neighbours:
        return ["--neighbours", str(options.neighbours)], "_neighbours"
    return [], ""


def main() -> int:
    """Evaluates the tasks asked for, by default those with a shipped adapter; 1 if any metric is outside."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="default: all with a shipped adapter")
    parser.add_argument("--rows", type=int, help="fewer rows: nothing is written then")
    parser.add_argument("--neighbours", type=int, help="for tasks that target: so many of each kind")
    parser.add_argument("--beams", type=int, help="for tasks that write: the width of a beam")
    parser.add_argument("--length-penalty", type=float, default=1.0)
    parser.add_argument("--fact-weight", type=float, default=0.0)
    options = parser.parse_args()
    outside = 0
    for task in options.tasks or shipped_adapters():
        arguments, suffix = written(options) if task in CREATIVE_TASK_NAMES else targeted(task, options)
        arguments += ["--rows", str(options.rows)] if options.rows else []
        report = evaluated(task, arguments)
        path = machine.RESULTS / f"quality_{task}{suffix}.json"
        if path.exists():
            lines = compared(report, json.loads(path.read_text(encoding="utf-8")))
            outside += sum(line.endswith("OUTSIDE") for line in lines)
            print("\n".join(f"{task} {line}" for line in lines))
        if not options.rows:
            print(f"written to {machine.write(path.stem, report)}")
    return int(outside > 0)


if __name__ == "__main__":
    sys.exit(main())
