"""The floor of a request and the rate within a limit: laws, and a queue computed by hand."""

from __future__ import annotations

import numpy as np
from benchmarks.request_cost import Floor, latencies_ms, rate_at_limit
from benchmarks.request_floor import multiplied
from hypothesis import given
from hypothesis import strategies as st

from adtrie.config import ModelSpec


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=8),
    st.integers(1, 60),
    st.floats(1e-4, 1e-2),
    st.floats(1e-5, 1e-2),
)
def test_the_floor_is_below_what_the_forwards_take_one_by_one(
    forwards: list[int], prompt: int, weights_s: float, row_s: float
) -> None:
    one_by_one = sum(max(weights_s, rows * row_s) for rows in [prompt, *forwards])
    floor = Floor(weights_s, row_s, row_s).ms(prompt, 1 + len(forwards), sum(forwards))
    assert floor <= one_by_one * 1e3 * (1 + 1e-9)
    assert floor >= (1 + len(forwards)) * weights_s * 1e3 * (1 - 1e-9)


def test_a_lone_prompt_has_a_floor() -> None:
    assert Floor(0.001, 0.0003, 0.0002).ms(10, 1, 0) == 2.0
    assert Floor(0.001, 0.0005, 0.0002).ms(10, 1, 4) == 4.0
    assert Floor(0.001, 0.0003, 0.0002).ms(2, 2, 10) == 4.0


def test_requests_wait_for_those_before_them() -> None:
    idle, busy = latencies_ms([10.0], 0.001), latencies_ms([10.0], 1_000.0)
    assert np.allclose(idle, 10.0)
    assert busy[-1] > 30_000 and bool((np.diff(busy) > -10.0).all())


def test_a_looser_limit_gives_no_lower_rate() -> None:
    service = [10.0, 12.0, 11.0, 40.0]
    rates = [rate_at_limit(service, limit) for limit in (41.0, 100.0, 400.0)]
    assert rate_at_limit(service, 20.0) is None
    assert 0 < rates[0] <= rates[1] <= rates[2] < 1e3 / float(np.mean(service))  # type: ignore[operator]


def test_a_sparse_row_is_multiplied_with_its_survivors() -> None:
    spec = ModelSpec("llama", 2, 64, 160, 4, 2, 16, 75, 128, 10000.0, 1e-5, False)
    dense = multiplied(spec, {})
    assert dense.head == 75 * 64
    assert dense.blocks == 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 160 * 64)
    gate = {f"layers.{layer}.gate": 0.25 for layer in range(2)}
    assert multiplied(spec, gate).blocks == dense.blocks - 2 * 0.75 * 160 * 64
