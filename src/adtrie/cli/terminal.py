"""What every command shares: exit codes, one way to fail, JSON lines on stdout, progress on stderr.

Knows no model, catalogue or search.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, ParamSpec, TextIO

import typer

from adtrie.errors import AdtrieError, InputError

P = ParamSpec("P")
Phases = Callable[[str, float], None]  # (what is being done, share of all done)
Advance = Callable[[int, int], None]  # (done, total); total 0 = unknown


class ExitCode(IntEnum):
    """The documented exit codes; 2 is also what a misspelt option gives."""

    OK = 0
    ERROR = 1
    USAGE = 2
    INTERRUPTED = 130
    PIPE_CLOSED = 141


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """The command, ending in a documented exit code and one line on stderr instead of a traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            _start_logging()
            command(*args, **kwargs)
            sys.stdout.flush()
        except AdtrieError as error:
            fail(str(error))
        except KeyboardInterrupt:
            fail("interrupted; nothing was left half-written", ExitCode.INTERRUPTED)
        except BrokenPipeError:
            # The interpreter flushes stdout once more at exit; that must not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(ExitCode.PIPE_CLOSED) from None
        except OSError as error:
            fail(f"{error.filename or 'output'}: {error.strerror or error}")

    return run


def fail(message: str, code: ExitCode = ExitCode.ERROR) -> None:
    """Ends the command with `code` and one message on stderr."""
    warn(message)
    raise typer.Exit(code) from None


def warn(message: str) -> None:
    """One line on stderr that begins with the program's name."""
    print(f"adtrie: {printable(message)}", file=sys.stderr, flush=True)


def note(message: str) -> None:
    """One plain line on stderr: progress and remarks, never results."""
    print(message, file=sys.stderr, flush=True)


def emit(text: str) -> None:
    """One result line on stdout, flushed so that a reader at the end of a pipe sees it at once."""
    print(text, flush=True)


def emit_json(value: object) -> None:
    """One JSON object on one line of stdout; a number that is infinite or not a number becomes null."""
    emit(json.dumps(finite(value), ensure_ascii=False, allow_nan=False))


@contextmanager
def progress(title: str) -> Iterator[Advance]:
    """A bar on a terminal; elsewhere one line per tenth of the work, so that logs stay short."""
    if sys.stderr.isatty():
        with _bar(title) as advance:
            yield advance
    else:
        yield _lines(title, sys.stderr)


@contextmanager
def _bar(title: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def _lines(title: str, stream: TextIO) -> Advance:
    seen = -1

    def advance(done: int, total: int) -> None:
        nonlocal seen
        tenth = 10 * done // total if total else 0
        if tenth > seen:
            seen = tenth
            share = f" {10 * tenth} %" if total else " ..."
            print(f"{title}:{share}", file=stream, flush=True)

    return advance


def use_utf8() -> None:
    """Makes stdout and stderr UTF-8 whatever the locale; text that is no Unicode is escaped, never fatal."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _start_logging() -> None:
    level = os.environ.get("ADTRIE_LOG", "warning").upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise InputError(f"ADTRIE_LOG: expected debug, info, warning or error, got {level.lower()!r}")
    logger = logging.getLogger("adtrie")
    logger.setLevel(level)
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)


def finite(value: Any) -> Any:
    """The JSON value with null for each number that is infinite or not a number."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def printable(text: str) -> str:
    """Text whose control characters are escaped: a hostile name or id must not drive the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


@contextmanager
def phases() -> Iterator[Phases]:
    """What is being done, the share done, the time left by the speed so far."""
    if not sys.stderr.isatty():
        yield phase_lines()
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task("starting", total=1.0)
        yield lambda what, share: bar.update(row, description=what, completed=share)


def phase_lines() -> Phases:
    """A line per tenth of the work and per phase, so that logs stay short."""
    started, seen = time.monotonic(), ("", -1)

    def watch(what: str, share: float) -> None:
        nonlocal seen
        here = what, int(10 * share)
        if here != seen:
            seen = here
            note(f"{what}: {100 * share:.0f} %, {_left(started, share)} left")

    return watch


def _left(started: float, share: float) -> str:
    seconds = (time.monotonic() - started) * (1 - share) / max(share, 1e-3)
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"
