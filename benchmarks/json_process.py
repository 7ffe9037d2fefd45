"""A child process that answers one JSON line with one JSON line: start, ask, pause, end. Knows no engine."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class JsonProcess:
    """A running process; a context manager. Raises RuntimeError if it refuses, fails or falls silent.

    `ready` is its first line, `start_s` the seconds from its start to that line.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        ready_timeout_s: float = 600.0,
    ) -> None:
        """Starts `command` with these variables, and waits for its first line."""
        self.name = name
        self._folder = tempfile.TemporaryDirectory()
        self._errors = open(Path(self._folder.name) / "stderr.txt", "w+", encoding="utf-8")  # noqa: SIM115
        started = time.perf_counter()
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=dict(environment),
        )
        try:
            self.ready = self._read(ready_timeout_s)
        except BaseException:
            self.close()
            raise
        self.start_s = time.perf_counter() - started

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, message: Mapping[str, Any], timeout_s: float = 120.0) -> dict[str, Any]:
        """The answer to one request."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError(self._failure("stopped")) from None
        return self._read(timeout_s)

    def pause(self) -> None:
        """Stops all its threads: threads that spin while they wait take no time from what is measured."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def _read(self, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                raise RuntimeError(self._failure(f"did not answer within {timeout_s:.0f} s"))
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(self._failure("stopped"))
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"the {self.name} refused a request: {answer['error']}")
        return answer

    def _failure(self, what: str) -> str:
        self._errors.flush()
        self._errors.seek(0)
        return f"the {self.name} {what}; it last said: {self._errors.read()[-1500:]}"

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(ProcessLookupError):
            self.resume()  # a paused process would not see its input end
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # a request that a dead process did not take
                self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
