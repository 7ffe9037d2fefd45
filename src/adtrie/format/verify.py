"""Everything that can be checked of a packed checkpoint without knowing its model; nothing is trusted.

Sums of files and tensors, and that every stream is the one packing would write for the codes it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from adtrie.errors import FormatError, InputError, ModelError
from adtrie.format.binary_file import BinaryFile
from adtrie.format.codes import PANEL_ROWS
from adtrie.format.manifest import WEIGHTS_FILE, FileEntry, LinearEntry
from adtrie.format.panels import PackedLinear, pack, unpack
from adtrie.format.reader import PackedFolder

_CHUNK_WEIGHTS = 1 << 21  # unpacked at once: bounds the memory whatever the size of a linear


def find_damage(path: Path, advance: Callable[[int, int], None] | None = None) -> list[str]:
    """What is wrong with the packed checkpoint at `path`, one line each; empty when it is sound.

    advance(done, tensors) is called on the way. Damage that hides the rest ends the list.
    """
    try:
        folder = PackedFolder(path)
        found = _files(path, folder.manifest.files)
    except (FormatError, ModelError) as error:
        return [str(error)]
    try:
        tensors = [*folder.vectors(), *folder.manifest.linears]
        damaged = []
        for done, name in enumerate(tensors):
            if advance:
                advance(done, len(tensors))
            damaged += _tensor(folder, name)
        if found and damaged:
            found = [line for line in found if WEIGHTS_FILE not in line]  # the tensors say it more exactly
        return found + damaged
    finally:
        folder.close()


def _files(path: Path, files: dict[str, FileEntry]) -> list[str]:
    """Files that are missing or whose content is not that of the manifest."""
    found = []
    for name, entry in files.items():
        try:
            file = BinaryFile(path / name)
        except ModelError as error:
            found.append(str(error))
            continue
        if (file.size, file.sha256()) != (entry.num_bytes, entry.sha256):
            found.append(f"{file.path}: size or sha256 is not that of the manifest; fetch it again")
        file.close()
    return found


def _tensor(folder: PackedFolder, name: str) -> list[str]:
    try:
        if name not in folder.manifest.linears:
            folder.vector(name)
            return []
        linear = folder.linear(name)
        if LinearEntry.of(linear) != folder.manifest.linears[name]:
            raise FormatError("is not as the manifest describes it")
        for part in _chunks(linear):
            _check_canonical(part)
    except (FormatError, InputError) as error:
        path = str(folder.path / WEIGHTS_FILE)
        text = str(error)
        return [text if text.startswith(path) else f"{path}: tensor {name!r:.100}: {text}"]
    return []


def _check_canonical(part: PackedLinear) -> None:
    """Raises FormatError unless positions ascend, and rows and inputs beyond the matrix are zero."""
    again = pack(unpack(part))
    if not np.array_equal(again.stream, part.stream) or not np.array_equal(again.scales, part.scales):
        raise FormatError("positions do not ascend, or what lies beyond its rows or inputs is not zero")


def _chunks(linear: PackedLinear) -> Iterator[PackedLinear]:
    """The linear in pieces of whole panels."""
    step = max(1, _CHUNK_WEIGHTS // (PANEL_ROWS * linear.num_inputs))
    offsets = linear.offsets
    for first in range(0, len(linear.kept), step):
        last = min(first + step, len(linear.kept))
        rows = min(last * PANEL_ROWS, linear.num_outputs) - first * PANEL_ROWS
        yield PackedLinear(
            rows,
            linear.num_inputs,
            linear.bits,
            linear.group,
            linear.kept[first:last],
            linear.stream[offsets[first] : offsets[last]],
            linear.scales[first:last],
        )
