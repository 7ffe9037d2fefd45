"""Writes src/adtrie/data/pricerunner from the PriceRunner files in ../shared/data, with a split per row.

Run once, `python benchmarks/make_splits.py`; the result is committed. The rule depends on the text of
the rows only: no seed, no order. Knows no model.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT.parent / "shared" / "data" / "pricerunner"
TARGET = ROOT / "src" / "adtrie" / "data" / "pricerunner"
KEYWORDS_FILE = "all_labels_trie_vocab.txt.gz"
ROWS_FILE = "pricerunner_dev.csv.gz"
# Shares in 1/1000: of labels for the cold splits, of the remaining non-first rows for dev and test.
COLD_DEV, COLD_TEST = 50, 50
DEV, TEST = 80, 120


def hash_of(*parts: str) -> int:
    """A 64-bit number that depends on the UTF-8 text of `parts` only."""
    digest = hashlib.sha256("\x1f".join(parts).encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big")


def cold_split(label: str) -> str | None:
    """cold_dev or cold_test for the labels that are kept out of train, None for the others."""
    bucket = hash_of("label", label) % 1000
    if bucket < COLD_DEV:
        return "cold_dev"
    return "cold_test" if bucket < COLD_DEV + COLD_TEST else None


def split_rows(pairs: list[tuple[str, str]]) -> list[str]:
    """The split of each (title, label).

    All rows of a cold label are cold. Of every other label the row with the smallest hash is train, so that
    each label of dev and test occurs in train; its other rows go to dev, test or train by their hash.
    """
    first: dict[str, tuple[int, str]] = {}
    for title, label in pairs:
        key = (hash_of("row", title, label), title)
        first[label] = min(first.get(label, key), key)
    splits = []
    for title, label in pairs:
        bucket = hash_of("split", title, label) % 1000
        cold = cold_split(label)
        if cold is not None:
            splits.append(cold)
        elif first[label][1] == title or bucket >= DEV + TEST:
            splits.append("train")
        else:
            splits.append("dev" if bucket < DEV else "test")
    return splits


def write_gzip(path: Path, text: str) -> None:
    """Writes `text` compressed, without a time stamp or a name in the header: same text, same bytes."""
    path.write_bytes(gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0))


def main() -> int:
    missing = [str(SOURCE / name) for name in (KEYWORDS_FILE, ROWS_FILE) if not (SOURCE / name).is_file()]
    if missing:
        print(f"missing: {', '.join(missing)}; the committed result is in {TARGET}", file=sys.stderr)
        return 1
    with gzip.open(SOURCE / KEYWORDS_FILE, "rt", encoding="utf-8") as file:
        keywords = file.read().splitlines()
    with gzip.open(SOURCE / ROWS_FILE, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    unknown = {row["label"] for row in rows} - set(keywords)
    if unknown:
        print(f"{len(unknown)} labels are not keywords, e.g. {sorted(unknown)[0]!r}", file=sys.stderr)
        return 1
    splits = split_rows([(row["title"], row["label"]) for row in rows])
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["query", "label", "category", "split"])
    for row, split in zip(rows, splits, strict=True):
        writer.writerow([row["title"], row["label"], row["category"], split])
    TARGET.mkdir(parents=True, exist_ok=True)
    write_gzip(TARGET / "keywords.txt.gz", "\n".join(keywords) + "\n")
    write_gzip(TARGET / "rows.csv.gz", buffer.getvalue())
    for split, count in sorted(Counter(splits).items()):
        print(f"{split:10s} {count:6d} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
