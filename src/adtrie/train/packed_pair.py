"""A packed checkpoint and the model it was made from: whether they belong together, what is read and written.

Knows no torch.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from adtrie.errors import FormatError, InputError
from adtrie.format.codes import CompressedLinear
from adtrie.format.manifest import Manifest
from adtrie.format.panels import PackedLinear, unpack
from adtrie.format.writer import PackedWriter
from adtrie.models import AdaptedCheckpoint, Checkpoint
from adtrie.models.packed import canonical_shapes


def check_teacher(manifest: Manifest, teacher: Checkpoint | AdaptedCheckpoint) -> None:
    """Raises InputError unless `teacher` is the model that was packed."""
    origin = manifest.origin
    made_from = origin.name + (f" with adapter {origin.adapter}" if origin.adapter else "")
    if teacher.spec != manifest.spec:
        differing = [
            f"{key} {value!r:.40} instead of {asdict(manifest.spec)[key]!r:.40}"
            for key, value in asdict(teacher.spec).items()
            if value != asdict(manifest.spec)[key]
        ]
        raise InputError(
            f"--teacher: {teacher.name} is a model of another shape ({', '.join(differing[:3])}); give "
            f"the one that was compressed, {made_from}"
        )
    if teacher.fingerprint != origin.fingerprint:
        raise InputError(
            f"--teacher: {teacher.name} has other weights ({teacher.fingerprint[:12]}) than the model that "
            f"was compressed ({origin.fingerprint[:12]}); give that one, {made_from}"
        )


def coded(packed: Checkpoint, name: str) -> CompressedLinear:
    """The canonical codes of a linear of a packed checkpoint."""
    return unpack(packed_linear(packed, name))


def packed_linear(packed: Checkpoint, name: str) -> PackedLinear:
    """A linear, embedding or head as it is stored."""
    linear = packed.matrix(name)
    if not isinstance(linear, PackedLinear):  # pragma: no cover - a packed checkpoint holds nothing else
        raise FormatError(f"{packed.name}: {name} is not packed; compress the model again")
    return linear


def packed_manifest(packed: Checkpoint) -> Manifest:
    """That of a packed checkpoint. Raises InputError for one of another kind."""
    if packed.manifest is None:
        raise InputError(
            f"PACKED: {packed.name} is no packed checkpoint, it has no codes and masks to keep; make one "
            "with 'adtrie compress'"
        )
    return packed.manifest


def writer_like(packed: Checkpoint, manifest: Manifest, out: Path) -> PackedWriter:
    """A writer of a checkpoint of the same model, origin, tokenizer and prompt; raises as PackedWriter."""
    tokenizer = (manifest.tokenizer, packed.tokenizer.definition().encode())
    shapes = canonical_shapes(manifest.spec)
    return PackedWriter(out, manifest.spec, shapes, tokenizer, manifest.origin, manifest.template)
