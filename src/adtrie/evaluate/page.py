"""A report as one HTML page: tables, plots, examples. No script, nothing loaded from anywhere.

All text of a report is foreign to the page and escaped here.
"""

from __future__ import annotations

from collections.abc import Sequence

from adtrie.evaluate.creating import CreativeReport, TextExample
from adtrie.evaluate.plots import Axis, Curve, line_plot, shown
from adtrie.evaluate.tables import Report, Table, setting_lines, tables_and_notes
from adtrie.evaluate.targeting import Example, Score, TargetingReport

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: CanvasText; background: Canvas; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: .25rem .8rem .25rem 0; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
.plots { display: flex; flex-wrap: wrap; gap: 2rem; }
figure { margin: 0; flex: 1 1 24rem; max-width: 36rem; }
figcaption { font-weight: 600; }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; fill: CanvasText; }
.example { border-left: 4px solid #d9730d; padding: .1rem .8rem; margin: .8rem 0; overflow-wrap: anywhere; }
.right { border-color: #2e9e5b; }
.example p { margin: .2rem 0; } .note { opacity: .8; }
"""
# A browser that reads this loads nothing, even if an escape were missing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_SHARE = Axis("share of rows", 0.0, 1.0, 1, 0.2)


def page(report: Report) -> str:
    """The whole page, UTF-8 text with line ends."""
    plots, examples = _of_targeting(report) if isinstance(report, TargetingReport) else _of_creative(report)
    tables, notes = tables_and_notes(report)
    return document(
        f"adtrie evaluate: {report.task}", setting_lines(report.setting), tables, notes, plots, examples
    )


def document(
    name: str,
    lines: Sequence[str],
    tables: Sequence[Table],
    notes: Sequence[str],
    plots: Sequence[tuple[str, str]],
    after: str = "",
) -> str:
    """A page of lines, tables, notes and plots (title, SVG); `after` is HTML of our own."""
    title = shown(name)
    figures = [f"<figure><figcaption>{shown(name)}</figcaption>\n{svg}\n</figure>" for name, svg in plots]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>",
            f'<p class="note">{"<br>".join(map(shown, lines))}</p>',
            *map(_table, tables),
            *(f'<p class="note">{shown(line)}</p>' for line in notes),
            f'<h2>Plots</h2>\n<div class="plots">\n{"".join(figures)}\n</div>',
            after,
            "</body>\n</html>\n",
        ]
    )


def _of_targeting(report: TargetingReport) -> tuple[list[tuple[str, str]], str]:
    """Plots (title, SVG) of recall by group and of latency; right and wrong examples."""
    groups = [cost.group for cost in report.costs]
    plots = [
        (f"Recall at k, {group}", _recall_plot([one for one in report.scores if one.group == group]))
        for group in groups
    ]
    latencies = [Curve(cost.group, _cumulated(cost.ms_percentiles)) for cost in report.costs]
    plots.append(("Latency of a request", _latency_plot(latencies)))
    parts = [_examples(group, [one for one in report.examples if one.group == group]) for group in groups]
    return plots, "\n".join(parts)


def _of_creative(report: CreativeReport) -> tuple[list[tuple[str, str]], str]:
    """The plot of latency; texts with all facts and texts with facts missing."""
    latencies = [Curve(cost.way, _cumulated(cost.ms_percentiles)) for cost in report.costs]
    examples = "\n".join(map(_text_example, report.examples))
    plots = [("Latency of a text", _latency_plot(latencies))]
    return plots, f"<h2>Examples</h2>\n{examples}" if examples else ""


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{shown(cell)}</th>' for cell in table.head)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{shown(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    return (
        f'<h2>{shown(table.title)}</h2>\n<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table></div>"
    )


def _recall_plot(scores: Sequence[Score]) -> str:
    curves = [Curve(one.method, list(enumerate(one.recall, start=1))) for one in scores]
    k = len(scores[0].recall)
    return line_plot(curves, Axis("k", 1, k, step=max(1, k // 10)), _SHARE)


def _cumulated(ms_percentiles: Sequence[float]) -> list[tuple[float, float]]:
    """(ms, share of requests that took at most that)."""
    return [(ms, at / 100) for at, ms in enumerate(ms_percentiles) if ms == ms]


def _latency_plot(curves: Sequence[Curve]) -> str:
    slowest = max((curve.points[-1][0] for curve in curves if curve.points), default=1.0)
    return line_plot(curves, Axis("ms at most", 0.0, slowest or 1.0, decimals=int(slowest < 20)), _SHARE)


def _examples(group: str, examples: Sequence[Example]) -> str:
    return f"<h2>Examples, {shown(group)}</h2>\n" + "\n".join(map(_example, examples))


def _example(example: Example) -> str:
    answers = "<br>".join(
        f"{'*' if at == example.rank else '&nbsp;'} {score:.3f} {shown(text)}"
        for at, (text, score) in enumerate(example.top, start=1)
    )
    place = f"place {example.rank}" if example.rank else "not found"
    return (
        f'<div class="example{" right" if example.rank == 1 else ""}"><p><strong>{shown(example.query)}'
        f"</strong></p>\n<p>label: {shown(example.label)} ({place})</p>\n<p>{answers}</p></div>"
    )


def _text_example(example: TextExample) -> str:
    missing = f"missing: {', '.join(example.missing)}" if example.missing else "all facts stated"
    kind = "example" if example.missing else "example right"
    return (
        f'<div class="{kind}"><p class="note">{shown(example.facts)}</p>'
        f"\n<p><strong>{shown(example.text)}</strong></p>\n<p>a human text: {shown(example.reference)}</p>"
        f"\n<p>{shown(missing)}</p></div>"
    )
