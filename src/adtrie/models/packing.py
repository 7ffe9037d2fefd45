"""A writer for the packed form of an open checkpoint. Knows no quantizer and no layout."""

from __future__ import annotations

from pathlib import Path

from adtrie.format.manifest import Origin, SavedTokenizer
from adtrie.format.writer import PackedWriter
from adtrie.models.adapter import AdaptedCheckpoint
from adtrie.models.checkpoint import Checkpoint
from adtrie.models.packed import canonical_shapes


def packed_writer(
    out: str | Path, source: Checkpoint | AdaptedCheckpoint, template: str | None = None
) -> PackedWriter:
    """A writer of `source` to the folder `out`; every tensor of `source.names()` is to be added once.

    template: the prompt the model was tuned with, as `open_tuned` gives it. Raises as `PackedWriter` does.
    """
    tokenizer = source.tokenizer
    saved = SavedTokenizer(tokenizer.eos_token, tokenizer.bos_token, tokenizer.add_bos, tokenizer.fingerprint)
    if isinstance(source, AdaptedCheckpoint):
        name, adapter = source.base.name, source.adapter.path.name
    else:
        name, adapter = source.name, None
    origin = Origin(Path(name).name, source.fingerprint, adapter)
    definition = tokenizer.definition().encode()
    return PackedWriter(
        out, source.spec, canonical_shapes(source.spec), (saved, definition), origin, template
    )
