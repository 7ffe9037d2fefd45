"""The structures that the benchmark compares list the same children, by brute force, dense tables or not."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks import few_entries, structure_rivals
from benchmarks.structures import _steps

END = 0
sequences = st.lists(st.lists(st.integers(1, 9), max_size=5), min_size=1, max_size=60, unique_by=tuple)


@pytest.mark.parametrize("dense_cells", [0, 1 << 20])
@given(sequences)
@settings(max_examples=40, deadline=None)
def test_all_list_the_same_children(dense_cells, bodies):
    tokens = np.array([token for body in bodies for token in (*body, END)], np.uint16)
    offsets = np.cumsum([0, *(len(body) + 1 for body in bodies)])
    steps = _steps(tokens, offsets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structure_rivals, "DENSE_CELLS", dense_cells)
        made = [kind(tokens, offsets, 10) for kind in structure_rivals.STRUCTURES.values()]
    assert steps[0]["children"] == [sorted({body[0] if body else END for body in bodies})]
    for step in steps:
        prefixes = [tuple(prefix) for prefix in step["prefixes"]]
        for structure in made:
            assert structure.listed(structure.start(prefixes)) == step["children"]


def test_fixed_slots_return_what_is_in_no_catalogue():
    for row in few_entries.compare()["sets"]:
        ours, slots = row["adtrie"], row["fixed_slots"]
        assert ours == {
            "returned": row["entries"],
            "distinct_valid": row["entries"],
            "repeated": 0,
            "invalid": 0,
        }
        assert slots["returned"] == few_entries.BEAMS
        assert slots["invalid"] + slots["repeated"] == few_entries.BEAMS - slots["distinct_valid"]
