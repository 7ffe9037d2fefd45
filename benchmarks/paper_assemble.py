"""Parts of rows to the lines of the table, changes against full precision, and comparisons at equal bytes.

Pure arithmetic on what is stored: a row that is not made says so, with the command that makes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.paper_rows import ALL_ROWS, MIXES, PAPER, ROWS, Paper, Row, Scenario, group_pairs

Part = Mapping[str, Any]  # a section of a row
Stored = Mapping[str, Mapping[str, Part]]  # file name of a row -> section -> part
SIZE = ("bytes", "bits_per_weight", "block_bits_per_weight", "one_of_four_share")
FIDELITY = ("perplexity", "kl_mean", "kl_p99", "top1_agreement", "num_rows")
RECOVERED = "-recovered"
_ASKED = ("source", "sample", "num_rows")  # equal in rows that may be compared


def assembled(scenario: Scenario, parts: Stored) -> dict[str, Any]:
    """Everything shown of one scenario, as JSON values."""
    parts = _of_one_plan(parts)
    return {
        "task": scenario.task,
        "lines": [line for row in ROWS for line in row_lines(row, scenario, parts)],
        "groups": group_comparison(parts),
        "mixes": {title: mix_comparison(names, parts) for title, names in MIXES.items()},
        "shape": mix_shape(parts),
    }


def row_lines(row: Row, scenario: Scenario, parts: Stored) -> list[dict[str, Any]]:
    """The row plain, with the faster search or draft, and both again after recovering."""
    fast = f"+ {scenario.fast}"
    lines = [
        _line(row, row.file_name, row.label, scenario, parts, None),
        _line(row, row.file_name, fast, scenario, parts, "fast"),
    ]
    if row.kind == "pruned":
        return lines[:1]
    if row.kind == "packed":
        recovered = row.file_name + RECOVERED
        lines.append(_line(row, recovered, "+ recover", scenario, parts, None))
        lines.append(_line(row, recovered, f"+ recover {fast}", scenario, parts, "fast"))
    return lines


def _of_one_plan(parts: Stored) -> Stored:
    """Without what was recovered from another plan of its row: recovering changes no size."""

    def same(name: str) -> bool:
        before, after = (_section(parts, each, "quality") for each in (name.removesuffix(RECOVERED), name))
        return before is None or after is None or before["bytes"] == after["bytes"]

    return {name: part for name, part in parts.items() if same(name)}


def _line(
    row: Row, name: str, label: str, scenario: Scenario, parts: Stored, way: str | None
) -> dict[str, Any]:
    quality, timing = _section(parts, name, "quality"), _section(parts, name, "timing")
    full = _section(parts, "full", "quality")
    line: dict[str, Any] = {
        "row": row.name,
        "label": label,
        "way": way or "plain",
        "made": quality is not None,
    }
    if name == row.file_name:
        paper = PAPER[scenario.name].get(f"{row.name} {way}" if way else row.name)
        line["paper"] = None if paper is None else paper_line(paper, PAPER[scenario.name]["full"])
    if quality is None:
        line["command"] = _command(row, name, scenario, parts)
        return line
    line |= {key: quality.get(key) for key in (*SIZE, *FIDELITY)}
    line["metrics"] = {key: value["mean"] for key, value in quality["metrics"].items()}
    line["changes"] = changes(quality, full)
    if timing is not None:
        ending = "_fast" if way else ""
        line |= {key: timing[f"{key}{ending}"] for key in ("ms_per_request", "speed_up")}
        line |= {key: timing[key] for key in ("ms_per_token", "token_speed_up", "foreign_load")}
    return line


def _section(parts: Stored, name: str, section: str) -> Part | None:
    return parts.get(name, {}).get(section)


def _command(row: Row, name: str, scenario: Scenario, parts: Stored) -> str:
    """What makes the row that is missing."""
    if name == row.file_name:
        return f"python -m benchmarks.paper_table --scenario {scenario.name} --rows full {row.name}"
    packed = _section(parts, row.file_name, "quality")
    if packed is None:
        return f"make the row {row.label!r} first"
    return f"{packed['recover_command']}; then --rows {row.name} --recovered RECOVERED"


def changes(quality: Part, full: Part | None) -> dict[str, float] | None:
    """Percent by which metrics and perplexity differ from full precision, where both answered the same."""
    if full is None or not comparable(quality, full):
        return None
    known = full["metrics"]
    pairs = {
        key: (value["mean"], known[key]["mean"]) for key, value in quality["metrics"].items() if key in known
    }
    pairs["perplexity"] = quality["perplexity"], full["perplexity"]
    return {key: 100 * (ours / base - 1) for key, (ours, base) in pairs.items() if base}


def comparable(*rows: Part) -> bool:
    """Whether all are of one model, on the same texts and requests."""
    return len({tuple(row.get(key) for key in _ASKED) for row in rows}) == 1


def paper_line(paper: Paper, full: Paper) -> dict[str, Any]:
    """The paper's row: ms per token, speed-up, and changes of its metrics in percent of its own baseline."""
    low, high = paper.ms
    found: dict[str, Any] = {"ms_per_token": [low, high], "speed_up": [full.ms[0] / high, full.ms[0] / low]}
    for name in ("bleu", "meteor", "recall"):
        ours, base = getattr(paper, name), getattr(full, name)
        if ours is not None and base:
            found[name] = ours
            found[f"{name}_change"] = 100 * (ours / base - 1)
    return found


def group_comparison(parts: Stored) -> list[dict[str, Any]]:
    """Each uniform group size beside the adaptive groups of the same bytes; only pairs that are made."""
    found = []
    for uniform, adaptive in group_pairs():
        one, other = (_quality_of(name, parts) for name in (uniform, adaptive))
        if one and other and comparable(one, other):
            found.append(
                {
                    "label": ALL_ROWS[uniform].label,
                    "uniform_bytes": one["bytes"],
                    "adaptive_bytes": other["bytes"],
                    "block_bits_per_weight": one["block_bits_per_weight"],
                    "uniform_kl": one["kl_mean"],
                    "adaptive_kl": other["kl_mean"],
                    "adaptive_is_better": other["kl_mean"] < one["kl_mean"],
                }
            )
    return found


def mix_comparison(names: Sequence[str], parts: Stored) -> list[dict[str, Any]]:
    """Assignments of patterns at the same bytes, the planned one first; only those that are made alike."""
    found: list[dict[str, Any]] = []
    made = [(name, quality) for name in names if (quality := _quality_of(name, parts)) is not None]
    for name, quality in made:
        if comparable(made[0][1], quality):
            found.append(
                {
                    "row": name,
                    "label": ALL_ROWS[name].label,
                    "metrics": {key: value["mean"] for key, value in quality["metrics"].items()},
                    **{key: quality.get(key) for key in (*SIZE, *FIDELITY, "sample")},
                }
            )
    return found


def mix_shape(parts: Stored) -> dict[str, Any] | None:
    """How far the mix is on the way from uniform 2:4 to uniform 1:4, by each measure, and after recovering.

    0 is as good as 2:4, 1 as bad as 1:4. The paper's mix is at 0.09.
    """
    shape = {
        title: _shape([_section(parts, ALL_ROWS[name].file_name + ending, "quality") for name in _ENDS])
        for title, ending in (("before recover", ""), ("after recover", RECOVERED))
    }
    return {title: found for title, found in shape.items() if found} or None


_ENDS = ("2:4+int4", "mix+int4", "1:4+int4")


def _shape(rows: Sequence[Part | None]) -> dict[str, Any] | None:
    half, mix, quarter = rows
    if half is None or mix is None or quarter is None:
        return None
    if not comparable(half, mix, quarter):
        return None
    ways = {
        key: share_of_way(half[key], mix[key], quarter[key]) for key in ("kl_mean", "perplexity", "bytes")
    }
    for name in (name for name in mix["metrics"] if all(name in row["metrics"] for row in (half, quarter))):
        ways[name] = share_of_way(*(row["metrics"][name]["mean"] for row in (half, mix, quarter)))
    return {"one_of_four_share": mix.get("one_of_four_share"), "way": ways}


def share_of_way(start: float, value: float, end: float) -> float | None:
    """Where `value` lies from `start` (0) to `end` (1); None where these are the same."""
    return (value - start) / (end - start) if end != start else None


def _quality_of(name: str, parts: Stored) -> Part | None:
    return _section(parts, ALL_ROWS[name].file_name, "quality")
