"""Writes src/adtrie/data/e2e from the E2E NLG files in ../shared/data, with a split per row.

Run once, `python benchmarks/make_e2e.py`; the result is committed. The rule depends on the meaning
representation only, so all references of one are in one split. Knows no model.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT.parent / "shared" / "data" / "e2e_nlg"
TARGET = ROOT / "src" / "adtrie" / "data" / "e2e"
DEV = 100  # of 1000 meaning representations of the source's dev set


def split_of(meaning: str) -> str:
    """train or dev, for the source's dev set."""
    digest = hashlib.sha256(f"e2e\x1f{meaning}".encode()).digest()
    return "dev" if int.from_bytes(digest[:8], "big") % 1000 < DEV else "train"


def read(name: str) -> list[tuple[str, str]]:
    """(meaning representation, reference) of each row; white space collapsed."""
    with gzip.open(SOURCE / name, "rt", encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        return [(" ".join(row["mr"].split()), " ".join(row["ref"].split())) for row in rows]


def main() -> None:
    """Writes rows.csv.gz: meaning, reference, split; exact duplicates once."""
    rows = [(mr, ref, split_of(mr)) for mr, ref in read("devset.csv.gz")]
    rows += [(mr, ref, "test") for mr, ref in read("testset_w_refs.csv.gz")]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("meaning", "reference", "split"))
    writer.writerows(dict.fromkeys(rows))
    TARGET.mkdir(parents=True, exist_ok=True)
    data = gzip.compress(text.getvalue().encode("utf-8"), 9, mtime=0)
    (TARGET / "rows.csv.gz").write_bytes(data)


if __name__ == "__main__":
    main()
