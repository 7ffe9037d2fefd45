"""The report of a compression as one HTML page: bits per block, panels by pattern, curves, every linear.

Draws what `compress.report` holds; measures nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from adtrie.compress.report import CompressionReport, LinearRow, Point
from adtrie.evaluate.page import document
from adtrie.evaluate.plots import Axis, Bars, Curve, line_plot, stacked_bars
from adtrie.evaluate.tables import Table, setting_lines

ATTENTION, MLP = ("q", "k", "v", "o"), ("gate", "up", "down")


def compression_page(report: CompressionReport) -> str:
    """The whole page, UTF-8 text with line ends."""
    return document(
        "adtrie compress",
        setting_lines(report.setting),
        [_summary(report), _by_part(report), _linears(report)],
        NOTES,
        _plots(report),
    )


NOTES = (
    "Divergence: Kullback-Leibler, nats per answered token, of the compressed from the uncompressed model, "
    "both in float32, on texts that were neither calibrated on nor searched with. The predicted one is the "
    "sum of what each linear costs alone.",
)


def _summary(report: CompressionReport) -> Table:
    found = report.divergence
    rows = [
        ("size", f"{report.num_bytes / 1e6:.2f} MB"),
        ("bits per weight", f"{report.bits_per_weight:.3f}"),
        ("divergence, mean", f"{found.kl_mean:.5f}"),
        ("divergence, 99th percentile", f"{found.kl_p99:.4f}"),
        ("divergence, predicted", f"{report.predicted_kl:.5f}"),
        ("same most likely token", f"{100 * found.top1_agreement:.2f} %"),
        ("perplexity", f"{found.perplexity:.4f}"),
        ("perplexity, uncompressed", f"{found.reference_perplexity:.4f}"),
        ("held-out tokens", f"{found.num_rows:,}"),
    ]
    if report.ms:
        rows.insert(2, ("kernel time, one row", f"{report.ms:.3f} ms"))
    if report.refinement is not None:
        tried = report.refinement
        rows.append(("trials kept", f"{tried.kept} of {tried.trials}"))
        rows.append(("search texts, before and after", f"{tried.kl_before:.5f}, {tried.kl_after:.5f}"))
    rows += [(f"seconds, {phase}", f"{seconds:.0f}") for phase, seconds in report.seconds.items()]
    return Table("Result", ("", "value"), tuple(rows))


def _by_part(report: CompressionReport) -> Table:
    """Rows of one part over all blocks."""
    groups: dict[str, list[LinearRow]] = defaultdict(list)
    for row in report.linears:
        groups[row.name.rsplit(".", 1)[-1]].append(row)
    patterns = sorted(report.panels)
    head = ("part", "MB", "bits per weight", *(f"panels {name}" for name in patterns), "predicted nats")
    rows = []
    for part, members in groups.items():
        weights = sum(row.num_outputs * row.num_inputs for row in members)
        num_bytes = sum(row.num_bytes for row in members)
        counts = [str(sum(row.panels.get(name, 0) for row in members)) for name in patterns]
        bits = f"{8 * num_bytes / weights:.3f}"
        rows.append((part, f"{num_bytes / 1e6:.2f}", bits, *counts, _nats(_sum(members))))
    return Table("By part", head, tuple(rows))


def _linears(report: CompressionReport) -> Table:
    patterns = sorted(report.panels)
    head = ("linear", "shape", "grid", "bits per weight", *patterns, "predicted nats")
    rows = tuple(
        (
            row.name,
            f"{row.num_outputs} x {row.num_inputs}",
            f"int{row.bits} g{row.group}",
            f"{row.bits_per_weight:.3f}",
            *(str(row.panels.get(name, 0)) for name in patterns),
            _nats(row.predicted_kl),
        )
        for row in report.linears
    )
    return Table("Linears", head, rows)


def _plots(report: CompressionReport) -> list[tuple[str, str]]:
    """(title, SVG) of each plot."""
    blocks = sorted({row.block for row in report.linears if row.block is not None})
    plots = []
    if blocks:
        plots.append(("Bits per weight by block", _bits_plot(report.linears, blocks)))
        plots.append(("Panels by pattern and block", _panels_plot(report, blocks)))
    if len(report.curve) > 1:
        size = [(point.num_bytes / 1e6, point) for point in report.curve]
        plots.append(("Divergence by size", _curve_plot("megabytes", size, report.num_bytes / 1e6, report)))
    if len(report.curve) > 1 and report.ms > 0:
        times = [(point.ms, point) for point in report.curve]
        plots.append(("Divergence by kernel time", _curve_plot("ms of one row", times, report.ms, report)))
    return plots


def _bits_plot(rows: Sequence[LinearRow], blocks: Sequence[int]) -> str:
    curves = [
        Curve(
            label,
            [(block, _bits([r for r in rows if r.block == block and _part(r) in parts])) for block in blocks],
        )
        for label, parts in (("attention", ATTENTION), ("MLP", MLP))
    ]
    most = max(value for curve in curves for _, value in curve.points)
    last = max(1, blocks[-1])
    return line_plot(
        curves,
        Axis("block", 0, last, step=max(1, last // 10)),
        Axis("bits per weight", 0, math.ceil(most), 0, 1),
    )


def _panels_plot(report: CompressionReport, blocks: Sequence[int]) -> str:
    bars = [
        Bars(name, [_share([r for r in report.linears if r.block == block], name) for block in blocks])
        for name in sorted(report.panels, reverse=True)
    ]
    return stacked_bars(bars, "block", "share of panels")


def _curve_plot(
    label: str, points: Sequence[tuple[float, Point]], here: float, report: CompressionReport
) -> str:
    """Predicted nats by cost on a logarithmic axis, and the true divergence of this plan."""
    line = [(cost, _log(point.predicted_kl)) for cost, point in points]
    true = _log(report.divergence.kl_mean)
    low, high = points[0][0], points[-1][0]
    cross = [(here - 0.01 * (high - low), true), (here + 0.01 * (high - low), true)]
    values = [value for _, value in line] + [true]
    return line_plot(
        [Curve("predicted", line), Curve("this plan, true", cross)],
        Axis(label, low, high, decimals=1),
        Axis("divergence, log10 of nats", math.floor(min(values)), math.ceil(max(values)) or 1, 1),
    )


def _bits(rows: Sequence[LinearRow]) -> float:
    return (
        8 * sum(row.num_bytes for row in rows) / max(1, sum(row.num_outputs * row.num_inputs for row in rows))
    )


def _share(rows: Sequence[LinearRow], pattern: str) -> float:
    total = sum(sum(row.panels.values()) for row in rows)
    return sum(row.panels.get(pattern, 0) for row in rows) / max(1, total)


def _part(row: LinearRow) -> str:
    return row.name.rsplit(".", 1)[-1]


def _sum(rows: Sequence[LinearRow]) -> float | None:
    parts = [row.predicted_kl for row in rows if row.predicted_kl is not None]
    return math.fsum(parts) if len(parts) == len(rows) else None


def _nats(value: float | None) -> str:
    return "" if value is None else f"{value:.2e}"


def _log(value: float) -> float:
    return math.log10(max(value, 1e-12))
