"""A catalogue that changes while it is searched: one writer, many readers, nothing acknowledged is lost.

A change is checked, written to the log, made visible by one assignment, synced and then acknowledged. Readers
take `snapshot()` and keep it as long as they like.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

from adtrie.catalogue import Catalogue
from adtrie.catalogue.spelling import BatchTokenizer
from adtrie.errors import AdtrieError, CatalogueError, InputError
from adtrie.live.batch import Applied, Batch
from adtrie.live.changes import LogEntry, decode, encode, encode_rollback
from adtrie.live.compaction import compact_in
from adtrie.live.draft import Draft
from adtrie.live.folder import Lock, base_path, prune, remove_leftovers, start_log, versions_of
from adtrie.live.history import History
from adtrie.live.log import CHANGES, RECORD_BYTES, ROLLBACK, LogWriter, Sync, check_sync
from adtrie.live.replay import advanced, base_state, state_at
from adtrie.live.state import State
from adtrie.live.version import Version

COMPACT_ABOVE = 8_192  # added rows
REPLAYED = 200_000  # versions since the base above which opening takes too long
KEPT_BASES = 2

_logger = logging.getLogger("adtrie.live")


class LiveCatalogue:
    """Opened with `open`. Changing needs the lock of the folder; `snapshot` never waits."""

    def __init__(
        self, history: History, lock: Lock | None, tokenizer: BatchTokenizer | None, compact_above: int
    ) -> None:
        self.path = history.folder
        self._history, self._lock, self._tokenizer = history, lock, tokenizer
        self._version = Version(state_at(history, history.last))
        self._log: LogWriter | None = None
        self._broken = ""
        self._changing, self._compacting = threading.RLock(), threading.Lock()
        self._compact_above = self._compact_next = compact_above
        self._thread: threading.Thread | None = None

    @classmethod
    def create(cls, path: str | Path, catalogue: Catalogue) -> None:
        """Makes the folder of a live catalogue that begins as `catalogue`. Raises CatalogueError."""
        folder = Path(path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CatalogueError(
                f"{folder}: cannot create: {error.strerror}; choose another folder"
            ) from None
        if versions_of(folder, "base"):
            raise CatalogueError(f"{folder}: there is a live catalogue already; choose another folder")
        start_log(folder, 0, ())
        catalogue.save(base_path(folder, 0))

    @classmethod
    def open(
        cls,
        path: str | Path,
        tokenizer: BatchTokenizer | None = None,
        *,
        write: bool = True,
        sync: Sync = "always",
        compact_above: int = COMPACT_ABOVE,
    ) -> Self:
        """The live catalogue of a folder, at its newest version.

        tokenizer: the model or tokenizer it was built for; only `add` needs it. write=False: for reading
        beside a writer, see `refresh`. sync: "always" before a change is acknowledged, "never", or seconds
        after which at the latest. Above `compact_above` added rows the catalogue is compacted on the side.
        Raises CatalogueError when another process writes, FormatError for damaged files.
        """
        folder, sync = Path(path), check_sync(sync)
        if isinstance(compact_above, bool) or not isinstance(compact_above, int) or compact_above < 1:
            raise InputError(f"compact_above: expected a number of rows from 1, got {compact_above!r:.60}")
        versions_of(folder, "base")
        lock = Lock(folder) if write else None
        try:
            if lock is not None:
                remove_leftovers(folder)
            history = History(folder)
            live = cls(history, lock, tokenizer, compact_above)
            if tokenizer is not None:
                live.snapshot().check_tokenizer(tokenizer.fingerprint)
            if lock is not None:
                live._log = LogWriter(history.newest_log, history.end, sync)
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        return live

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def snapshot(self) -> Version:
        """The newest version: an immutable catalogue for `Model.target`."""
        return self._version

    @property
    def version(self) -> int:
        """The number of the newest version."""
        return self._version.number

    @property
    def oldest(self) -> int:
        """The oldest version that can be gone back to."""
        return self._history.first

    def changes(self) -> Iterator[tuple[int, LogEntry]]:
        """Versions with their log entries, oldest first, as far back as the logs go."""
        history = self._history
        for record in history.records(history.held()):
            yield record.version, decode(record.payload, str(self.path))

    def batch(self) -> Batch:
        """An empty list of changes for `apply`."""
        return Batch(self._version, self._tokenizer)

    def apply(self, batch: Batch) -> Applied:
        """Makes the changes of a batch one version and returns when they are safe; none for an empty batch.

        Raises CatalogueError when they cannot be written; nothing is changed then.
        """
        refused = tuple(batch.refused)
        if not batch.changes:
            return Applied(self.version, refused=refused)
        with self._changing:
            log, number = self._writer(), self.version + 1
            payload = encode(batch.changes, int(time.time()))
            log.append(number, CHANGES, payload)
            try:
                self._history.note(number, None, RECORD_BYTES + len(payload))
                draft = Draft(self._version.state)
                draft.apply(batch.changes)
                self._publish(draft.freeze(number))
                log.sync()
            except BaseException as error:
                self._broken = f"version {number}: {error or type(error).__name__}"
                raise
        self._compact_if_due()
        return Applied(number, **asdict(draft.counts), refused=refused)

    def add(self, rows: Iterable[Any]) -> Applied:
        """Adds rows as one version; see `Batch.add`, as for the others."""
        return self._apply("add", rows)

    def remove(self, ids: Iterable[str | int]) -> Applied:
        """Removes all rows with these ids."""
        return self._apply("remove", ids)

    def set_bid(self, ids: Sequence[str | int], bids: Sequence[float]) -> Applied:
        """All rows with ids[i] bid bids[i] from now on."""
        return self._apply("set_bid", ids, bids)

    def pause(self, where: str) -> Applied:
        """Rows that pass the filter, also later ones, are not returned until `resume(where)`."""
        return self._apply("pause", where)

    def resume(self, where: str) -> Applied:
        """Ends the pause of this very filter."""
        return self._apply("resume", where)

    def _apply(self, kind: str, *values: Any) -> Applied:
        batch = self.batch()
        getattr(batch, kind)(*values)
        return self.apply(batch)

    def rollback(self, version: int) -> Applied:
        """A new version with the content of an older one. Raises InputError for one that is not held."""
        if isinstance(version, bool) or not isinstance(version, int):
            raise InputError(f"rollback: expected the number of a version, got {version!r:.60}")
        with self._changing:
            log, number = self._writer(), self.version + 1
            state = state_at(self._history, version)
            payload = encode_rollback(version, int(time.time()))
            log.append(number, ROLLBACK, payload)
            self._history.note(number, version, RECORD_BYTES + len(payload))
            self._publish(replace(state, number=number))
            log.sync()
        return Applied(number)

    def _publish(self, state: State) -> None:
        """Makes a version the newest by one assignment, then lists its root so that few requests have to."""
        self._version = Version(state, self._version)
        self._list_root(self._version)

    def _list_root(self, version: Version) -> None:
        if version.num_live:
            version.trie.children(0, version.num_entries, 0)

    def _writer(self) -> LogWriter:
        if self._lock is None:
            raise InputError(f"{self.path}: opened with write=False; open it for writing to change it")
        if self._log is None:
            raise InputError(f"{self.path}: the catalogue was closed; open it again")
        if self._broken:
            raise CatalogueError(f"{self.path}: a change failed half-way ({self._broken}); open it again")
        return self._log

    def refresh(self) -> int:
        """For readers beside a writer: takes in what was changed since; the number of the newest version."""
        with self._changing:
            if self._lock is not None:
                return self.version
            try:
                return self._catch_up(self._version.state)
            except (OSError, AdtrieError):  # the writer compacted and removed what we were about to read
                self._history = History(self.path)
                return self._catch_up(state_at(self._history, self._history.last))

    def _catch_up(self, state: State) -> int:
        history = self._history
        history.extend()
        if history.bases[-1] > state.base_number and history.way_to(history.last)[0] > state.base_number:
            state = base_state(history, history.way_to(history.last)[0])
        if history.last > state.number:
            state = advanced(history, state, history.last)
        if state is not self._version.state:
            self._publish(state)
        return self.version

    def compact(self) -> int:
        """Makes the newest version a base of its own, on which later ones build; its number.

        Requests and changes go on meanwhile. Versions before the last two bases are no longer held. Raises
        CatalogueError when it cannot be written; everything stays as it was then.
        """
        with self._compacting:
            with self._changing:
                state = self._start_log()
            compact_in(self.path, state)
            base = base_state(self._history, state.number)
            with self._changing:
                self._history.extend()
            ahead = state_at(self._history, self.version, base)
            with self._changing:
                self._publish(advanced(self._history, ahead, self.version))
                start, _ = self._history.way_to(self.version)
                prune(self.path, min([start, *self._history.bases[-KEPT_BASES:]]))
                self._history.extend()
            self._compact_next = self._compact_above
        return state.number

    def _start_log(self) -> State:
        """Begins a log at the newest version; its state."""
        log, state = self._writer(), self._version.state
        log.sync(force=True)
        start_log(self.path, state.number, self._version.pauses)
        self._history.extend()
        self._log = LogWriter(self._history.newest_log, self._history.end, log.policy)
        log.close()
        return state

    def _compact_if_due(self) -> None:
        state = self._version.state
        due = state.num_added >= self._compact_next or state.number - state.base_number >= REPLAYED
        if due and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._compact_aside, name="adtrie-compaction", daemon=True)
            self._thread.start()

    def _compact_aside(self) -> None:
        try:
            self.compact()
        except (AdtrieError, OSError) as error:
            self._compact_next = self._version.state.num_added + self._compact_above  # not at every change
            _logger.warning("compaction failed, the catalogue stays as it was: %s", error)

    def close(self) -> None:
        """Waits for a compaction, syncs the log and gives the lock back. Versions stay usable."""
        if self._thread is not None:
            self._thread.join()
        with self._changing:
            log, self._log = self._log, None
            try:
                if log is not None:
                    log.close()
            finally:
                if self._lock is not None:
                    self._lock.release()
                    self._lock = None
