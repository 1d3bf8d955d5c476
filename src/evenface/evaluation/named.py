"""Metrics by name: what a study may ask of predictions, sample by sample or clip by clip."""

import numpy as np

from evenface.evaluation import detectors, metrics, scores
from evenface.evaluation.continuous import CONTINUOUS, unit_moments
from evenface.evaluation.intervals import Units
from evenface.evaluation.metrics import AREAS, CLIP
from evenface.evaluation.predictions import Predictions

SCORES = ("log_loss", "brier", "ece", *(f"macro_{area}" for area in AREAS))
"""Metrics of the probabilities."""
ONE_VALUE = (*metrics.OVERALL, *metrics.ORDERED, *CONTINUOUS, *SCORES, *detectors.DETECTORS)
NAMED = (*ONE_VALUE, *(CLIP + name for name in ONE_VALUE))
"""Metrics of one value that :func:`measured` knows."""
PER_CLASS = (*metrics.PER_CLASS, *AREAS, *(detectors.EACH + name for name in detectors.DETECTORS))
"""Metrics of one value for each class that :func:`measured_each` knows."""


def measured(name: str, predictions: Predictions) -> float:
    """Compute a metric by its name.

    Parameters
    ----------
    name : str
        One of :data:`NAMED`. With ``clip_`` before it, the samples of each clip are joined first, by
        :meth:`~evenface.evaluation.predictions.Predictions.by_clip`.
    predictions : Predictions
        What a model said.

    Returns
    -------
    float
        NaN where the metric is not defined: one of levels where classes are not ordered, one by clip where clips are
        not known, or where the samples of a clip differ in label or subject.

    Examples
    --------
    >>> labels, p = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]])
    >>> given = Predictions(np.array(["a", "b", "c"]), None, labels, p, ("calm", "pain"), np.array(["A", "B", "B"]))
    >>> round(measured("accuracy", given), 3), measured("clip_accuracy", given)
    (0.667, 0.5)
    """
    if name.startswith(CLIP):
        if predictions.clip is None or predictions.mixed is not None:
            return float("nan")
        return measured(name.removeprefix(CLIP), predictions.by_clip())
    p, labels = predictions.probabilities, predictions.labels
    if name == "log_loss":
        return float(scores.log_loss(p, labels).mean())
    if name == "brier":
        return float(scores.brier(p, labels).mean())
    if name == "ece":
        bins = scores.reliability(p.max(axis=1), predictions.predicted == labels)
        return float(scores.expected_calibration_error(bins))
    if name in CONTINUOUS:
        if not predictions.ordered:
            return float("nan")
        moments = unit_moments(predictions, Units(np.zeros(len(predictions), dtype=np.int64), 1, "samples"))
        return float(CONTINUOUS[name](moments[0]))
    if name.removeprefix("macro_") in AREAS:
        areas = measured_each(name.removeprefix("macro_"), predictions)[predictions.support > 0]
        known = areas[~np.isnan(areas)]
        return float(known.mean()) if len(known) else float("nan")
    if name in detectors.DETECTORS:
        return detectors.measured(name, predictions)
    matrix = metrics.confusion_matrix(labels, predictions.predicted, len(predictions.classes))
    return float((metrics.OVERALL | metrics.ordered(predictions.levels))[name](matrix))


def measured_each(name: str, predictions: Predictions) -> np.ndarray:
    """Compute a metric of :data:`PER_CLASS` for each class, shape (C,); NaN where it is not defined."""
    if name.startswith(detectors.EACH):
        return detectors.per_class(predictions)[name.removeprefix(detectors.EACH)]
    if name in AREAS:
        area = {"average_precision": scores.average_precision, "roc_auc": scores.roc_auc}[name]
        own = predictions.labels[:, None] == np.arange(len(predictions.classes))
        return np.array([area(yes, p) for yes, p in zip(own.T, predictions.probabilities.T, strict=True)], dtype=float)
    matrix = metrics.confusion_matrix(predictions.labels, predictions.predicted, len(predictions.classes))
    return metrics.PER_CLASS[name](matrix)
