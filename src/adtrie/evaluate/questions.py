"""What a targeting evaluation asks: queries and the entries that are right, by warm and cold.

Knows catalogues, tasks and pairs; no model, no floor. Whatever is left out is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from adtrie.catalogue import Catalogue
from adtrie.catalogue.normalise import normalise
from adtrie.errors import AdtrieError, CatalogueError, InputError
from adtrie.evaluate.pair_files import query_key
from adtrie.evaluate.tasks import Pair, Task, sample_order
from adtrie.prompt import normalise_query

MAX_NOTES = 5
Rows = Sequence[tuple[int, Pair]]  # with their line


@dataclass(frozen=True)
class Question:
    """A query, its label as written, and the texts of the entries that are right (none: an unknown label)."""

    query: str
    label: str
    right: frozenset[str]


@dataclass(frozen=True)
class Counts:
    """Rows asked, and what became of the others. `notes` names the first few of each kind.

    `unknown_labels` of the asked rows count as misses; `unusable` rows (no query or label) are left out;
    `train_also_asked` train rows have the query of a held-out row and are taken from the floors.
    """

    asked: int
    train: int
    unknown_labels: int
    unusable: int
    train_also_asked: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Questions:
    """Groups of questions by name; train rows (query, entry text) for the floors; readable text by entry."""

    groups: dict[str, tuple[Question, ...]]
    train: tuple[tuple[str, str], ...]
    titles: dict[str, str]
    counts: Counts


class Labels:
    """The entries of a catalogue by text and by id."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.texts = [catalogue.text(entry) for entry in range(catalogue.num_entries)]
        self._known = frozenset(self.texts)
        self._by_id: dict[str, list[str]] = {}
        for entry, text in enumerate(self.texts):
            for name in catalogue.ids(entry):
                self._by_id.setdefault(name, []).append(text)

    def __contains__(self, text: str) -> bool:
        return text in self._known

    def texts_of(self, label: str) -> list[str]:
        """The entry with this text; else all entries with this id; else none."""
        try:
            text = normalise(label)
        except CatalogueError:
            return []
        return [text] if text in self._known else self._by_id.get(label, self._by_id.get(text, []))


def task_questions(task: Task, labels: Labels, split: str, num_rows: int | None = None) -> Questions:
    """`split` (dev or test) of a task as warm, its cold twin as cold; `num_rows` of each (None: all)."""
    notes = _Notes()
    held_out = {query_key(row.query) for row in task.rows if row.split != "train"}
    train = _train(_numbered(task.rows_of("train")), held_out, labels, notes)
    parts = {"warm": task.rows_of(split), "cold": task.rows_of(f"cold_{split}")}
    groups = {name: _sampled(_numbered(rows), num_rows) for name, rows in parts.items()}
    titles = {normalise(keyword): title for keyword, title in zip(task.keywords, task.titles, strict=True)}
    known = {text: title for text, title in titles.items() if text in labels}
    return _questions(groups, train, known, labels, notes)


def file_questions(rows: Rows, labels: Labels, split: str, num_rows: int | None = None) -> Questions:
    """Rows of a file: warm if their label has a train row, else cold; all in one group without train rows.

    `rows` come with their line. Raises InputError if no row of `split` is there, or not one of their labels
    is in the catalogue.
    """
    notes = _Notes()
    held_out = {query_key(row.query) for _, row in rows if row.split != "train"}
    train = _train([pair for pair in rows if pair[1].split == "train"], held_out, labels, notes)
    asked = _sampled([pair for pair in rows if pair[1].split == split], num_rows)
    if not asked:
        raise InputError(f"--pairs: no row of split {split!r}; give such rows, or leave the column split out")
    groups: dict[str, list[tuple[int, Pair]]] = {"warm": [], "cold": []} if train else {"all": []}
    trained = {text for _, text in train}
    for line, row in asked:
        warm = "warm" if _entry(row.label, labels) in trained else "cold"
        groups[warm if train else "all"].append((line, row))
    made = _questions(groups, train, {text: text for text in labels.texts}, labels, notes)
    if made.counts.unknown_labels == made.counts.asked:
        raise InputError(
            f"--pairs: none of the {len(asked):,} rows of split {split!r} can be answered; expected labels "
            f"that are texts or ids of entries: {'; '.join(made.counts.notes)}"
        )
    return made


def _questions(
    groups: dict[str, list[tuple[int, Pair]]],
    train: list[tuple[str, str]],
    titles: dict[str, str],
    labels: Labels,
    notes: _Notes,
) -> Questions:
    made = {name: tuple(_asked(rows, labels, notes)) for name, rows in groups.items()}
    counts = Counts(
        asked=sum(map(len, made.values())),
        train=len(train),
        unknown_labels=notes.counted["unknown"],
        unusable=notes.counted["unusable"],
        train_also_asked=notes.counted["held out"],
        notes=tuple(notes.lines),
    )
    return Questions({name: rows for name, rows in made.items() if rows}, tuple(train), titles, counts)


def _train(rows: Rows, held_out: set[str], labels: Labels, notes: _Notes) -> list[tuple[str, str]]:
    """(query, entry text) of the train rows whose query is asked nowhere."""
    kept = []
    for line, row in rows:
        if query_key(row.query) in held_out:
            notes.add("held out", f"line {line}: the query of this train row is held out: {row.query!r:.60}")
        elif row.query.strip():
            kept.append((row.query, _entry(row.label, labels)))
    return kept


def _asked(rows: Rows, labels: Labels, notes: _Notes) -> Iterator[Question]:
    for line, row in rows:
        try:
            normalise_query(row.query)
            normalise(row.label)
        except AdtrieError as error:
            notes.add("unusable", f"line {line}: {error}")
            continue
        right = frozenset(labels.texts_of(row.label))
        if not right:
            notes.add("unknown", f"line {line}: label {row.label!r:.60} is no text or id of an entry")
        yield Question(row.query, row.label, right)


def _entry(label: str, labels: Labels) -> str:
    """One text for all labels that name the same entries."""
    return next(iter(labels.texts_of(label)), label)


def _numbered(rows: Sequence[Pair]) -> list[tuple[int, Pair]]:
    return list(enumerate(rows, start=1))


def _sampled(rows: list[tuple[int, Pair]], num_rows: int | None) -> list[tuple[int, Pair]]:
    return sorted(rows, key=lambda pair: sample_order(pair[1]))[:num_rows]


class _Notes:
    """Lines of what is wrong: all counted, the first few of each kind kept."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self.lines: list[str] = []

    def add(self, kind: str, line: str) -> None:
        self.counted[kind] += 1
        if self.counted[kind] <= MAX_NOTES:
            self.lines.append(line)
