"""A packed checkpoint as one of the others: tensors under canonical names, spec and tokenizer checked.

Knows no layout; that is `format`'s.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adtrie.config import ModelSpec
from adtrie.errors import FormatError, TokenizerError
from adtrie.format.json_text import parse_json_object
from adtrie.format.manifest import MANIFEST_FILE, TOKENIZER_FILE, LinearEntry
from adtrie.format.panels import PackedLinear
from adtrie.format.reader import PackedFolder
from adtrie.models.families import limited_spec
from adtrie.models.tensor_plan import HUGGING_FACE, PlannedTensor, tensor_plan
from adtrie.models.tokenizer import Tokenizer


class PackedSource:
    """An open packed folder that holds exactly the tensors its spec needs. Close it after use."""

    def __init__(self, path: Path) -> None:
        """Raises ModelError (cannot open) or FormatError (damaged); names the tensor."""
        self._folder = PackedFolder(path)
        try:
            self.manifest = self._folder.manifest
            spec = limited_spec(self.manifest.spec, f"{path / MANIFEST_FILE}, spec")
            shapes = canonical_shapes(spec)
            _check_shapes(shapes, self._folder.shapes(), path)
            self.plan = {name: PlannedTensor(name, shape) for name, shape in shapes.items()}
        except BaseException:
            self._folder.close()
            raise

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape by canonical name."""
        return self._folder.shapes()

    def stored(self) -> dict[str, tuple[str, int]]:
        """Type, as in INT4-g64-2:4, and bytes of each tensor."""
        linears = self.manifest.linears.items()
        stored = {name: (_type_name(each), each.stream_bytes + each.scale_bytes) for name, each in linears}
        return stored | {
            name: ("F32", 4 * shape[0]) for name, shape in self.shapes().items() if len(shape) == 1
        }

    def read(self, name: str) -> NDArray[np.float32] | PackedLinear:
        """Vector or linear `name`; the first call loads all. Raises FormatError when it is damaged."""
        self._folder.load()
        return self._folder.linear(name) if name in self.manifest.linears else self._folder.vector(name)

    def fingerprint(self) -> str:
        """The manifest's checksum."""
        return self.manifest.fingerprint

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that was saved. Raises TokenizerError or FormatError when it is damaged."""
        where, saved = str(self._folder.path / TOKENIZER_FILE), self.manifest.tokenizer
        definition = parse_json_object(self._folder.tokenizer(), where)
        tokenizer = Tokenizer(definition, where, eos=saved.eos, bos=saved.bos, add_bos=saved.add_bos)
        if tokenizer.fingerprint != saved.fingerprint:
            raise TokenizerError(f"{where}: gives other tokens than the one that was saved; fetch it again")
        return tokenizer

    def close(self) -> None:
        """Closes the files; linears that were read stay valid."""
        self._folder.close()


def canonical_shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of a model by canonical name; two dimensions are a linear."""
    return {name: each.shape for name, each in tensor_plan(spec, HUGGING_FACE, interleaved=False).items()}


def _check_shapes(needed: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]], path: Path) -> None:
    for name in sorted(set(needed) | set(found)):
        if needed.get(name) != found.get(name):
            has, wants = (list(shapes[name]) if name in shapes else "none" for shapes in (found, needed))
            raise FormatError(
                f"{path}: tensor {name!r:.100} is {has}, its model's spec needs {wants}; fetch it again"
            )


def _type_name(entry: LinearEntry) -> str:
    patterns = "+".join(entry.panels)
    return f"INT{entry.bits}-g{entry.group}-{patterns}"
