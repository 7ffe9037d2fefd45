"""
adtrie native core: kernels, packed weights and the forward over a token tree
"""

from typing import Annotated, overload

import numpy
from numpy.typing import NDArray


def isa(name: str = '') -> str:
    """
    Name of the kernel table chosen for `name` ('' = best). Raises ValueError if it cannot run here.
    """

def isas() -> list[str]:
    """Names of the kernel tables that run here, scalar first and the best last."""

def return_free_memory() -> None:
    """Gives freed heap memory back to the system, where the allocator keeps it."""

class Model:
    def __init__(self, *, num_layers: int, hidden: int, intermediate: int, num_heads: int, num_kv_heads: int, head_size: int, vocab: int, max_positions: int, rms_epsilon: float, activations: str, isa: str, num_threads: int) -> None: ...

    def set_vector(self, arg0: int, arg1: str, arg2: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], /) -> None: ...

    def set_float(self, arg0: int, arg1: str, arg2: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], /) -> None: ...

    def set_quantized(self, layer: int, name: str, codes: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], scales: Annotated[NDArray[numpy.uint16], dict(shape=(None, None), order='C', device='cpu', writable=False)], mins: Annotated[NDArray[numpy.uint16], dict(shape=(None, None), order='C', device='cpu', writable=False)] | None, bits: int, group: int) -> None: ...

    def set_bfloat16(self, arg0: int, arg1: str, arg2: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], /) -> None:
        """Rounds float32[N, K] to the nearest bfloat16."""

    def set_packed(self, layer: int, name: str, stream: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], scales: Annotated[NDArray[numpy.uint16], dict(shape=(None, None, None), order='C', device='cpu', writable=False)], kept: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], bits: int, group: int, num_outputs: int, num_inputs: int) -> None:
        """
        Refers to a linear stream (docs/design/format.md), which must not change while the model lives.
        """

    def tie_head(self) -> None: ...

    def set_frequent(self, arg: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], /) -> None:
        """
        Tokens over which bounded sessions normalise, int32[F] ascending; copies their outputs of the head.
        """

    def with_threads(self, arg: int, /) -> Model:
        """The same weights, in place, with threads of its own."""

    @property
    def weight_bytes(self) -> int: ...

    def set_schedule(self, arg: Annotated[NDArray[numpy.int32], dict(shape=(None, None), order='C', device='cpu', writable=False)], /) -> None:
        """
        int32[n, 21]: rows, one_thread, norm_alone, mlp_norm_alone, whole_heads, gate_panels, then widen, panels and ahead of qkv, o, gate_up, down and head; rows ascending.
        """

    @property
    def schedule(self) -> NDArray[numpy.int32]: ...

    @property
    def linear_bytes(self) -> dict:
        """Bytes of the linears of all layers by stage, and of the head."""

    def profile(self, on: bool) -> None:
        """Counts the seconds of every stage from now on, or no longer."""

    def leave_at(self, layer: int) -> None:
        """For tests: after that layer (from 0) of each forward one thread goes on alone; -1: never."""

    @property
    def stage_seconds(self) -> dict:
        """By stage: (working, waiting) seconds of each thread."""

    @property
    def isa(self) -> str: ...

    @property
    def num_threads(self) -> int: ...

class Stop:
    """
    Ends one forward `ms` from now or, for tests, at look number `looks` (from 0) already.
    """

    def __init__(self, ms: float, looks: int = -1) -> None: ...

class Session:
    def __init__(self, model: Model, max_rows: int) -> None: ...

    @property
    def num_rows(self) -> int: ...

    @property
    def max_rows(self) -> int: ...

    def truncate(self, arg: int, /) -> None: ...

    def forward(self, arg0: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], arg1: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], /) -> NDArray[numpy.float32]:
        """Hidden states float32[T, H] after the final norm of the appended rows."""

    def score(self, tokens: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], parents: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], child_ptr: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], children: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], renormalise: bool, stop: Stop | None = None, bounded: bool = False) -> NDArray[numpy.float32] | None:
        """
        Log-probabilities float32[C] of the listed children of each appended row; None where `stop` ended it. bounded: upper bounds of them.
        """

    def settle(self, rows: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], child_ptr: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], children: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> NDArray[numpy.float32]:
        """
        Log-probabilities float32[C] of children of rows whose scores were bounds.
        """

    def logits(self, tokens: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], parents: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], wanted: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> NDArray[numpy.float32]:
        """Logits float32[W, V] of the appended rows marked 1."""

class Lane:
    @overload
    def __init__(self, model: Model, max_rows: int) -> None: ...

    @overload
    def __init__(self, model: Model, sharing: Lane) -> None: ...

    @property
    def max_rows(self) -> int: ...

    def release(self, arg: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], /) -> None:
        """
        Frees places. With a row all rows that continue it must go, and no forward may be using them.
        """

    def score(self, tokens: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], parents: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], places: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], child_ptr: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], children: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], renormalise: bool) -> NDArray[numpy.float32]:
        """
        Log-probabilities float32[C] of the listed children of rows fed to `places`; parents are places, or -1.
        """

class Linear:
    @overload
    def __init__(self, arg: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], /) -> None: ...

    @overload
    def __init__(self, codes: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], scales: Annotated[NDArray[numpy.uint16], dict(shape=(None, None), order='C', device='cpu', writable=False)], mins: Annotated[NDArray[numpy.uint16], dict(shape=(None, None), order='C', device='cpu', writable=False)] | None, bits: int, group: int) -> None: ...

    @overload
    def __init__(self, stream: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], scales: Annotated[NDArray[numpy.uint16], dict(shape=(None, None, None), order='C', device='cpu', writable=False)], kept: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], bits: int, group: int, num_outputs: int, num_inputs: int) -> None: ...

    @staticmethod
    def bfloat16(arg: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], /) -> Linear:
        """float32[N, K] rounded to bfloat16."""

    @property
    def num_bytes(self) -> int: ...

    def codes(self) -> NDArray[numpy.uint8]: ...

    def row(self, arg: int, /) -> NDArray[numpy.float32]: ...

    def multiply(self, x: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], isa: str, activations: str = 'float32') -> NDArray[numpy.float32]:
        """
        y float32[T, padded N] by float activations, or by those rounded to bfloat16.
        """

    def multiply_int8(self, codes: Annotated[NDArray[numpy.int8], dict(shape=(None, None), order='C', device='cpu', writable=False)], scales: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], sums: Annotated[NDArray[numpy.int32], dict(shape=(None, None), order='C', device='cpu', writable=False)], isa: str, widen: bool = False, panels: int = 6, ahead: int = 1) -> NDArray[numpy.float32]:
        """
        y float32[T, padded N] by 8-bit activations: codes[T, K], scales[T, K/32], sums[T, K/32].
        """

    def time_float(self, x: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], isa: str, repeats: int, activations: str = 'float32') -> list[float]:
        """Seconds of each of so many multiplications in a row."""

    def time_int8(self, codes: Annotated[NDArray[numpy.int8], dict(shape=(None, None), order='C', device='cpu', writable=False)], scales: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], sums: Annotated[NDArray[numpy.int32], dict(shape=(None, None), order='C', device='cpu', writable=False)], isa: str, repeats: int, widen: bool = False, panels: int = 6, ahead: int = 1) -> list[float]:
        """Seconds of each of so many multiplications in a row."""

def quantize_rows(arg0: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], arg1: str, /) -> tuple:
    """8-bit codes[T, K], scales[T, K/32] and code sums[T, K/32] of rows."""

def read_bandwidth(bytes: int, num_threads: int, repeats: int) -> list[float]:
    """Bytes per second of each sequential read of one buffer by all threads."""

def barrier_seconds(num_threads: int) -> float:
    """Least seconds of one meeting of all threads."""

def int8_peak(num_threads: int, repeats: int) -> list[float]:
    """
    Multiplications and additions of bytes per second of all threads, each of several tries.
    """
