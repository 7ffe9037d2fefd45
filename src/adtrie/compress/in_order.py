"""Work on many items, one core each, results in the order of the items. Knows nothing of the work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

from adtrie.engine.threads import default_threads

A = TypeVar("A")
B = TypeVar("B")


def in_order(work: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """`work(item)` of each item, computed ahead by one item per core.

    NumPy computes outside the interpreter's lock. Its products get one thread each: those of one product wait
    for each other by spinning, which a busy machine turns into minutes, and the bytes of a product would
    depend on their number.
    """
    num_threads = default_threads()
    ahead: deque[Future[B]] = deque()
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(num_threads) as pool:
        for item in items:
            ahead.append(pool.submit(work, item))
            if len(ahead) > num_threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
