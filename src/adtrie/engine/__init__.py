"""The model on this machine: packed weights, one forward over a token tree, logits on demand."""

from adtrie.engine.engine import Engine
from adtrie.engine.session import Session

__all__ = ["Engine", "Session"]
