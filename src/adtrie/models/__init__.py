"""Where weights come from: readers, model families, tokenizers, the alias registry."""

from adtrie.models.checkpoint import Checkpoint, open_checkpoint
from adtrie.models.tokenizer import MAX_TEXT_CHARS, Tokenizer

__all__ = ["MAX_TEXT_CHARS", "Checkpoint", "Tokenizer", "open_checkpoint"]
