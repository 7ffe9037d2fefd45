"""One vector per token sequence: the mean of its hidden states. Knows no text and no clusters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from adtrie.engine.engine import Engine

MAX_TOKENS = 256  # of one sequence; what follows is left out
BATCH_ROWS = 512


def mean_hidden_states(
    engine: Engine,
    tokens: NDArray[np.int32],
    offsets: NDArray[np.int64],
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """float32[N, H] of unit length: the mean final hidden state of tokens[offsets[i]:offsets[i+1]].

    Zeros for an empty sequence. Many sequences are fed at once; each sees itself only, so its vector does not
    depend on the others. `progress(done, N)` is called after each forward.
    """
    starts, lengths = offsets[:-1], np.minimum(np.diff(offsets), MAX_TOKENS)
    session, ends = engine.session(max_rows=BATCH_ROWS + MAX_TOKENS), np.cumsum(lengths)
    vectors = np.zeros((len(lengths), engine.spec.hidden_size), np.float32)
    first = 0
    while first < len(lengths):
        fed = int(ends[first] - lengths[first])
        last = max(first + 1, int(np.searchsorted(ends, fed + BATCH_ROWS, side="right")))
        kept = first + np.flatnonzero(lengths[first:last])
        if kept.size:
            session.reset()
            begin = np.cumsum(lengths[kept]) - lengths[kept]
            parents = np.arange(-1, int(lengths[kept].sum()) - 1, dtype=np.int32)
            parents[begin] = -1
            inside = np.arange(parents.size) - begin.repeat(lengths[kept])
            hidden = session.forward(tokens[starts[kept].repeat(lengths[kept]) + inside], parents)
            vectors[kept] = np.add.reduceat(hidden, begin) / lengths[kept, None]
        first = last
        if progress is not None:
            progress(first, len(lengths))
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.divide(vectors, norms, out=vectors, where=norms > 0)
    return vectors
