"""All versions of a live catalogue that its folder holds, and the way to each. Knows no catalogue."""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from adtrie.errors import CatalogueError, FormatError, InputError
from adtrie.live.changes import decode
from adtrie.live.folder import log_path, versions_of
from adtrie.live.log import ROLLBACK, Record, read_header, read_record, read_records


@dataclass
class _Segment:
    """One log: its version, pauses at its start, the offsets of its records and the end of the last."""

    after: int
    pauses: tuple[str, ...]
    path: Path
    end: int
    offsets: array[int] = field(default_factory=lambda: array("Q"))

    @property
    def last(self) -> int:
        """The last version in it."""
        return self.after + len(self.offsets)


class History:
    """All versions that a folder holds. `extend` reads on where it stopped."""

    def __init__(self, folder: Path) -> None:
        """Raises CatalogueError for no such folder, FormatError for damaged or missing logs."""
        self.folder = folder
        self.bases: list[int] = []
        self._segments: list[_Segment] = []
        self._rollbacks: dict[int, int] = {}
        self.extend()
        if not self.bases or not self._segments:
            raise CatalogueError(f"{folder}: no live catalogue; make it with `adtrie change --create`")

    @property
    def last(self) -> int:
        """The newest version."""
        return self._segments[-1].last

    @property
    def first(self) -> int:
        """The oldest version that can be opened."""
        return self.bases[0]

    @property
    def end(self) -> int:
        """Bytes of the newest log that are sound."""
        return self._segments[-1].end

    @property
    def newest_log(self) -> Path:
        """The log that is written."""
        return self._segments[-1].path

    def extend(self) -> None:
        """Takes in what was written since the last call."""
        self.bases = versions_of(self.folder, "base")
        logs = versions_of(self.folder, "changes")
        self._segments = [segment for segment in self._segments if segment.after in logs]
        known = {segment.after for segment in self._segments}
        if self._segments:
            self._read(self._segments[-1])
        for after in logs:
            if after not in known and after >= min(self.bases, default=0):
                self._open(after)

    def _open(self, after: int) -> None:
        path = log_path(self.folder, after)
        with path.open("rb") as file:
            about, end = read_header(file, str(path))
        pauses = about.get("pauses")
        sound = isinstance(pauses, list) and all(isinstance(one, str) for one in pauses)
        if about.get("after") != after or not sound:
            raise FormatError(
                f"{path}: the log says it follows version {about.get('after')!r:.40}; restore it"
            )
        if self._segments and self._segments[-1].last != after:
            last = self._segments[-1].last
            raise FormatError(
                f"{path}: begins after version {after}, the log before it ends with {last}; restore the files"
            )
        segment = _Segment(after, tuple(map(str, pauses or ())), path, end)
        self._segments.append(segment)
        self._read(segment)

    def _read(self, segment: _Segment) -> None:
        with segment.path.open("rb") as file:
            for record in read_records(file, segment.end, str(segment.path)):
                if record.version != segment.last + 1:
                    raise FormatError(
                        f"{segment.path}: version {record.version} at byte {record.offset}, expected "
                        f"{segment.last + 1}; restore the file"
                    )
                segment.offsets.append(record.offset)
                segment.end = record.end
                if record.kind == ROLLBACK:
                    self._rollbacks[record.version] = _rollback_target(record, str(segment.path))

    def pauses_at(self, base: int) -> tuple[str, ...]:
        """The pauses of a version that has a base."""
        return next((one.pauses for one in self._segments if one.after == base), ())

    def way_to(self, version: int) -> tuple[int, list[int]]:
        """The base to begin with and the versions to repeat, in order, to have the content of `version`.

        Raises InputError for a version that is not held.
        """
        wanted, steps, bases = version, [], set(self.bases)
        oldest = self._segments[0].after
        if not 0 <= version <= self.last:
            raise self._not_held(wanted)
        while version not in bases:
            if version <= oldest:
                raise self._not_held(wanted)
            target = self._rollbacks.get(version)
            if target is None:
                steps.append(version)
                version -= 1
            else:
                version = target
        return version, steps[::-1]

    def _not_held(self, version: int) -> InputError:
        return InputError(
            f"version {version} is not held, expected {self.first} to {self.last}; older ones went with the "
            "compactions since"
        )

    def records(self, versions: Iterable[int]) -> Iterator[Record]:
        """The records of versions, in the order given."""
        with contextlib.ExitStack() as stack:
            files: dict[int, IO[bytes]] = {}
            for version in versions:
                segment = next((one for one in reversed(self._segments) if one.after < version), None)
                if segment is None:
                    raise self._not_held(version)
                if segment.after not in files:
                    files[segment.after] = stack.enter_context(segment.path.open("rb"))
                offset = segment.offsets[version - segment.after - 1]
                yield read_record(files[segment.after], offset, str(segment.path))

    def goes_back(self, version: int) -> bool:
        """Whether a version is a return to an older one."""
        return version in self._rollbacks

    def held(self) -> range:
        """Versions with a record."""
        return range(self._segments[0].after + 1, self.last + 1)

    def note(self, version: int, target: int | None, size: int) -> None:
        """Takes in a record of `size` bytes that the writer has appended itself."""
        segment = self._segments[-1]
        segment.offsets.append(segment.end)
        segment.end += size
        if target is not None:
            self._rollbacks[version] = target


def _rollback_target(record: Record, where: str) -> int:
    """The version a record goes back to. Raises FormatError unless it is an earlier one."""
    target = decode(record.payload, where).rollback
    if target is None or not 0 <= target < record.version:
        raise FormatError(f"{where}: version {record.version} goes back to {target!r}; restore the file")
    return target
