"""The table as one HTML page with charts, in the manner of `adtrie evaluate`. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adtrie.evaluate.page import document
from adtrie.evaluate.plots import STYLES, Axis, Curve, line_plot, shown
from adtrie.evaluate.tables import Table

WIDTH, LABEL, ROW = 560, 190, 22
BLANK = ""
NOTES = (
    "Divergence (KL, nats), agreement of the most likely token and perplexity: on the answers of test rows, "
    "both models in float32. R@k, BLEU and METEOR: as served, INT8 activations (floats in full precision), "
    "on a sample of test rows; "
    "verified and drafted answers are those of the plain search, which is checked before anything is timed. "
    "Changes in percent of full precision.",
    "2:4 and 1:4 without INT4: 16-bit survivors with 2-bit positions as the paper stores them; there is no "
    "kernel for these here, so no time. Embedding and head are INT8 in all compressed rows.",
    "Paper: arXiv 2605.11582, by other people's readings, which agree on its table (creative; ERNIE 1.5B, "
    "A10) and differ on its figure (targeting; A30, beams of 20), so that a range is given. Other model, "
    "data and machine: compare changes and speed-ups, not values.",
)


def paper_page(scenarios: Mapping[str, Mapping[str, Any]]) -> str:
    """UTF-8 text of the page."""
    tables, plots, lines = [], [], []
    for name, found in scenarios.items():
        lines.append(f"{name}: {found['task']}")
        tables += scenario_tables(name, found)
        plots += scenario_plots(name, found)
    return document("The paper's table on our models", lines, tables, NOTES, plots)


def scenario_tables(name: str, found: Mapping[str, Any]) -> list[Table]:
    """Rows, what is not made, and the comparisons at equal bytes, of one scenario."""
    made = [line for line in found["lines"] if line["made"]]
    metrics = list(dict.fromkeys(key for line in made for key in line["metrics"]))
    head = ("", "MB", "bits/weight", "in blocks", "ms/token", "ms/request", "speed-up", "perplexity", "KL")
    head += ("KL p99", "top-1 %", *metrics, "paper: speed-up", "paper: BLEU", "paper: METEOR")
    rows = tuple(_cells(line, metrics) for line in made)
    tables = [Table(f"{name}: {found['task']}", head, rows)] if rows else []
    others = [line for line in found["lines"] if not line["made"]]
    missing = tuple((line["label"], line["row"], line["command"]) for line in others)
    if missing:
        tables.append(Table(f"{name}: not made", ("", "of row", "command"), missing))
    if found["groups"]:
        tables.append(_group_table(name, found["groups"]))
    tables += [
        _mix_table(f"{name}: assignments {title}", rows) for title, rows in found["mixes"].items() if rows
    ]
    if found["shape"]:
        tables.append(_shape_table(name, found["shape"]))
    return tables


def _cells(line: Mapping[str, Any], metrics: Sequence[str]) -> tuple[str, ...]:
    change, paper = line["changes"] or {}, line.get("paper") or {}
    return (
        line["label"],
        f"{line['bytes'] / 1e6:.1f}",
        _number(line["bits_per_weight"], 2),
        _number(line["block_bits_per_weight"], 2),
        _number(line.get("ms_per_token"), 2),
        _number(line.get("ms_per_request"), 1),
        _times(line.get("speed_up")),
        _with_change(line["perplexity"], change.get("perplexity"), 3),
        _number(line["kl_mean"], 4),
        _number(line["kl_p99"], 3),
        _number(100 * line["top1_agreement"], 1),
        *(_with_change(line["metrics"].get(key), change.get(key), 3) for key in metrics),
        _range(paper.get("speed_up")),
        _percent(paper.get("bleu_change")),
        _percent(paper.get("meteor_change")),
    )


def _group_table(name: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    cells = tuple(
        (
            row["label"],
            _number(row["block_bits_per_weight"], 3),
            f"{row['uniform_bytes'] / 1e6:.2f}",
            f"{row['adaptive_bytes'] / 1e6:.2f}",
            _number(row["uniform_kl"], 5),
            _number(row["adaptive_kl"], 5),
            "yes" if row["adaptive_is_better"] else "no",
        )
        for row in rows
    )
    head = (
        "",
        "bits in blocks",
        "MB uniform",
        "MB adaptive",
        "KL uniform",
        "KL adaptive",
        "adaptive is better",
    )
    return Table(f"{name}: adaptive groups at the bytes of uniform ones", head, cells)


def _mix_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    metrics = list(rows[0]["metrics"])
    cells = tuple(
        (
            row["label"],
            f"{row['bytes'] / 1e6:.2f}",
            _number(row["one_of_four_share"], 2),
            _number(row["kl_mean"], 4),
            _number(row["perplexity"], 3),
            *(_number(row["metrics"].get(key), 3) for key in metrics),
        )
        for row in rows
    )
    return Table(title, ("", "MB", "1:4 of sparse", "KL", "perplexity", *metrics), cells)


def _shape_table(name: str, shape: Mapping[str, Any]) -> Table:
    measures = list(next(iter(shape.values()))["way"])
    cells = tuple(
        (
            title,
            _number(found["one_of_four_share"], 2),
            *(_number(found["way"].get(key), 2) for key in measures),
        )
        for title, found in shape.items()
    )
    return Table(
        f"{name}: the mix on the way from 2:4 (0) to 1:4 (1)", ("", "1:4 of sparse", *measures), cells
    )


def scenario_plots(name: str, found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(title, SVG): speed-ups and changes of the rows, and divergence by group bytes."""
    made = [line for line in found["lines"] if line["made"]]
    plots = []
    timed = [line for line in made if line.get("speed_up")]
    if timed:
        speeds = [(_full_label(line), (line["speed_up"], _high(line, "speed_up"))) for line in timed]
        plots.append(
            (f"{name}: times as fast as full precision, step-wise", bar_chart(speeds, ("ours", "paper")))
        )
    plain = [line for line in made if line["way"] == "plain"]
    for key in dict.fromkeys(key for line in plain for key in line["metrics"]):
        kept = [(_full_label(line), (_kept(line, key), _paper_kept(line, key))) for line in plain]
        plots.append((f"{name}: {key}, percent of full precision", bar_chart(kept, ("ours", "paper"))))
    if len(found["groups"]) > 1:
        plots.append((f"{name}: divergence by bits per weight in blocks", _group_plot(found["groups"])))
    return plots


def bar_chart(rows: Sequence[tuple[str, Sequence[float | None]]], series: Sequence[str]) -> str:
    """SVG text: for each label a bar per series, those without a value left out; a legend below."""
    most = max((value for _, values in rows for value in values if value is not None), default=1.0) or 1.0
    height = ROW * len(rows) + 20 * len(series) + 8
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{shown(", ".join(series))}">']
    for at, (label, values) in enumerate(rows):
        top = ROW * at
        parts.append(f'<text x="{LABEL - 6}" y="{top + 14}" text-anchor="end">{shown(label)}</text>')
        for number, value in enumerate(values):
            if value is not None:
                parts += _bar(value, most, top + 3 + number * 8, number)
    for number, label in enumerate(series):
        top = ROW * len(rows) + 20 * number + 8
        parts.append(f'<rect x="{LABEL}" y="{top}" width="36" height="8" {_fill(number)}/>')
        parts.append(f'<text x="{LABEL + 44}" y="{top + 9}" text-anchor="start">{shown(label)}</text>')
    return "\n".join([*parts, "</svg>"])


def _bar(value: float, most: float, top: int, number: int) -> list[str]:
    width = (WIDTH - LABEL - 60) * max(value, 0.0) / most
    text = f'<text x="{LABEL + width + 4:.1f}" y="{top + 8}" font-size="9">{value:.2f}</text>'
    return [f'<rect x="{LABEL}" y="{top}" width="{width:.1f}" height="7" {_fill(number)}/>', text]


def _fill(number: int) -> str:
    return f'fill="{STYLES[number][0]}"'


def _group_plot(rows: Sequence[Mapping[str, Any]]) -> str:
    ordered = sorted(rows, key=lambda row: row["block_bits_per_weight"])
    bits = [row["block_bits_per_weight"] for row in ordered]
    curves = [
        Curve(label, list(zip(bits, [row[key] for row in ordered], strict=True)))
        for label, key in (("uniform groups", "uniform_kl"), ("adaptive groups", "adaptive_kl"))
    ]
    most = max(value for curve in curves for _, value in curve.points)
    return line_plot(
        curves, Axis("bits per weight in blocks", bits[0], bits[-1], 2), Axis("KL, nats", 0, most, 4)
    )


def _full_label(line: Mapping[str, Any]) -> str:
    label = str(line["label"])
    return f"{line['row']} {label}" if label.startswith("+") else label


def _kept(line: Mapping[str, Any], key: str) -> float | None:
    change = (line["changes"] or {}).get(key)
    return None if change is None else 100 + float(change)


def _paper_kept(line: Mapping[str, Any], key: str) -> float | None:
    """The paper's metric of that name; its recall beside any recall of ours."""
    name = "recall" if "R@" in key else key
    change = (line.get("paper") or {}).get(f"{name}_change")
    return None if change is None else 100 + float(change)


def _high(line: Mapping[str, Any], key: str) -> float | None:
    values = (line.get("paper") or {}).get(key)
    return None if values is None else float(values[1])


def _number(value: float | None, decimals: int) -> str:
    return BLANK if value is None else f"{value:.{decimals}f}"


def _times(value: float | None) -> str:
    return BLANK if value is None else f"{value:.2f}x"


def _percent(value: float | None) -> str:
    return BLANK if value is None else f"{value:+.1f} %"


def _with_change(value: float | None, change: float | None, decimals: int) -> str:
    return _number(value, decimals) + ("" if not change else f" ({_percent(change)})")


def _range(values: Sequence[float] | None) -> str:
    if values is None:
        return BLANK
    low, high = (f"{value:.2f}" for value in values)
    return f"{low}x" if low == high else f"{low}-{high}x"
