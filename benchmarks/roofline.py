"""Operations a second against operations per byte: one page that loads nothing. Knows only the JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, NamedTuple

from benchmarks.speed_summary import SHAPE_PARTS, sound

WIDTH, HEIGHT, MARGIN = 620, 420, 56
COLOURS = ("#0b6", "#064", "#06c", "#9bd", "#e80", "#c33", "#93c", "#777", "#b85", "#222")
ROWS = {"decode": 1, "prefill_32": 32, "prefill_128": 128, "prefill_512": 512}


class Point(NamedTuple):
    """An engine at a measure: operations per byte of weights, and 10^9 operations a second."""

    label: str
    measure: str
    intensity: float
    gop_s: float


def points(part: Mapping[str, Any]) -> Iterator[Point]:
    """All engines and measures of a shape. A forward of many rows reads the weights once."""
    for engine in sound(part).values():
        parameters = part["parameters"]
        # Peers do not say what they hold: bits of the weights and half a bit for their scales.
        bits = engine["bits"] + (0.5 if engine["bits"] < 16 else 0.0)
        weight_bytes = engine["settings"].get("weight_bytes") or parameters * bits / 8
        for measure, rate in engine["tokens_s"].items():
            operations = 2.0 * parameters
            yield Point(
                engine["label"],
                measure,
                operations * ROWS[measure] / weight_bytes,
                operations * rate["median"] / 1e9,
            )


def page(result: Mapping[str, Any]) -> str:
    """HTML with a plot for each measured shape."""
    parts = [result["parts"][name] for name in SHAPE_PARTS if "engines" in result["parts"].get(name, {})]
    plots = "".join(f"<h2>{escape(part['label'])}</h2>{plot(part)}" for part in parts)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Roofline</title>'
        "<style>body{font:14px sans-serif;margin:2em;max-width:60em}text{font:11px sans-serif}</style>"
        "<h1>Roofline</h1><p>One point for each engine and measure: decode at the left, then prefill of 32, "
        "128 and 512 tokens. The roof is the read bandwidth and the INT8 peak of the same run; engines that "
        f"compute in bf16 or float32 have a lower one.</p>{plots or '<p>Nothing was measured.</p>'}</html>\n"
    )


def plot(part: Mapping[str, Any]) -> str:
    """SVG of one shape, logarithmic on both axes."""
    found = list(points(part))
    bandwidth, peak = float(part["read_gb_s"]), part.get("int8_peak_gop_s")
    top = max([*(point.gop_s for point in found), peak or 0.0, 1.0])
    x_range = _decades([1.0, *(point.intensity for point in found)])
    y_range = _decades([*(point.gop_s for point in found), top])
    body = [*_grid(x_range, y_range), _roof(bandwidth, peak or top * 2, x_range, y_range)]
    labels = list(dict.fromkeys(point.label for point in found))
    for point in found:
        x, y = _place(point.intensity, x_range, 0), _place(point.gop_s, y_range, 1)
        colour = COLOURS[labels.index(point.label) % len(COLOURS)]
        title = f"{point.label}, {point.measure}: {point.gop_s:.0f} GOP/s at {point.intensity:.1f} per byte"
        body.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{escape(title)}</title></circle>'
        )
    for row, label in enumerate(labels):
        at = MARGIN + 14 * row
        colour = COLOURS[row % len(COLOURS)]
        body.append(f'<circle cx="{WIDTH + 8}" cy="{at - 4}" r="4" fill="{colour}"/>')
        body.append(f'<text x="{WIDTH + 16}" y="{at}">{escape(label)}</text>')
    return (
        f'<svg viewBox="0 0 {WIDTH + 200} {HEIGHT}" width="{WIDTH + 200}" role="img" '
        f'aria-label="Roofline of {escape(part["label"])}">{"".join(body)}</svg>'
    )


def _decades(values: list[float]) -> tuple[int, int]:
    positive = [value for value in values if value > 0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    return low, max(high, low + 1)


def _place(value: float, span: tuple[int, int], axis: int) -> float:
    share = (math.log10(max(value, 1e-9)) - span[0]) / (span[1] - span[0])
    if axis == 0:
        return MARGIN + share * (WIDTH - 2 * MARGIN)
    return HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)


def _grid(x_range: tuple[int, int], y_range: tuple[int, int]) -> Iterator[str]:
    left, right, low, high = MARGIN, WIDTH - MARGIN, HEIGHT - MARGIN, MARGIN
    for decade in range(x_range[0], x_range[1] + 1):
        x = _place(10.0**decade, x_range, 0)
        yield f'<path d="M{x:.1f} {low}V{high}" stroke="#ddd"/>'
        yield f'<text x="{x:.1f}" y="{low + 16}" text-anchor="middle">{10.0**decade:g}</text>'
    for decade in range(y_range[0], y_range[1] + 1):
        y = _place(10.0**decade, y_range, 1)
        yield f'<path d="M{left} {y:.1f}H{right}" stroke="#ddd"/>'
        yield f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**decade:g}</text>'
    yield f'<text x="{(left + right) / 2}" y="{low + 36}" text-anchor="middle">operations per byte</text>'
    yield f'<text x="{left}" y="{high - 12}">10^9 operations a second</text>'


def _roof(bandwidth: float, peak: float, x_range: tuple[int, int], y_range: tuple[int, int]) -> str:
    steps = [x_range[0] + (x_range[1] - x_range[0]) * step / 120 for step in range(121)]
    heights = [(10.0**step, min(bandwidth * 10.0**step, peak)) for step in steps]
    path = "L".join(
        f"{_place(x, x_range, 0):.1f} {_place(y, y_range, 1):.1f}"
        for x, y in heights
        if y >= 10.0 ** y_range[0]
    )
    return f'<path d="M{path}" fill="none" stroke="#000"/>' if path else ""
