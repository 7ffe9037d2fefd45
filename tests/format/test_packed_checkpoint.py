"""A packed checkpoint: what was written is read, mapped and not copied, and runs as the codes it holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from packed_folder import (
    SMALL_SHAPES,
    VALUES,
    golden_folder,
    mixed,
    small_linear,
    small_writer,
    write_small,
)
from safetensors.numpy import load_file

from adtrie.compress.pack import nearest_linear, pack_nearest
from adtrie.compress.plan import Choice
from adtrie.config import ModelSpec
from adtrie.engine import Engine
from adtrie.engine.reference import ReferenceForward
from adtrie.errors import InputError, ModelError
from adtrie.format.manifest import read_manifest
from adtrie.format.panels import PackedLinear, pack, unpack
from adtrie.format.reader import PackedFolder
from adtrie.format.tensors import dense_values
from adtrie.format.verify import find_damage
from adtrie.models import adapted_checkpoint, open_checkpoint, open_tuned

FAMILIES = ["llama", "llama3", "qwen2", "qwen3", "ernie4_5"]


@pytest.mark.parametrize("name", FAMILIES)
def test_what_was_written_is_read(tmp_path: Path, name: str) -> None:
    with open_checkpoint(golden_folder(tmp_path, name)) as source:
        written = pack_nearest(source, tmp_path / "out", mixed, template="T {query}", summary={"bpw": 3.5})
        with open_checkpoint(tmp_path / "out") as packed:
            assert packed.manifest == written and packed.fingerprint == written.fingerprint
            assert (written.origin.name, written.origin.fingerprint) == (name, source.fingerprint)
            assert written.summary == {"bpw": 3.5}
            assert packed.spec == source.spec
            assert packed.names() == source.names()
            assert packed.tokenizer.fingerprint == source.tokenizer.fingerprint
            for tensor in packed.tensors():
                if len(tensor.shape) == 1:
                    np.testing.assert_array_equal(packed.vector(tensor.name), source.vector(tensor.name))
                    continue
                weights = dense_values(source.matrix(tensor.name))
                matrix = packed.matrix(tensor.name)
                assert isinstance(matrix, PackedLinear)
                assert_same_codes(matrix, pack(nearest_linear(weights, mixed(tensor.name, weights.shape))))
        assert open_tuned(tmp_path / "out")[1] == "T {query}"
        assert find_damage(tmp_path / "out") == []


def assert_same_codes(one: PackedLinear, other: PackedLinear) -> None:
    read, written = unpack(one), unpack(other)
    np.testing.assert_array_equal(read.values.codes, written.values.codes)
    np.testing.assert_array_equal(read.values.scales, written.values.scales)
    np.testing.assert_array_equal(read.mask, written.mask)


class Dequantized:
    """The values of a packed checkpoint as plain float32 weights."""

    def __init__(self, folder: Path) -> None:
        with open_checkpoint(folder) as packed:
            self.spec: ModelSpec = packed.spec
            self.fingerprint = "0" * 64
            linears = {t.name for t in packed.tensors() if len(t.shape) == 2}
            self._tensors = {
                name: dense_values(packed.matrix(name)) if name in linears else packed.vector(name)
                for name in packed.names()
            }

    def vector(self, name: str) -> NDArray[np.float32]:
        return self._tensors[name]

    def matrix(self, name: str) -> NDArray[np.float32]:
        return self._tensors[name]


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_logits_are_those_of_the_dequantized_codes(tmp_path: Path, name: str) -> None:
    with open_checkpoint(golden_folder(tmp_path, name)) as source:
        pack_nearest(source, tmp_path / "out", mixed)
    plain = Dequantized(tmp_path / "out")
    tokens = np.array([5, 40, 7, 101, 9], np.int32)
    forward = ReferenceForward(plain.spec, plain.matrix)
    expected = forward.logits(forward.forward(tokens, np.arange(-1, 4, dtype=np.int32)))
    with open_checkpoint(tmp_path / "out") as packed:
        engine = Engine(packed, activations="float32", threads=1)
    np.testing.assert_allclose(engine.logits(tokens), expected, rtol=1e-4, atol=1e-4)
    with open_checkpoint(tmp_path / "out") as packed:
        rounded = Engine(packed, threads=1).logits(tokens)
    assert np.corrcoef(rounded.ravel(), expected.ravel())[0, 1] > 0.99


def test_tensors_are_aligned_views_of_the_file(tmp_path: Path) -> None:
    write_small(tmp_path / "out")
    folder = PackedFolder(tmp_path / "out")
    linear = folder.linear("a")
    folder.close()
    for array in (linear.stream, linear.scales):
        assert array.ctypes.data % 64 == 0 and not array.flags.writeable and not array.flags.owndata
    assert_same_codes(linear, pack(small_linear("a")))  # also after closing
    np.testing.assert_array_equal(PackedFolder(tmp_path / "out").vector("norm"), VALUES)


def test_the_library_reads_the_container(tmp_path: Path) -> None:
    write_small(tmp_path / "out")
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    packed = pack(small_linear("b"))
    np.testing.assert_array_equal(tensors["b.stream"], packed.stream)
    np.testing.assert_array_equal(tensors["b.scales"], packed.scales)
    np.testing.assert_array_equal(tensors["norm"], VALUES)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for out in ("one", "two", "one"):
        write_small(tmp_path / out)
    for name in ("manifest.json", "model.safetensors", "tokenizer.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    write_small(tmp_path / "two", seed=1)
    one, two = read_manifest(tmp_path / "one"), read_manifest(tmp_path / "two")
    assert one.fingerprint != two.fingerprint
    document = json.loads((tmp_path / "one" / "manifest.json").read_bytes())
    assert document["checksum"] == one.fingerprint and document["version"] == 1


def test_the_manifest_survives_reformatting(tmp_path: Path) -> None:
    write_small(tmp_path / "out")
    path = tmp_path / "out" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=4, sort_keys=True))
    PackedFolder(tmp_path / "out").close()


def test_an_adapter_is_refused(tmp_path: Path) -> None:
    with open_checkpoint(golden_folder(tmp_path)) as source:
        pack_nearest(source, tmp_path / "out", mixed)
    with open_checkpoint(tmp_path / "out") as packed, pytest.raises(ModelError, match="takes no adapter"):
        adapted_checkpoint(packed, "pricerunner")


def test_a_writer_takes_every_tensor_once(tmp_path: Path) -> None:
    with small_writer(tmp_path / "out") as writer:
        with pytest.raises(InputError, match="'c'"):
            writer.add_vector("c", VALUES)
        with pytest.raises(InputError, match=r"\[9\]"):
            writer.add_vector("norm", VALUES[1:])
        with pytest.raises(InputError, match="NaN"):
            writer.add_vector("norm", VALUES * np.float32(np.nan))
        with pytest.raises(InputError, match="'b'"):
            writer.add_linear("b", pack(small_linear("a")))
        writer.add_vector("norm", VALUES)
        with pytest.raises(InputError, match="before"):
            writer.add_vector("norm", VALUES)
        with pytest.raises(InputError, match="2 tensors were not added, the first is 'a'"):
            writer.finish()
        for name in ("b", "a"):
            writer.add_linear(name, pack(small_linear(name)))
        with pytest.raises(InputError, match="JSON"):
            writer.finish({"bpw": float("nan")})
        writer.finish()
        with pytest.raises(InputError, match="finished"):
            writer.add_vector("norm", VALUES)
    folder = PackedFolder(tmp_path / "out")
    assert folder.shapes() == SMALL_SHAPES


def test_a_choice_of_other_panels_is_refused() -> None:
    with pytest.raises(InputError, match="patterns of 2 panels, got 1"):
        nearest_linear(np.ones((17, 32), np.float32), Choice("x", 4, 32, (4,)))
