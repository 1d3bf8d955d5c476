"""Registry of metrics: every metric by name. New ones are written in metrics.py or probability_metrics.py."""

import math
import re
from collections.abc import Iterable

from evenface.data.manifest import TaskKind
from evenface.evaluation import metrics, probability_metrics, target_metrics
from evenface.evaluation.metric_entry import CLIP, METRICS, RENAMED, Metric, metric
from evenface.evaluation.target_predictions import AnyPredictions, TargetPredictions
from evenface.utils.errors import InputError
from evenface.utils.registry import nearest

__all__ = ["CLIP", "METRICS", "Metric", "find_metric", "known_direction", "metric", "metric_names"]

DEFINED_IN = (metrics, probability_metrics, target_metrics)
"""Modules whose import registers the metrics of the package."""
HEADLINE = ("balanced_accuracy", "accuracy", "macro_f1")
"""Metrics that reports and comparisons show first, above the table of all of them."""
TARGET_HEADLINE = {
    "multilabel": ("macro_target_average_precision", "macro_target_f1", "macro_target_roc_auc"),
    "regression": ("ccc", "expected_mae", "macro_mae"),
}
"""The same where targets are no classes; the first decides a comparison."""
OF_TARGETS = {"multilabel": ("target_tables", "target_scores"), "regression": ("moments", "value_bins")}
"""Inputs of the metrics that a task of targets has."""
ELSEWHERE = {
    **dict.fromkeys(("r2", "iou"), True),
    **dict.fromkeys(("loss", "error", "error_rate", "mse", "eer", "fpr", "fnr"), False),
}
"""Usual column names of metrics that are not computed here: whether higher is better."""


def find_metric(name: str) -> Metric:
    """Return the metric of a name; one of clips is that of the samples."""
    bare = name.removeprefix(CLIP)
    if bare not in METRICS:
        raise InputError(f"there is no metric {name!r}", unknown_metric(name, METRICS))
    return METRICS[bare]


def unknown_metric(name: str, known: Iterable[str]) -> str:
    """Return the hint for a name that is not known: its new name, or the nearest ones."""
    former = name.removeprefix(CLIP)
    if former in RENAMED:
        return f"{former} is now called {RENAMED[former]}."
    return nearest(name, known)


def metric_names(*, per_class: bool = False) -> tuple[str, ...]:
    """Return the names of all metrics of one value, by sample and by clip; or of those of each class."""
    names = tuple(name for name, entry in METRICS.items() if entry.per_class == per_class)
    scalar = () if per_class else tuple(CLIP + name for name in names if METRICS[name].needs != "run")
    return (*names, *scalar)


def is_per_class(name: str) -> bool:
    """Return whether a metric has a value for each class."""
    return name in METRICS and METRICS[name].per_class


def each_class(name: str) -> str | None:
    """Return the metric of each class whose macro mean a metric is; None where there is none."""
    return METRICS[name].mean_of if name in METRICS else None


def lower_is_better(name: str) -> bool:
    """Return whether a smaller value of a metric is better; False where the name is not known."""
    entry = METRICS.get(name.removeprefix(CLIP))
    return entry is not None and not entry.higher_is_better


def limits(name: str) -> tuple[float, float]:
    """Return the smallest and largest value of a metric; infinite where they are not known."""
    entry = METRICS.get(name.removeprefix(CLIP))
    return (-math.inf, math.inf) if entry is None else entry.range


def label(name: str) -> str:
    """Return a metric's name for readers.

    Examples
    --------
    >>> label("macro_f1"), label("clip_mae")
    ('macro F1', 'MAE by clip')
    """
    own = find_metric(name).label if name.removeprefix(CLIP) in METRICS else name.replace("_", " ")
    return f"{own} by clip" if name.startswith(CLIP) else own


def lower_note(names: Iterable[str]) -> str:
    """List the metrics that are better when lower; empty where there are none."""
    labels = [label(name) for name in names if lower_is_better(name)]
    return f"Lower is better: {'; '.join(labels)}." if labels else ""


def headline(predictions: AnyPredictions) -> tuple[str, ...]:
    """Return the metrics that are shown first of these predictions; the first decides a comparison."""
    return headline_of(predictions.task if isinstance(predictions, TargetPredictions) else "classification")


def headline_of(task: TaskKind) -> tuple[str, ...]:
    """Return the metrics of a task that are shown first; the first is the main one."""
    return TARGET_HEADLINE.get(task, HEADLINE)


def applies(entry: Metric, predictions: AnyPredictions) -> bool:
    """Return whether a metric is defined for these predictions."""
    if isinstance(predictions, TargetPredictions):
        return entry.task == predictions.task and entry.needs in OF_TARGETS[predictions.task]
    if entry.task == "multilabel":
        return False
    if entry.needs == "run" or (entry.task != "classification" and not predictions.ordered):
        return False
    if entry.needs == "one_vs_rest" and predictions.scores is None:
        return False
    if entry.needs == "training_counts" and predictions.training_counts is None:
        return False
    return entry.applies is None or entry.applies(predictions)


def reported(predictions: AnyPredictions, *, per_class: bool = False) -> list[Metric]:
    """Return the metrics that reports of these predictions have."""
    return [entry for entry in METRICS.values() if entry.per_class == per_class and applies(entry, predictions)]


def known_direction(column: str) -> bool | None:
    """Return whether higher values of a metric are better, from its name or label; None where the name is not known.

    Case, hyphens and blanks do not matter, nor does a split named before it, such as ``test_`` or ``val_``.

    Examples
    --------
    >>> known_direction("Balanced accuracy"), known_direction("val_log_loss"), known_direction("yield")
    (True, False, None)
    """
    known = ELSEWHERE | {
        _plain(name): entry.higher_is_better
        for entry in METRICS.values()
        for name in (entry.name, entry.label, *entry.aliases)
    }
    plain = _plain(column)
    bare = re.sub(rf"^((test|val|valid|validation|train|training|class|{CLIP[:-1]})_)+", "", plain)
    return next((known[name] for name in (plain, bare, bare.removesuffix("_by_clip")) if name in known), None)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().lower())
