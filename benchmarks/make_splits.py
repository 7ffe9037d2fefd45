"""Writes src/adtrie/data/TASK from the files in ../shared/data, with a split per row.

`python benchmarks/make_splits.py [pricerunner] [unspsc] [naics]`, all by default; the result is committed.
The rule depends on the text of the rows only: no seed, no order. Knows no model.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
DATA = ROOT / "src" / "adtrie" / "data"
ROW_COLUMNS = ("query", "label", "category", "split")
ENTRY_COLUMNS = ("code", "title", "path")  # path: the titles above it, from the top


@dataclass(frozen=True)
class Shares:
    """In 1/1000: of labels for the cold splits, of the remaining non-first rows for dev and test."""

    cold_dev: int = 50
    cold_test: int = 50
    dev: int = 80
    test: int = 120


CODED = Shares(dev=60, test=160)


@dataclass(frozen=True)
class Source:
    """A task before its split: entries (text or code, title, path) and rows (query, label, category)."""

    entries: list[tuple[str, str, str]]
    rows: list[tuple[str, str, str]]


def hash_of(*parts: str) -> int:
    """A 64-bit number that depends on the UTF-8 text of `parts` only."""
    digest = hashlib.sha256("\x1f".join(parts).encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big")


def cold_split(label: str, shares: Shares) -> str | None:
    """cold_dev or cold_test for the labels that are kept out of train, None for the others."""
    bucket = hash_of("label", label) % 1000
    if bucket < shares.cold_dev:
        return "cold_dev"
    return "cold_test" if bucket < shares.cold_dev + shares.cold_test else None


def split_rows(pairs: list[tuple[str, str]], shares: Shares) -> list[str]:
    """The split of each (query, label).

    All rows of a cold label are cold. Of every other label the row with the smallest hash is train, so that
    each label of dev and test occurs in train; its other rows go to dev, test or train by their hash.
    """
    first: dict[str, tuple[int, str]] = {}
    for query, label in pairs:
        key = (hash_of("row", query, label), query)
        first[label] = min(first.get(label, key), key)
    splits = []
    for query, label in pairs:
        bucket = hash_of("split", query, label) % 1000
        cold = cold_split(label, shares)
        if cold is not None:
            splits.append(cold)
        elif first[label][1] == query or bucket >= shares.dev + shares.test:
            splits.append("train")
        else:
            splits.append("dev" if bucket < shares.dev else "test")
    return splits


def single(rows: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Each query once, by label; queries with several labels are dropped. Letter case makes no difference."""
    labels: dict[str, set[str]] = {}
    kept: dict[str, tuple[str, str, str]] = {}
    for query, label, category in rows:
        query = " ".join(query.split())
        labels.setdefault(query.lower(), set()).add(label)
        row = (query, label, category)
        kept[query.lower()] = min(kept.get(query.lower(), row), row)
    several = {query for query, found in labels.items() if len(found) > 1}
    print(f"{len(labels):,} distinct queries, {len(several):,} dropped for several labels")
    return sorted((row for key, row in kept.items() if key not in several), key=lambda row: (row[1], row[0]))


def pricerunner() -> Source:
    """Offer titles and products; rows are distinct already."""
    keywords = read_gzip(SHARED / "pricerunner" / "all_labels_trie_vocab.txt.gz").splitlines()
    rows = table(SHARED / "pricerunner" / "pricerunner_dev.csv.gz")
    return Source(
        [(keyword, keyword, "") for keyword in keywords],
        [(row["title"], row["label"], row["category"]) for row in rows],
    )


def unspsc() -> Source:
    """Phrases for tools of occupations and the code of their commodity."""
    entries, segments = [], {}
    for row in table(SHARED / "onet27" / "unspsc_reference.csv.gz"):
        code, levels = row["Commodity Code"], ("Segment Title", "Family Title", "Class Title")
        entries.append((code, row["Commodity Title"], " > ".join(row[level] for level in levels)))
        segments[code] = row["Segment Title"]
    rows = table(SHARED / "onet27" / "tools_used.csv.gz")
    return Source(
        sorted(entries),
        single((row["Example"], row["Commodity Code"], segments[row["Commodity Code"]]) for row in rows),
    )


def naics() -> Source:
    """Business activities of the index and the code of their industry."""
    rows = table(SHARED / "naics_index" / "naics2022_index.csv.gz")
    paths = {row["naics2022"]: f"{row['sector']} > {row['subsector']}" for row in rows}
    titles = {row["naics2022"]: row["title"] for row in rows}
    return Source(
        [(code, titles[code], paths[code]) for code in sorted(titles)],
        single((row["index_item"], row["naics2022"], row["sector"]) for row in rows),
    )


TASKS: dict[str, tuple[Callable[[], Source], Shares]] = {
    "pricerunner": (pricerunner, Shares()),
    "unspsc": (unspsc, CODED),
    "naics": (naics, CODED),
}


def read_gzip(path: Path) -> str:
    """Text of a gzipped UTF-8 file, line ends as they are."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return file.read()


def table(path: Path) -> list[dict[str, str]]:
    """Rows of a gzipped CSV file by the names of its columns."""
    return list(csv.DictReader(io.StringIO(read_gzip(path), newline=""), strict=True))


def csv_text(columns: tuple[str, ...], rows: Iterable[Iterable[str]]) -> str:
    """`rows` as CSV with a first line of names."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return buffer.getvalue()


def write_gzip(path: Path, text: str) -> None:
    """Writes `text` compressed, without a time stamp or a name in the header: same text, same bytes."""
    path.write_bytes(gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0))


def write(name: str) -> None:
    """The files of one task. Raises ValueError for a label that is no entry."""
    read, shares = TASKS[name]
    source = read()
    unknown = {label for _, label, _ in source.rows} - {text for text, _, _ in source.entries}
    if unknown:
        raise ValueError(f"{name}: {len(unknown)} labels are no entries, e.g. {min(unknown)!r}")
    splits = split_rows([(query, label) for query, label, _ in source.rows], shares)
    target = DATA / name
    target.mkdir(parents=True, exist_ok=True)
    if name == "pricerunner":
        write_gzip(target / "keywords.txt.gz", "\n".join(text for text, _, _ in source.entries) + "\n")
    else:
        write_gzip(target / "entries.csv.gz", csv_text(ENTRY_COLUMNS, source.entries))
    rows = [(*row, split) for row, split in zip(source.rows, splits, strict=True)]
    write_gzip(target / "rows.csv.gz", csv_text(ROW_COLUMNS, rows))
    print(f"{name}: {len(source.entries):,} entries, rows: {dict(sorted(Counter(splits).items()))}")


def main() -> int:
    names = sys.argv[1:] or list(TASKS)
    for name in names:
        if name not in TASKS:
            print(f"task {name!r} is unknown; use {', '.join(TASKS)}", file=sys.stderr)
            return 1
        try:
            write(name)
        except (OSError, ValueError) as error:
            print(f"{error}; the committed result is in {DATA / name}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
