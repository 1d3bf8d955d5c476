"""Metrics by name: what a study may ask of predictions, sample by sample or clip by clip."""

import numpy as np

from evenface.evaluation import detectors, metrics, scores
from evenface.evaluation.metrics import CLIP
from evenface.evaluation.predictions import Predictions

SCORES = ("log_loss", "brier", "ece", "macro_average_precision", "expected_mae")
"""Metrics of the probabilities."""
ONE_VALUE = (*metrics.OVERALL, *metrics.ORDERED, *SCORES, *detectors.DETECTORS)
NAMED = (*ONE_VALUE, *(CLIP + name for name in ONE_VALUE))
"""Metrics of one value that :func:`measured` knows."""
PER_CLASS = (*metrics.PER_CLASS, *(detectors.EACH + name for name in detectors.DETECTORS))
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
        NaN where the metric is not defined; one by clip is not where clips are not known, or where the samples of a
        clip differ in label or subject.

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
    if name == "expected_mae":
        return float(scores.expected_level_error(p, labels).mean())
    if name == "macro_average_precision":
        areas = [scores.average_precision(labels == k, p[:, k]) for k in range(p.shape[1])]
        return float(np.nanmean(areas))
    if name in detectors.DETECTORS:
        return detectors.measured(name, predictions)
    matrix = metrics.confusion_matrix(labels, predictions.predicted, len(predictions.classes))
    return float((metrics.OVERALL | metrics.ORDERED)[name](matrix))


def measured_each(name: str, predictions: Predictions) -> np.ndarray:
    """Compute a metric of :data:`PER_CLASS` for each class, shape (C,); NaN where it is not defined."""
    if name.startswith(detectors.EACH):
        return detectors.per_class(predictions)[name.removeprefix(detectors.EACH)]
    matrix = metrics.confusion_matrix(predictions.labels, predictions.predicted, len(predictions.classes))
    return metrics.PER_CLASS[name](matrix)
