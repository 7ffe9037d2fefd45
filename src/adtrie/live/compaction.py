"""A version of a live catalogue as a snapshot of its own: one sorted trie, one table of rows.

`python -m adtrie.live.compaction FOLDER VERSION` writes the base of a version, in a process of its own so
that requests are not slowed. Paused rows stay; the pauses themselves are in the log that follows.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue import BuildReport, Catalogue, Trie
from adtrie.catalogue.build import NO_BID, Parts
from adtrie.catalogue.sequences import Int64, common_prefixes, row_pointers
from adtrie.catalogue.strings import StringTable, pack_strings
from adtrie.errors import AdtrieError, CatalogueError
from adtrie.live.folder import base_path
from adtrie.live.history import History
from adtrie.live.replay import state_at
from adtrie.live.state import State

SMALL_ENTRIES = 50_000  # up to here this process compacts: starting another takes longer


def compacted(state: State) -> Parts:
    """The arrays of a catalogue of the present rows of a state, those of the base before added ones.

    Raises CatalogueError when no row is present.
    """
    rows = state.present.members()
    added: Int64 = np.flatnonzero(state.added_present)
    if not len(rows) + len(added):
        raise CatalogueError("no row is left, expected at least one; add rows before compacting")
    owner = state.owner[added]
    number_of = np.zeros(len(state.entries), np.int64)
    number_of[state.entries.number] = state.entries.gaps.at + np.arange(len(state.entries))
    of_base = _numbers_of_base(state, state.base.selector.entry_of_row(rows))
    of_added = np.zeros(len(added), np.int64)
    of_added[owner >= 0] = _numbers_of_base(state, owner[owner >= 0])
    of_added[owner < 0] = number_of[-1 - owner[owner < 0]]
    number = np.concatenate([of_base, of_added])
    order = np.argsort(number, kind="stable")  # rows of the base, then added ones, within each entry
    number, chosen = number[order], np.concatenate([rows, added + state.present.size])[order]
    first = np.flatnonzero(np.diff(number, prepend=-1))
    texts, ids = _texts_and_ids(state, chosen, first)
    return Parts(
        trie=_trie(state, number[first]),
        texts=texts,
        ids=ids,
        row_ptr=np.append(first, len(chosen)).astype(np.uint32) if len(first) < len(chosen) else None,
        bids=_bids(state, chosen),
        attributes=_attributes(state, chosen),
    )


def _numbers_of_base(state: State, entries: Int64) -> Int64:
    return entries + state.entries.gaps.at.searchsorted(entries, side="right")


def _trie(state: State, numbers: Int64) -> Trie:
    """The trie of the entries with these numbers, ascending."""
    at = state.entries.gaps.at + np.arange(len(state.entries))
    before = at.searchsorted(numbers)
    is_added = at.take(before, mode="clip") == numbers if len(at) else np.zeros(len(numbers), np.bool_)
    base_trie, added_trie = state.base.trie, state.entries.trie
    tokens, lengths = _sequences(base_trie, (numbers - before)[~is_added])
    if added_trie is not None:
        added_tokens, added_lengths = _sequences(added_trie, before[is_added])
        starts = row_pointers(np.concatenate([lengths, added_lengths]))[:-1]
        place = np.empty(len(numbers), np.int64)
        place[~is_added] = np.arange(len(lengths))
        place[is_added] = len(lengths) + np.arange(len(added_lengths))
        tokens = np.concatenate([tokens, added_tokens])
        lengths = np.concatenate([lengths, added_lengths])[place]
        starts = starts[place]
    else:
        starts = row_pointers(lengths)[:-1]
    shared = common_prefixes(tokens, starts, lengths)
    return Trie.from_sorted(tokens, starts, lengths, shared, base_trie.vocab_size)


def _sequences(trie: Trie, entries: Int64) -> tuple[NDArray[np.int64], Int64]:
    """The sequences of entries of a whole trie, flat and narrow, and their lengths."""
    all_entries = np.arange(trie.num_entries)
    length = trie.length(all_entries)
    wanted = length[entries]
    starts = row_pointers(wanted)
    tokens = np.zeros(int(starts[-1]), trie.edges.dtype)
    offset = trie.offsets[:-1].astype(np.int64) - trie.shared
    for depth in range(trie.max_depth):
        # The token at a depth is stored with the last entry up to here that shares no more than the depth.
        holder = np.maximum.accumulate(np.where(trie.shared <= depth, all_entries, 0))
        deep = np.flatnonzero(wanted > depth)
        if not len(deep):
            break
        held_by = holder[entries[deep]]
        tokens[starts[deep] + depth] = trie.edges.take(offset[held_by] + depth, mode="clip")
    return tokens, wanted


def _texts_and_ids(state: State, rows: Int64, first: Int64) -> tuple[StringTable, StringTable | None]:
    """Texts of the entries, which begin at rows[first], and ids of the rows, None if these are texts."""
    base, num_base = state.base, state.present.size
    texts = _joined(base.parts.texts, state.added.texts[: state.num_added])
    of_row = np.where(rows < num_base, 0, base.num_entries + rows - num_base)
    of_row[rows < num_base] = base.selector.entry_of_row(rows[rows < num_base])
    if base.parts.ids is None and _ids_are_texts(state, rows, first):
        return texts.take(of_row[first]), None
    of_base = base.parts.ids
    if of_base is None:
        of_base = base.parts.texts.take(base.selector.entry_of_row(np.arange(num_base)))
    return texts.take(of_row[first]), _joined(of_base, state.added.ids[: state.num_added]).take(rows)


def _ids_are_texts(state: State, rows: Int64, first: Int64) -> bool:
    """Whether the id of every added row among `rows` is the text of its entry."""
    num_base = state.present.size
    for at in np.flatnonzero(rows >= num_base).tolist():
        opening = int(rows[first[first.searchsorted(at, side="right") - 1]])
        text = state.added.texts[opening - num_base] if opening >= num_base else None
        if text is None:
            text = state.base.text(int(state.base.selector.entry_of_row(np.array([opening]))[0]))
        if state.added.ids[int(rows[at]) - num_base] != text:
            return False
    return True


def _bids(state: State, rows: Int64) -> NDArray[np.float64] | None:
    bids = np.concatenate([state.bids.every(), state.added_bids])[rows]
    return None if np.all(bids == NO_BID) else bids


def _attributes(state: State, rows: Int64) -> StringTable | None:
    table, added = state.base.parts.attributes, state.added.attributes[: state.num_added]
    if table is None and not any(added):
        return None
    if table is None:
        num_base = state.present.size
        table = StringTable(np.zeros(0, np.uint8), np.zeros(num_base + 1, np.uint32))
    return _joined(table, added).take(rows)


def _joined(table: StringTable, more: Sequence[str]) -> StringTable:
    """The table with more strings at its end."""
    block, lengths = pack_strings(more)
    offsets = np.concatenate([table.offsets.astype(np.uint64), np.uint64(len(table.block)) + _ends(lengths)])
    return StringTable(np.concatenate([table.block, np.frombuffer(block, np.uint8)]), offsets)


def _ends(lengths: Int64) -> NDArray[np.uint64]:
    return np.cumsum(lengths).astype(np.uint64)


def as_catalogue(state: State) -> Catalogue:
    """The present rows of a state as a catalogue of its own."""
    parts = compacted(state)
    num_rows = parts.trie.num_entries if parts.row_ptr is None else int(parts.row_ptr[-1])
    info = replace(
        state.base.info,
        max_depth=parts.trie.max_depth,
        num_rows=num_rows,
        num_entries=parts.trie.num_entries,
        num_merged=num_rows - parts.trie.num_entries,
        num_refused=0,
    )
    return Catalogue(parts, info, BuildReport(info.num_rows, info.num_entries, info.num_merged, 0))


def compact_in(folder: Path, state: State) -> None:
    """Writes the base of a state, which is the newest before a new log begins. Raises CatalogueError."""
    if state.base.num_entries <= SMALL_ENTRIES:
        as_catalogue(state).save(base_path(folder, state.number))
        return
    command = [sys.executable, "-m", "adtrie.live.compaction", str(folder), str(state.number)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise CatalogueError(f"compaction failed: {reason}")


def main() -> None:
    """Writes the base named on the command line."""
    folder, version = Path(sys.argv[1]), int(sys.argv[2])
    try:
        as_catalogue(state_at(History(folder), version)).save(base_path(folder, version))
    except AdtrieError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
