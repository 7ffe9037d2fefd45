"""Quality: tasks with fixed splits, metrics as pure functions, and the floors to beat."""

from adtrie.evaluate.alpha import ALPHAS, Candidates, choose_alpha
from adtrie.evaluate.coverage import Coverage, coverage, covered
from adtrie.evaluate.creative_tasks import Brief, CreativeTask, load_creative_task
from adtrie.evaluate.floors import NearestQueryFloor, PopularityFloor, TfidfFloor
from adtrie.evaluate.metrics import Interval, mrr, paired_bootstrap, percentiles, ranks, recall_at_k
from adtrie.evaluate.tasks import Pair, Task, load_task
from adtrie.evaluate.text_metrics import bleu, distinct, mean_length, meteor, rouge_l

__all__ = [
    "ALPHAS",
    "Brief",
    "Candidates",
    "Coverage",
    "CreativeTask",
    "Interval",
    "NearestQueryFloor",
    "Pair",
    "PopularityFloor",
    "Task",
    "TfidfFloor",
    "bleu",
    "choose_alpha",
    "coverage",
    "covered",
    "distinct",
    "load_creative_task",
    "load_task",
    "mean_length",
    "meteor",
    "mrr",
    "paired_bootstrap",
    "percentiles",
    "ranks",
    "recall_at_k",
    "rouge_l",
]
