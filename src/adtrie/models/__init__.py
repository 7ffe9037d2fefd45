"""Where weights come from: readers, model families, tokenizers, the alias registry."""

from adtrie.models.adapter import AdaptedCheckpoint, adapted_checkpoint, open_tuned, shipped_adapters
from adtrie.models.checkpoint import Checkpoint, open_checkpoint
from adtrie.models.packing import packed_writer
from adtrie.models.tokenizer import MAX_TEXT_CHARS, Tokenizer

__all__ = [
    "MAX_TEXT_CHARS",
    "AdaptedCheckpoint",
    "Checkpoint",
    "Tokenizer",
    "adapted_checkpoint",
    "open_checkpoint",
    "open_tuned",
    "packed_writer",
    "shipped_adapters",
]
