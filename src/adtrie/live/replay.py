"""From base and log to the content of a version. Knows no writer."""

from __future__ import annotations

from dataclasses import replace

from adtrie.catalogue import Catalogue
from adtrie.live.changes import decode
from adtrie.live.draft import Draft
from adtrie.live.folder import base_path
from adtrie.live.history import History
from adtrie.live.state import State


def state_at(history: History, version: int, base: State | None = None) -> State:
    """The content of a version, as version `version`.

    base: the state of one base, used instead of opening that again. Raises InputError for a version that is
    not held, FormatError for damaged files.
    """
    start, steps = history.way_to(version)
    if base is None or base.number != start:
        base = base_state(history, start)
    state = repeated(history, base, steps)
    return state if state.number == version else replace(state, number=version)


def base_state(history: History, version: int) -> State:
    """The state of a version that has a base."""
    return State.first(
        version, Catalogue.open(base_path(history.folder, version)), history.pauses_at(version)
    )


def repeated(history: History, state: State, versions: list[int]) -> State:
    """`state` with the changes of versions made to it in order; none of them goes back to another."""
    if not versions:
        return state
    draft = Draft(state)
    for record in history.records(versions):
        where = f"{history.folder}: version {record.version}"
        draft.apply(decode(record.payload, where).changes)
    return draft.freeze(versions[-1])


def advanced(history: History, state: State, version: int) -> State:
    """The content of a later version, from `state`, which is what the history has for its number."""
    later = range(state.number + 1, version + 1)
    if any(map(history.goes_back, later)):
        return state_at(history, version)
    return repeated(history, state, list(later))
