"""The loss curve of a run as one SVG, without a plotting library. Knows only numbers."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH, HEIGHT, MARGIN = 640, 360, 48
Points = Sequence[tuple[float, float]]


def curve_svg(train: Points, dev: Points, title: str) -> str:
    """SVG text of (step, loss) points: a line for training, a line with dots for dev, axes with numbers."""
    points = [*train, *dev]
    last = max((x for x, _ in points), default=1.0) or 1.0
    top = max((y for _, y in points), default=1.0) * 1.05 or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        right = MARGIN + (WIDTH - 2 * MARGIN) * x / last
        return right, HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * y / top

    def line(values: Points, colour: str) -> str:
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in (place(x, y) for x, y in values))
        return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(MARGIN, 24, _escaped(title)),
        line([(0, 0), (last, 0)], "#444"),
        line([(0, 0), (0, top)], "#444"),
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = place(last * share, top * share)
        parts.append(_text(x - 10, HEIGHT - MARGIN + 18, f"{last * share:.0f}"))
        parts.append(_text(8, y + 4, f"{top * share:.2f}"))
    parts += [line(train, "#7aa6d8"), line(dev, "#c0392b")]
    parts += [
        f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="#c0392b"/>' for a, b in (place(x, y) for x, y in dev)
    ]
    parts.append(_text(WIDTH - 240, 24, "blue: training loss, red: dev loss, by step"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="#222">{text}</text>'


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
