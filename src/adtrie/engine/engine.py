"""A checkpoint on the native core: packed weights, sessions over a shared prefix, scores of token-tree rows.

Knows no catalogue and no search; a `Session` is what a search calls its scorer.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from adtrie import _core
from adtrie.config import ModelSpec, QuantizedMatrix, RowCost
from adtrie.engine import optimize
from adtrie.engine.execution_plan import ExecutionPlan
from adtrie.engine.rope import rope_frequencies
from adtrie.engine.source import WeightSource
from adtrie.engine.threads import default_threads
from adtrie.engine.weights import (
    Activations,
    WeightFormat,
    check_weight_format,
    resolved_activations,
    stored_form,
)
from adtrie.errors import CapacityError, InputError
from adtrie.format.panels import PackedLinear

MAX_SESSION_ROWS = 131_072  # prefix, prompt and trie rows; memory is committed as rows are used
_LINEARS = ("q", "k", "v", "o", "gate", "up", "down")


class Engine:
    """Weights of one checkpoint, packed for this machine's instruction set, and the threads that run them.

    weights: auto | float32 | bfloat16 | int8 | int4; activations: auto | int8 | bfloat16 | float32 (what
    quantized or bfloat16 weights are multiplied with). threads: default all cores this process may use, or
    ADTRIE_THREADS; isa: default the best, or ADTRIE_ISA. Raises InputError for an unknown option, FormatError
    for an unusable tensor.
    """

    def __init__(
        self,
        checkpoint: WeightSource,
        weights: WeightFormat = "auto",
        activations: Activations = "auto",
        threads: int | None = None,
        isa: str | None = None,
    ) -> None:
        check_weight_format(weights)
        self.spec: ModelSpec = checkpoint.spec
        self.fingerprint = checkpoint.fingerprint
        self.weights = weights
        self.activations = resolved_activations(activations, weights)
        self.num_threads = default_threads() if threads is None else _checked_threads(threads)
        self.isa = _checked_isa(os.environ.get("ADTRIE_ISA", "") if isa is None else isa)
        self._model = self._native_model()
        self._lock = Lock()
        self._load(checkpoint)
        self._plan: ExecutionPlan | None = optimize.cached(self)

    @property
    def weight_bytes(self) -> int:
        """Bytes of packed weights in memory; about what one forward of few rows reads."""
        return int(self._model.weight_bytes)

    def session(
        self,
        prefix: NDArray[np.int32] | Sequence[int] = (),
        score: str = "raw",
        max_rows: int = 16_384,
    ) -> Session:
        """A session whose rows continue `prefix` (int32[P], may be empty), computed once, now."""
        return Session(self, np.asarray(prefix, dtype=np.int32), score, max_rows)

    def logits(self, tokens: NDArray[np.int32] | Sequence[int]) -> NDArray[np.float32]:
        """Logits float32[T, V] of a plain chain of tokens int32[T]: the definition, not a fast path."""
        chain = np.asarray(tokens, dtype=np.int32)
        session = self.session(max_rows=max(len(chain), 1))
        return session.logits(chain, np.arange(-1, len(chain) - 1, dtype=np.int32))

    def latency(self) -> RowCost:
        """Milliseconds of a forward by rows on this machine: from the plan, else measured now (seconds)."""
        return self.plan().latency

    def plan(self) -> ExecutionPlan:
        """The execution plan in use: from the cache, else found now by a short search (seconds)."""
        if self._plan is None:
            self._plan = optimize.cached(self) or optimize.build(self, quick=True)
        return self._plan

    def optimize(self) -> ExecutionPlan:
        """Searches for a better plan at length (minutes for a large model), uses and caches it."""
        self._plan = optimize.build(self)
        return self._plan

    def _native_model(self) -> _core.Model:
        spec = self.spec
        return _core.Model(
            num_layers=spec.num_layers,
            hidden=spec.hidden_size,
            intermediate=spec.intermediate_size,
            num_heads=spec.num_heads,
            num_kv_heads=spec.num_kv_heads,
            head_size=spec.head_size,
            vocab=spec.vocab_size,
            max_positions=spec.max_positions,
            rms_epsilon=spec.rms_epsilon,
            activations=self.activations,
            isa=self.isa,
            num_threads=self.num_threads,
        )

    def _load(self, checkpoint: WeightSource) -> None:
        spec, model = self.spec, self._model
        model.set_vector(-1, "rope_frequencies", rope_frequencies(spec))
        model.set_vector(-1, "final_norm", checkpoint.vector("final_norm"))
        self._set_linear(checkpoint, -1, "embed", "embed")
        if spec.tied_head:
            model.tie_head()
        else:
            self._set_linear(checkpoint, -1, "head", "head")
        norms = ["attn_norm", "mlp_norm", *(["q_norm", "k_norm"] if spec.qk_norm else [])]
        for index in range(spec.num_layers):
            prefix = f"layers.{index}."
            for name in norms:
                model.set_vector(index, name, checkpoint.vector(prefix + name))
            if spec.qkv_bias:
                biases = [checkpoint.vector(f"{prefix}{part}.bias") for part in "qkv"]
                model.set_vector(index, "qkv_bias", np.concatenate(biases))
            if spec.output_bias:
                model.set_vector(index, "o_bias", checkpoint.vector(prefix + "o.bias"))
            for name in _LINEARS:
                self._set_linear(checkpoint, index, name, prefix + name)

    def _set_linear(self, checkpoint: WeightSource, layer: int, slot: str, name: str) -> None:
        matrix = stored_form(name, checkpoint.matrix(name), self.weights)
        if isinstance(matrix, PackedLinear):
            self._set_packed(layer, slot, matrix)
        elif isinstance(matrix, QuantizedMatrix):
            mins = None if matrix.mins is None else np.ascontiguousarray(matrix.mins).view(np.uint16)
            scales = np.ascontiguousarray(matrix.scales).view(np.uint16)
            codes = np.ascontiguousarray(matrix.codes)
            self._model.set_quantized(layer, slot, codes, scales, mins, matrix.bits, matrix.group)
        else:
            place = self._model.set_bfloat16 if self.weights == "bfloat16" else self._model.set_float
            place(layer, slot, np.ascontiguousarray(matrix, dtype=np.float32))

    def _set_packed(self, layer: int, slot: str, packed: PackedLinear) -> None:
        """Refers to the arrays of `packed` without a copy, as long as they are aligned."""
        self._model.set_packed(
            layer,
            slot,
            np.ascontiguousarray(packed.stream),
            np.ascontiguousarray(packed.scales).view(np.uint16),
            np.ascontiguousarray(packed.kept),
            packed.bits,
            packed.group,
            packed.num_outputs,
            packed.num_inputs,
        )


class Session:
    """Rows of a token tree below one prefix. Implements the scorer of a search; `reset` starts a new request.

    A row's scores do not depend on which rows are fed with it, nor on the number of threads.
    """

    def __init__(self, engine: Engine, prefix: NDArray[np.int32], score: str, max_rows: int) -> None:
        self.renormalised = check_score(score)
        if not 1 <= max_rows <= MAX_SESSION_ROWS:
            raise InputError(f"max_rows: expected 1 to {MAX_SESSION_ROWS}, got {max_rows}")
        self._engine = engine
        self._core = _core.Session(engine._model, len(prefix) + max_rows)
        self._prefix_rows = 0
        if len(prefix):
            parents = np.arange(-1, len(prefix) - 1, dtype=np.int32)
            self.forward(prefix, parents)
            self._prefix_rows = len(prefix)

    @property
    def prefix_rows(self) -> int:
        """Tokens of the prefix."""
        return self._prefix_rows

    @property
    def num_rows(self) -> int:
        """Rows fed since the request began, without the prefix."""
        return int(self._core.num_rows) - self._prefix_rows

    def reset(self) -> None:
        """Forgets all rows but the prefix: a new request begins."""
        self._core.truncate(self._prefix_rows)

    def score(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        """Log-probabilities float32[C] of the children of each of T rows (CSR, ascending within a row).

        parents[i]: id of an earlier row of this request, -1 its start. Raises CapacityError when the context
        or the session is full, InputError for ids that do not exist.
        """
        return np.asarray(self._score(tokens, parents, child_ptr, child_tokens, None))

    def score_within(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
        ms: float,
    ) -> NDArray[np.float32] | None:
        """As `score`; None where it takes more than `ms` from now: the session is then as it was before.

        The threads look at the clock several times per layer and stop together, so that None comes late by
        the part of a layer at most.
        """
        return self._score(tokens, parents, child_ptr, child_tokens, _core.Stop(ms))

    def _score(
        self,
        tokens: NDArray[np.int32],
        parents: NDArray[np.int32],
        child_ptr: NDArray[np.int64],
        child_tokens: NDArray[np.int32],
        stop: _core.Stop | None,
    ) -> NDArray[np.float32] | None:
        absolute = self._absolute(tokens, parents)
        with self._engine._lock, native_errors():
            return self._core.score(
                np.ascontiguousarray(tokens, dtype=np.int32),
                absolute,
                np.ascontiguousarray(child_ptr, dtype=np.int64),
                np.ascontiguousarray(child_tokens, dtype=np.int32),
                self.renormalised,
                stop,
            )

    def forward(self, tokens: NDArray[np.int32], parents: NDArray[np.int32]) -> NDArray[np.float32]:
        """Hidden states float32[T, H] after the final norm of T new rows."""
        absolute = self._absolute(tokens, parents)
        with self._engine._lock, native_errors():
            return np.asarray(self._core.forward(np.ascontiguousarray(tokens, dtype=np.int32), absolute))

    def logits(
        self, tokens: NDArray[np.int32], parents: NDArray[np.int32], first: int = 0
    ) -> NDArray[np.float32]:
        """Logits float32[T - first, V] of T new rows from index `first` on; the rows before are only fed."""
        absolute = self._absolute(tokens, parents)
        wanted = (np.arange(len(tokens)) >= first).astype(np.uint8)
        with self._engine._lock, native_errors():
            return np.asarray(
                self._core.logits(np.ascontiguousarray(tokens, dtype=np.int32), absolute, wanted)
            )

    def _absolute(self, tokens: NDArray[np.int32], parents: NDArray[np.int32]) -> NDArray[np.int32]:
        room = self._core.max_rows - self._core.num_rows
        if len(tokens) > room:
            raise CapacityError(
                f"a forward of {len(tokens)} rows does not fit the {room} rows left in this session; "
                "lower --max-rows or shorten the prompt"
            )
        return np.asarray(np.asarray(parents, dtype=np.int64) + self._prefix_rows, dtype=np.int32)


class native_errors:
    """Turns the native core's ValueError into ours; running out of context is a capacity."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError):
            if "context" in str(error):
                raise CapacityError(f"{error}; shorten the query or the prompt template") from None
            raise InputError(str(error)) from None
        if isinstance(error, MemoryError):
            raise CapacityError("out of memory for this session; lower --max-rows") from None


def check_score(score: str) -> bool:
    """Whether it is renormalised; InputError unless it is that or raw."""
    if score not in ("raw", "renormalised"):
        raise InputError(f"score: expected raw or renormalised, got {score!r:.60}")
    return score == "renormalised"


def _checked_threads(threads: int) -> int:
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 256:
        raise InputError(f"threads: expected an integer from 1 to 256, got {threads!r:.60}")
    return threads


def _checked_isa(isa: str) -> str:
    try:
        return str(_core.isa(isa))
    except ValueError:
        raise InputError(
            "ADTRIE_ISA or isa: expected an instruction set that is available here, such as scalar, avx2 or "
            f"avx512, got {isa!r:.60}; 'adtrie doctor' lists them"
        ) from None
