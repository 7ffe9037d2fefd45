"""Line plots as inline SVG for a page, without a plotting library, and text for both. Knows no report."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 560, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 16, 44
# Middle tones, readable on white and on black; the dashes tell lines apart without colour.
STYLES = (("#2f7fd6", ""), ("#d9730d", "7 4"), ("#2e9e5b", "2 3"), ("#a457c9", "9 3 2 3"))
TICKS = 5


@dataclass(frozen=True)
class Curve:
    """A labelled line through (x, y) points."""

    label: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """A labelled range; `decimals` of its tick labels, `step` between ticks (None: TICKS of them)."""

    label: str
    low: float
    high: float
    decimals: int = 0
    step: float | None = None

    def share(self, value: float) -> float:
        """Place of a value from 0 to 1, clipped to the ends."""
        return min(max((value - self.low) / ((self.high - self.low) or 1.0), 0.0), 1.0)

    def ticks(self) -> list[float]:
        """Values with a label."""
        step = self.step or (self.high - self.low) / TICKS or 1.0
        return [self.low + at * step for at in range(int((self.high - self.low) / step + 1e-9) + 1)]


def shown(text: str) -> str:
    """Text for a page: escaped, with a mark for every character that would not be seen."""
    return html.escape("".join(char if char.isprintable() else "\ufffd" for char in text))


def line_plot(curves: Sequence[Curve], x: Axis, y: Axis) -> str:
    """SVG text: at most as many curves as STYLES, a legend below them, the colour of text for the axes."""
    legend_height = 20 * len(curves)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + legend_height}" role="img" '
        f'aria-label="{shown(y.label)} by {shown(x.label)}">'
    ]
    parts += [_tick(at, x.share(at), f"{at:.{x.decimals}f}", vertical=False) for at in x.ticks()]
    parts += [_tick(at, y.share(at), f"{at:.{y.decimals}f}", vertical=True) for at in y.ticks()]
    parts.append(_text(LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 6, x.label, "middle"))
    parts.append(
        f'<text transform="translate(14 {HEIGHT / 2:.0f}) rotate(-90)" {_MIDDLE}>{shown(y.label)}</text>'
    )
    for number, (curve, (colour, dashes)) in enumerate(zip(curves, STYLES, strict=False)):
        places = " ".join(f"{_right(x.share(a)):.1f},{_down(y.share(b)):.1f}" for a, b in curve.points)
        stroke = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"'
        parts.append(f'<polyline points="{places}" {stroke}/>')
        row = HEIGHT + 20 * number + 12
        parts.append(f'<polyline points="{LEFT},{row - 4} {LEFT + 36},{row - 4}" {stroke}/>')
        parts.append(_text(LEFT + 44, row, curve.label, "start"))
    return "\n".join([*parts, "</svg>"])


@dataclass(frozen=True)
class Bars:
    """A labelled share, from 0 to 1, of each bar."""

    label: str
    shares: Sequence[float]


def stacked_bars(parts: Sequence[Bars], x: str, y: str) -> str:
    """SVG text: one bar per place, numbered from 0, its shares stacked; a legend below."""
    count = max(len(part.shares) for part in parts)
    axis, step = Axis(y, 0.0, 1.0, 1, 0.2), max(1, count // 10)
    width = (WIDTH - LEFT - RIGHT) / count
    drawn = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 20 * len(parts)}" role="img" '
        f'aria-label="{shown(y)} by {shown(x)}">'
    ]
    drawn += [_tick(at, axis.share(at), f"{at:.1f}", vertical=True) for at in axis.ticks()]
    for place in range(0, count, step):
        drawn.append(_text(LEFT + width * (place + 0.5), HEIGHT - BOTTOM + 18, str(place), "middle"))
    drawn.append(_text(LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 6, x, "middle"))
    drawn.append(f'<text transform="translate(14 {HEIGHT / 2:.0f}) rotate(-90)" {_MIDDLE}>{shown(y)}</text>')
    below = [0.0] * count
    for number, (part, (colour, _)) in enumerate(zip(parts, STYLES, strict=False)):
        # Fainter and fainter, so that parts differ without colour too.
        fill = f'fill="{colour}" fill-opacity="{1 - 0.25 * number:.2f}"'
        for place, share in enumerate(part.shares):
            top, bottom = _down(below[place] + share), _down(below[place])
            below[place] += share
            drawn.append(
                f'<rect x="{LEFT + width * place + 1:.1f}" y="{top:.1f}" width="{max(width - 2, 1):.1f}" '
                f'height="{bottom - top:.1f}" {fill}/>'
            )
        row = HEIGHT + 20 * number + 12
        drawn.append(f'<rect x="{LEFT}" y="{row - 10}" width="36" height="10" {fill}/>')
        drawn.append(_text(LEFT + 44, row, part.label, "start"))
    return "\n".join([*drawn, "</svg>"])


_MIDDLE = 'text-anchor="middle"'


def _right(share: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * share


def _down(share: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share


def _tick(value: float, share: float, label: str, vertical: bool) -> str:
    """A faint line across the plot and its label."""
    if vertical:
        line = f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_down(share):.1f}" y2="{_down(share):.1f}"'
        text = _text(LEFT - 8, _down(share) + 4, label, "end")
    else:
        line = f'x1="{_right(share):.1f}" x2="{_right(share):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"'
        text = _text(_right(share), HEIGHT - BOTTOM + 18, label, "middle")
    return f'<line {line} stroke="currentColor" stroke-opacity="0.15"/>{text}'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{shown(text)}</text>'
