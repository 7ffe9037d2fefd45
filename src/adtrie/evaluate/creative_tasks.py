"""Creative tasks: facts with reference texts. `e2e` ships; `slogans` and `csl` are read beside the checkout.

Knows file formats and splits; no model, no metric. Sources and licences are in data/*/NOTICE.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from adtrie.errors import FormatError, InputError

CREATIVE_TASK_NAMES = ("e2e", "slogans", "csl")
CREATIVE_SPLITS = ("train", "dev", "test")
SHARED = Path("..") / "shared" / "data"  # from the repository's root: data that may not ship
_SLOT = re.compile(r"(\w+(?: \w+)*)\[([^\[\]]*)\]")
_SPELLED = {
    "eatType": "type",
    "priceRange": "price range",
    "customer rating": "rating",
    "familyFriendly": "family friendly",
}
_PLAIN_SLOTS = ("familyFriendly", "rating", "customer rating")
Row = TypeVar("Row")


@dataclass(frozen=True)
class Brief:
    """What to write about: the prompt's facts, human texts, the split, slots (name, value) if known."""

    facts: str
    references: tuple[str, ...]
    split: str
    slots: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class CreativeTask:
    """Briefs in file order; `language` en or zh. No facts occur in two splits."""

    name: str
    briefs: tuple[Brief, ...]
    language: str = "en"

    def briefs_of(self, split: str) -> list[Brief]:
        """All briefs of `split`. Raises InputError for an unknown split."""
        if split not in CREATIVE_SPLITS:
            raise InputError(
                f"split {split!r} of task {self.name!r} is unknown; use one of {', '.join(CREATIVE_SPLITS)}"
            )
        return [brief for brief in self.briefs if brief.split == split]

    def sample(self, split: str, num_briefs: int | None) -> list[Brief]:
        """The `num_briefs` briefs of `split` (None: all) with the smallest hash of their facts: a mix."""
        return sorted(self.briefs_of(split), key=_order)[:num_briefs]


def _order(brief: Brief) -> bytes:
    return hashlib.sha256(f"sample\x1f{brief.facts}".encode()).digest()


def load_creative_task(name: str, shared: Path = SHARED) -> CreativeTask:
    """The task called `name`. `slogans` and `csl` come from the folder `shared`, with a test split only.

    Raises InputError for another name or where `shared` has no such data, FormatError for damaged data.
    """
    if name == "e2e":
        where = files("adtrie") / "data" / "e2e" / "rows.csv.gz"
        return CreativeTask(name, tuple(_e2e(_unzipped(where.read_bytes(), str(where)), str(where))))
    if name == "slogans":
        path = shared / "slogans" / "valid.csv.gz"
        why = "its text is under GPL-3.0 and does not ship"
        return CreativeTask(name, tuple(_slogans(_unzipped(_read(path, name, why), str(path)), str(path))))
    if name == "csl":
        path = shared / "csl" / "ts_dev.tsv"
        why = "it is read for measurements only"
        return CreativeTask(name, tuple(_csl(_read(path, name, why), str(path))), "zh")
    raise InputError(f"task {name!r:.60} is unknown; use one of {', '.join(CREATIVE_TASK_NAMES)}")


def slots_of(meaning: str) -> tuple[tuple[str, str], ...]:
    """(slot, value) of a meaning representation such as "name[Blue Spice], area[riverside]"."""
    return tuple((name, value) for name, value in _SLOT.findall(meaning))


def facts_text(slots: Iterable[tuple[str, str]]) -> str:
    """The prompt's form of slots: "name: Blue Spice; price range: cheap"."""
    return "; ".join(f"{_SPELLED.get(name, name)}: {value}" for name, value in slots)


def templates_of(brief: Brief) -> list[str]:
    """The references with the values of slots as places to fill: "{name} is a {type} near {near}".

    They are guesses for a draft. A value that is a word of its own ("yes", "high") stays.
    """
    values = [(value, _SPELLED.get(name, name)) for name, value in brief.slots if name not in _PLAIN_SLOTS]
    values.sort(key=lambda pair: -len(pair[0]))
    templates = []
    for template in brief.references:
        for value, name in values:
            template = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", f"{{{name}}}", template)
        templates.append(template)
    return templates


def _e2e(text: str, where: str) -> Iterator[Brief]:
    def rows() -> Iterator[tuple[str, str, str]]:
        for fields in csv.DictReader(io.StringIO(text, newline=""), strict=True):
            meaning, reference, split = fields["meaning"], fields["reference"], fields["split"]
            if split not in CREATIVE_SPLITS or not reference or not slots_of(meaning):
                raise ValueError(f"row {meaning!r:.60} has no slots, no reference or no known split")
            yield meaning, reference, split

    grouped: dict[tuple[str, str], list[str]] = {}
    for meaning, reference, split in _checked(rows, f"{where}: {{}}; reinstall adtrie"):
        grouped.setdefault((meaning, split), []).append(reference)
    for (meaning, split), references in grouped.items():
        slots = slots_of(meaning)
        yield Brief(facts_text(slots), tuple(references), split, slots)


def _slogans(text: str, where: str) -> Iterator[Brief]:
    """Descriptions and slogans with the company's name in place of its mark."""

    def rows() -> Iterator[tuple[str, str]]:
        for fields in csv.DictReader(io.StringIO(text, newline=""), strict=True):
            company = fields["alias"] or fields["company"]
            named = [fields[key].replace("<company>", company) for key in ("desc", "output")]
            yield " ".join(named[0].split()), " ".join(named[1].split())

    grouped: dict[str, list[str]] = {}
    for facts, slogan in _checked(rows, f"{where}: {{}}; fetch the file again"):
        grouped.setdefault(facts, []).append(slogan)
    for facts, slogans in grouped.items():
        yield Brief(facts, tuple(slogans), "test")


def _csl(data: bytes, where: str) -> Iterator[Brief]:
    """Abstracts and titles."""

    def rows() -> Iterator[tuple[str, str]]:
        for line in data.decode("utf-8").splitlines():
            _, abstract, title = line.split("\t")
            yield abstract, title

    for abstract, title in _checked(rows, f"{where}: {{}}; fetch the file again"):
        yield Brief(abstract, (title,), "test")


def _checked(rows: Callable[[], Iterator[Row]], message: str) -> Iterator[Row]:
    try:
        yield from rows()
    except (csv.Error, KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(message.format(error)) from error


def _read(path: Path, name: str, why: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise InputError(
            f"task {name!r} needs {path}, which is not there ({why}); run from a checkout beside that data"
        ) from None


def _unzipped(data: bytes, where: str) -> str:
    try:
        return gzip.decompress(data).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise FormatError(f"{where}: unreadable ({error}); reinstall adtrie or fetch it again") from error
