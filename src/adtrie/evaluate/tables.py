"""Reports as tables of text cells, for the terminal and for a page alike. Knows reports; draws nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adtrie.evaluate.creating import CreativeReport, DraftCheck
from adtrie.evaluate.metrics import Interval
from adtrie.evaluate.targeting import Score, TargetingReport

_METRICS = {
    "bleu": "BLEU",
    "meteor": "METEOR",
    "rouge_l": "ROUGE-L",
    "coverage": "facts stated",
    "complete": "texts with all facts",
}
INTERVALS = "In brackets: 95 % intervals by resampling the rows (bootstrap, fixed seed)."
METEOR_STAGES = (
    "METEOR 1.5 with the stages exact and Porter stem, without synonyms and paraphrases; BLEU-4 of "
    "sacrebleu, case ignored; distinct: share of different word n-grams; length in words."
)


Report = TargetingReport | CreativeReport


@dataclass(frozen=True)
class Table:
    """Rows of cells below a head, all of one length; the first column is text, the others numbers."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def lines(self) -> list[str]:
        """The table in plain text."""
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        return [self.title] + ["  " + _aligned(row, widths) for row in (self.head, *self.rows)]


def setting_lines(setting: Mapping[str, object]) -> list[str]:
    """What was measured, a line each; what does not apply is left out."""
    return [f"{name.replace('_', ' ')}: {value}" for name, value in setting.items() if value is not None]


def tables_and_notes(report: Report) -> tuple[list[Table], list[str]]:
    """Tables of a report, and what the reader must know beside them."""
    if isinstance(report, TargetingReport):
        return _targeting_tables(report), _targeting_notes(report)
    return _creative_tables(report), _creative_notes(report)


def _targeting_tables(report: TargetingReport) -> list[Table]:
    """Quality by group and method, ours minus each floor, and the cost of a request."""
    k = len(report.scores[0].recall)
    tables = []
    for group in dict.fromkeys(one.group for one in report.scores):
        scores = [one for one in report.scores if one.group == group]
        title = f"{_GROUPS[group]}, {scores[0].num_rows:,} rows"
        head = ("", "R@1", f"R@{k}", "MRR", "valid")
        tables.append(Table(title, head, tuple(map(_quality, scores))))
        ahead = tuple(
            (f"than: {one.method}", _ahead(one.ahead_at_1), _ahead(one.ahead_at_k))
            for one in scores
            if one.ahead_at_1 and one.ahead_at_k
        )
        tables += [Table(f"Ours is better by, {group}", head[:3], ahead)] if ahead else []
    cost_head = ("", "p50 ms", "p99 ms", "forwards", "rows", "proven", "refused")
    costs = tuple(
        (
            cost.group,
            f"{cost.p50_ms:.1f}",
            f"{cost.p99_ms:.1f}",
            f"{cost.forwards:.0f}",
            f"{cost.rows:.0f}",
            f"{cost.num_proven}/{cost.num_requests}",
            str(cost.num_refused),
        )
        for cost in report.costs
    )
    return [*tables, Table("One request (medians of forwards and rows)", cost_head, costs)]


def _targeting_notes(report: TargetingReport) -> list[str]:
    counts = report.counts
    lines = [
        f"{INTERVALS} MRR counts the first {len(report.scores[0].recall)} places. valid: share of returned "
        "texts that are entries."
    ]
    if counts.train:
        lines.append(
            f"Floors know {counts.train:,} train rows; {counts.train_also_asked:,} train rows have the query "
            "of a held-out row and were taken out."
        )
    if counts.unknown_labels:
        lines.append(f"{counts.unknown_labels:,} rows ask for a label that is no entry: misses for all.")
    if counts.unusable:
        lines.append(f"{counts.unusable:,} rows without a usable query or label were left out.")
    return lines + list(counts.notes)


def _creative_tables(report: CreativeReport) -> list[Table]:
    """Quality by method, ours minus each floor, and the cost of a text."""
    names = list(report.scores[0].metrics)
    head = ("", *(_METRICS[name] for name in names))
    quality = tuple(
        (one.method, *(_with_interval(one.metrics[name]) for name in names)) for one in report.scores
    )
    ahead = tuple(
        (f"than: {one.method}", *(_ahead(one.ahead[name]) for name in names))
        for one in report.scores
        if one.ahead
    )
    variety = tuple(
        (one.method, f"{one.distinct_1:.3f}", f"{one.distinct_2:.3f}", f"{one.mean_length:.1f}")
        for one in report.scores
    )
    costs = tuple(
        (
            cost.way,
            f"{cost.p50_ms:.1f}",
            f"{cost.p99_ms:.1f}",
            f"{cost.tokens_per_forward:.2f}",
            f"{cost.tokens:,}",
            ", ".join(f"{number} {reason}" for reason, number in cost.finish_reasons.items()),
            str(cost.num_refused),
        )
        for cost in report.costs
    )
    cost_head = ("", "p50 ms", "p99 ms", "tokens per forward", "tokens", "ended by", "refused")
    tables = [Table(f"{report.num_briefs:,} texts", head, quality)]
    tables += [Table("Ours is better by", head, ahead)] if ahead else []
    tables.append(Table("Variety", ("", "distinct-1", "distinct-2", "length"), variety))
    return [*tables, Table("One text", cost_head, costs)]


def _creative_notes(report: CreativeReport) -> list[str]:
    check = report.draft_check
    return [f"{INTERVALS} {METEOR_STAGES}"] + ([_draft_line(check)] if check else [])


def _draft_line(check: DraftCheck) -> str:
    line = f"Drafted and plain texts are identical for {check.num_identical:,} of {check.num_texts:,} facts."
    return line + (f" First difference: {check.first_difference}" if check.first_difference else "")


_GROUPS = {
    "warm": "Warm (labels with training rows)",
    "cold": "Cold (labels without a training row)",
    "all": "All (no training rows)",
    "both": "Warm and cold together",
}


def _quality(score: Score) -> tuple[str, ...]:
    return (
        score.method,
        _with_interval(score.at_1),
        _with_interval(score.at_k),
        f"{score.mrr:.3f}",
        "-" if score.validity is None else f"{100 * score.validity:.1f} %",
    )


def _with_interval(value: Interval) -> str:
    return f"{value.mean:.3f} [{value.low:.3f} {value.high:.3f}]"


def _ahead(value: Interval) -> str:
    return f"{value.mean:+.3f} [{value.low:+.3f} {value.high:+.3f}]"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip()
