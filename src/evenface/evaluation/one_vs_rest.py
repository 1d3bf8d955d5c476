"""One-vs-rest classifiers by themselves: each class's own score at a threshold of 0.5.

With scores, as one-vs-all keeps them, the classifier of a class says yes where its score is 0.5 or more; several may
on a sample, or none. Without scores that of the predicted class says yes, and no other: one-vs-rest of the prediction.

The table of a class is a confusion matrix of two classes, rest and own: ``[[TN, FP], [FN, TP]]``.
"""

from collections.abc import Callable

import numpy as np

from evenface.evaluation import metrics
from evenface.evaluation.bootstrap import Units
from evenface.evaluation.metric_entry import metric
from evenface.evaluation.predictions import Predictions

THRESHOLD = 0.5


def fired(predictions: Predictions) -> np.ndarray:
    """Return which classes' own classifiers say yes to which samples, bool, shape (N, C)."""
    if predictions.scores is not None:
        return np.asarray(predictions.scores >= THRESHOLD)
    return np.asarray(predictions.predicted[:, None] == np.arange(len(predictions.classes)))


def unit_tables(predictions: Predictions, units: Units) -> np.ndarray:
    """Count the table of each class for each unit, float32, shape (U, C, 2, 2)."""
    c = len(predictions.classes)
    own = predictions.labels[:, None] == np.arange(c)
    stack = np.zeros((units.count, c, 2, 2), dtype=np.float32)
    np.add.at(stack, (units.codes[:, None], np.arange(c), own.astype(int), fired(predictions).astype(int)), 1)
    return stack


def mean(values: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """Average over the classes that are present in the truth, leaving out what is not defined: (..., C) -> (...)."""
    return metrics.mean_over(values, (tables[..., 1, :].sum(axis=-1) > 0).astype(np.float64))


def _register(name: str, label: str, of_class: Callable[[np.ndarray], np.ndarray], summary: str) -> None:
    """Register a metric of each class's table and, without the prefix ``class_``, its mean over classes."""

    def each(tables: np.ndarray) -> np.ndarray:
        return of_class(tables)

    def averaged(tables: np.ndarray) -> np.ndarray:
        return mean(of_class(tables), tables)

    each.__doc__ = f"{summary} of the one-vs-rest classifier of each class, whose score is cut at 0.5."
    averaged.__doc__ = f"Macro mean of `class_{name}` over the classes present in the truth."
    each.__qualname__, averaged.__qualname__ = f"class_{name}", name
    metric(
        f"class_{name}",
        label=f"class {label}",
        higher_is_better=True,
        range=(0, 1),
        needs="one_vs_rest",
        per_class=True,
    )(each)
    metric(name, label=label, higher_is_better=True, range=(0, 1), needs="one_vs_rest", mean_of=f"class_{name}")(
        averaged
    )


_register("detector_accuracy", "detector accuracy", metrics.accuracy, "Accuracy, true negatives included,")
_register("detector_precision", "detector precision", lambda tables: metrics.precision(tables)[..., 1], "Precision")
_register("detector_recall", "detector recall", lambda tables: metrics.recall(tables)[..., 1], "Recall")
_register("detector_f1", "detector F1", lambda tables: metrics.f1(tables)[..., 1], "F1")
_register(
    "detector_specificity", "detector specificity", lambda tables: metrics.specificity(tables)[..., 1], "Specificity"
)
