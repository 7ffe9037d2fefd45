"""A packed checkpoint: what was written is read, mapped and not copied, and runs as the codes it holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from packed_folder import golden_folder, write_packed

from adtrie.format.panels import PackedLinear, unpack
from adtrie.models import open_checkpoint


@pytest.mark.parametrize("name", ["llama", "llama3", "qwen2", "qwen3", "ernie4_5"])
def test_what_was_written_is_read(tmp_path: Path, name: str) -> None:
    with open_checkpoint(golden_folder(tmp_path, name)) as source:
        linears = write_packed(tmp_path / "out", source)
        packed = open_checkpoint(tmp_path / "out")
        assert packed.spec == source.spec
        assert packed.tokenizer.fingerprint == source.tokenizer.fingerprint
        assert packed.names() == source.names()
        for tensor in packed.tensors():
            if len(tensor.shape) == 1:
                np.testing.assert_array_equal(packed.vector(tensor.name), source.vector(tensor.name))
                continue
            matrix = packed.matrix(tensor.name)
            assert isinstance(matrix, PackedLinear)
            read, written = unpack(matrix), linears[tensor.name]
            np.testing.assert_array_equal(read.values.codes, written.values.codes)
            np.testing.assert_array_equal(read.values.scales, written.values.scales)
            np.testing.assert_array_equal(read.mask, written.mask)
