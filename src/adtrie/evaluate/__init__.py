"""Quality: tasks with fixed splits, metrics as pure functions, and the floors to beat."""

from adtrie.evaluate.floors import TfidfFloor
from adtrie.evaluate.metrics import Interval, mrr, paired_bootstrap, percentiles, ranks, recall_at_k
from adtrie.evaluate.tasks import Pair, Task, load_task

__all__ = [
    "Interval",
    "Pair",
    "Task",
    "TfidfFloor",
    "load_task",
    "mrr",
    "paired_bootstrap",
    "percentiles",
    "ranks",
    "recall_at_k",
]
