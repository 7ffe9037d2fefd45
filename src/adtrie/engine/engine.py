"""A checkpoint on the native core: packed weights and the threads that run them; it opens sessions.

Knows no catalogue and no search.
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
from adtrie.engine.session import Session, native_errors
from adtrie.engine.source import WeightSource
from adtrie.engine.threads import default_threads
from adtrie.engine.weights import (
    Activations,
    WeightFormat,
    check_weight_format,
    resolved_activations,
    stored_form,
)
from adtrie.errors import InputError
from adtrie.format.panels import PackedLinear

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
        self._has_frequent = False
        _core.return_free_memory()  # of the parsed tokenizer: a quarter of a small model's
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
        bounded: bool = False,
    ) -> Session:
        """A session whose rows continue `prefix` (int32[P], may be empty), computed once, now.

        `bounded`: scores are upper bounds, for which `set_frequent` was called before.
        """
        return Session(self, np.asarray(prefix, dtype=np.int32), score, max_rows, bounded)

    @property
    def has_frequent(self) -> bool:
        """Whether bounded sessions can be opened."""
        return self._has_frequent

    def set_frequent(self, tokens: NDArray[np.int32]) -> None:
        """Chooses the tokens int32[F], ascending, over which bounded sessions normalise; once for a model.

        Copies their part of the head. InputError for a sparse head or a second choice.
        """
        with self._lock, native_errors():
            self._model.set_frequent(np.ascontiguousarray(tokens, dtype=np.int32))
            self._has_frequent = True

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
