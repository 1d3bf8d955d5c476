"""Metrics of targets that are no classes: per target and their macro mean, micro F1, and error by value bin."""

import math
from collections.abc import Callable

import numpy as np

from evenface.evaluation import metrics
from evenface.evaluation.metric_entry import metric
from evenface.evaluation.metrics import divide, mean_over
from evenface.evaluation.probability_metrics import average_precision, over_defined, roc_auc

MACRO = {"macro": over_defined}


def _of_tables(name: str, label: str, low: float, summary: str, function: Callable[[np.ndarray], np.ndarray]) -> None:
    """Register a metric of each target's table, and its macro mean."""

    def of_each(tables: np.ndarray) -> np.ndarray:
        return function(tables)

    of_each.__doc__, of_each.__qualname__ = summary, f"target_{name}"
    metric(
        f"target_{name}",
        label=label,
        task="multilabel",
        higher_is_better=True,
        range=(low, 1),
        needs="target_tables",
        per_class=True,
        averages=MACRO,
    )(of_each)


_of_tables(
    "f1", "F1", 0, "2TP / (2TP + FP + FN) of each target at its threshold; NaN for a target that is never "
    "present.", lambda tables: metrics.f1(tables)[..., 1],
)  # fmt: skip
_of_tables(
    "skew_normalized_f1", "skew-normalised F1", 0, "F1 of each target as if it were present in half of the "
    "samples: 2 TPR / (TPR + FPR + 1); Jeni et al. 2013.", lambda tables: metrics.skew_normalized_f1(tables)[..., 1],
)  # fmt: skip
_of_tables(
    "mcc", "Matthews correlation", -1, "Matthews correlation of each target at its threshold; NaN if truth "
    "or prediction does not vary.", metrics.mcc,
)  # fmt: skip
_of_tables(
    "balanced_accuracy", "balanced accuracy", 0, "Mean of recall and specificity of each target.",
    metrics.balanced_accuracy,
)  # fmt: skip
_of_tables(
    "recall", "recall", 0, "TP / (TP + FN) of each target at its threshold.",
    lambda tables: metrics.recall(tables)[..., 1],
)  # fmt: skip
_of_tables(
    "precision", "precision", 0, "TP / (TP + FP) of each target; NaN for a target that is never predicted.",
    lambda tables: metrics.precision(tables)[..., 1],
)  # fmt: skip


@metric(
    "micro_target_f1",
    label="micro F1",
    task="multilabel",
    higher_is_better=True,
    range=(0, 1),
    needs="target_tables",
)
def micro_f1(tables: np.ndarray) -> np.ndarray:
    """F1 of all targets together: 2TP / (2TP + FP + FN) of the summed tables, so that frequent targets count more."""
    return np.asarray(metrics.f1(tables.sum(axis=-3))[..., 1])


@metric(
    "target_roc_auc",
    label="ROC-AUC",
    task="multilabel",
    higher_is_better=True,
    range=(0, 1),
    needs="target_scores",
    per_class=True,
    averages=MACRO,
)
def target_roc_auc(present: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve of a target; NaN where it is always or never present."""
    return roc_auc(present, score, weights)


@metric(
    "target_average_precision",
    label="average precision",
    task="multilabel",
    higher_is_better=True,
    range=(0, 1),
    needs="target_scores",
    per_class=True,
    averages=MACRO,
)
def target_average_precision(present: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Average precision of a target, without interpolation; NaN where it is never present."""
    return average_precision(present, score, weights)


@metric(
    "macro_mae",
    label="MAE by level",
    task="regression",
    higher_is_better=False,
    range=(0, math.inf),
    needs="value_bins",
)
def macro_mean_absolute_error(bins: np.ndarray) -> np.ndarray:
    """Mean over the true levels, or 10 bins of true values, of the mean abs(z - t) there, so that rare values count.

    References
    ----------
    Baccianella, Esuli and Sebastiani, *Evaluation measures for ordinal regression*, ISDA 2009; as balanced MAE of
    continuous targets in Ren et al., *Balanced MSE for imbalanced visual regression*, CVPR 2022.
    """
    errors = divide(bins[..., 1], bins[..., 0])
    return mean_over(errors, np.ones(errors.shape[-1]))
