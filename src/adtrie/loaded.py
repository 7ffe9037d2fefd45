"""A checkpoint on an engine with its tokenizer and prompts, and the sessions that hold their prefixes.

What every request of `Model` stands on; knows no catalogue and no way of writing.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Self

import numpy as np
from numpy.typing import NDArray

from adtrie.config import ModelSpec
from adtrie.engine import Engine, Session
from adtrie.errors import InputError
from adtrie.models import AdaptedCheckpoint, Checkpoint, Tokenizer
from adtrie.prompt import CREATE_TEMPLATE, DEFAULT_TEMPLATE, PromptTemplate
from adtrie.request import Normaliser, Score, TargetOptions
from adtrie.search.deadline import STOPPABLE, Clock, Pace

MAX_SESSIONS = 4  # each holds the keys and values of one template's prefix


class LoadedModel:
    """One request at a time: a lock orders callers from several threads. Close it, or use it in `with`."""

    def __init__(
        self,
        checkpoint: Checkpoint | AdaptedCheckpoint,
        engine: Engine,
        template: PromptTemplate | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.engine = engine
        # Of requests that bring none: an adapter's own, whether it was tuned to name or to write.
        self.template = template or DEFAULT_TEMPLATE
        self.create_template = template or CREATE_TEMPLATE
        self._sessions: OrderedDict[tuple[PromptTemplate, Score, Normaliser, int], Session] = OrderedDict()
        self._lock = Lock()
        self._clock: Clock = time.perf_counter
        self._pace = Pace(STOPPABLE)

    @property
    def name(self) -> str:
        """Path or alias the model was loaded from."""
        return self.checkpoint.name

    @property
    def spec(self) -> ModelSpec:
        """Shape of the model."""
        return self.checkpoint.spec

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the checkpoint."""
        return self.checkpoint.tokenizer

    @property
    def fingerprint(self) -> str:
        """sha256 hex of the tokenizer, which a catalogue is bound to."""
        return self.tokenizer.fingerprint

    @property
    def vocab_size(self) -> int:
        """Ids of the tokenizer."""
        return self.tokenizer.vocab_size

    def encode(self, text: str) -> NDArray[np.int32]:
        """Ids int32[n] of plain text; never a control token."""
        return self.tokenizer.encode(text)

    @property
    def splits_at_blanks(self) -> bool:
        """Whether a text is encoded word by word, each with the blank before it."""
        return self.tokenizer.splits_at_blanks

    def encode_batch(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Flat ids int32[sum] and offsets int64[n+1] of many texts."""
        return self.tokenizer.encode_batch(texts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def warm(self, options: TargetOptions | None = None, template: PromptTemplate | None = None) -> None:
        """Computes the shared prefix and the latency table now, so that the first request does not wait.

        Raises InputError for a bounded normaliser before `learn_frequent`, which needs a catalogue.
        """
        options = options or TargetOptions()
        if options.bounded and not self.engine.has_frequent:
            raise InputError("warm: bounded needs its tokens; call learn_frequent(catalogue) before")
        with self._lock:
            self._session(template or self.template, options)
            self.engine.latency()

    def close(self) -> None:
        """Drops the cached prefixes and closes the checkpoint; the model cannot be used afterwards."""
        with self._lock:
            self._sessions.clear()
            self.checkpoint.close()

    def _session(self, template: PromptTemplate, options: TargetOptions) -> Session:
        """A session at the start of a request, its prefix computed; above MAX_SESSIONS the oldest goes."""
        key = (template, options.score, options.normaliser, options.session_rows)
        session = self._sessions.get(key)
        if session is None:
            prefix = template.prefix_tokens(self.tokenizer)
            session = self.engine.session(prefix, options.score, options.session_rows, options.bounded)
            self._sessions[key] = session
            if len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        self._sessions.move_to_end(key)
        session.reset()
        return session
