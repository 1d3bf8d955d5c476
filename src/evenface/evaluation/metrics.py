"""Metrics of a confusion matrix, all of them vectorised over any number of leading axes.

A confusion matrix has the shape ``(..., C, C)``: rows are the true class, columns the predicted one. A bootstrap
is a stack of such matrices, so each function here serves the value and its interval alike.

What is not defined is NaN, never zero: the recall of a class without samples, the precision of a class that was
never predicted. Means over classes run over the classes *present in the truth*, and skip what is not defined.
A class that is present but never predicted has F1 = 0 (it is defined: 2TP + FP + FN > 0) and no precision; the
mean precision is over the other classes, which the report says whenever it happens.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

Metric = Callable[[np.ndarray], np.ndarray]


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Count samples by true class (rows) and predicted class (columns), int64, shape (C, C)."""
    flat = np.bincount(labels * n_classes + predicted, minlength=n_classes * n_classes)
    matrix: np.ndarray = np.reshape(flat, (n_classes, n_classes))
    return matrix


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide; NaN where the denominator is zero."""
    top, bottom = np.broadcast_arrays(np.asarray(numerator, dtype=np.float64), np.asarray(denominator, np.float64))
    ratio = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=ratio, where=bottom != 0)
    return ratio


def support(confusion: np.ndarray) -> np.ndarray:
    """Count the samples of each true class, shape (..., C)."""
    counts: np.ndarray = np.sum(confusion, axis=-1)
    return counts


def _parts(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """TP, FP, FN, TN of each class against the rest, each of shape (..., C)."""
    tp = np.diagonal(confusion, axis1=-2, axis2=-1)
    fp = confusion.sum(axis=-2) - tp
    fn = confusion.sum(axis=-1) - tp
    return tp, fp, fn, confusion.sum(axis=(-2, -1))[..., None] - tp - fp - fn


def macro(values: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """Mean over the classes present in the truth; a value that is not defined is left out. Shape (...)."""
    return _mean(values, (support(confusion) > 0).astype(np.float64))


def weighted(values: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """Mean weighted by the samples of each true class; a value that is not defined is left out. Shape (...)."""
    return _mean(values, support(confusion).astype(np.float64))


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    weights = weights * known
    return divide((np.where(known, values, 0) * weights).sum(axis=-1), weights.sum(axis=-1))


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """Share of samples given their true class, over all classes. Shape (...)."""
    return divide(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum(axis=(-2, -1)))


def recall(confusion: np.ndarray) -> np.ndarray:
    """TP / (TP + FN) per class (p1 eq 9), which is also PD, the probability of detection (p1 eq 11)."""
    tp, _, fn, _ = _parts(confusion)
    return divide(tp, tp + fn)


def precision(confusion: np.ndarray) -> np.ndarray:
    """TP / (TP + FP) per class (p1 eq 8); NaN for a class that was never predicted."""
    tp, fp, _, _ = _parts(confusion)
    return divide(tp, tp + fp)


def f1(confusion: np.ndarray) -> np.ndarray:
    """2TP / (2TP + FP + FN) per class (p1 eq 10); NaN for a class absent from the truth."""
    tp, fp, fn, _ = _parts(confusion)
    return np.where(tp + fn > 0, divide(2 * tp, 2 * tp + fp + fn), np.nan)


def specificity(confusion: np.ndarray) -> np.ndarray:
    """TN / (TN + FP) per class: the share of the other classes' samples kept out of it."""
    _, fp, _, tn = _parts(confusion)
    return divide(tn, tn + fp)


def false_alarm(confusion: np.ndarray) -> np.ndarray:
    """PF, the probability of a false alarm: FP / (FP + TN) per class (p1 eq 12)."""
    _, fp, _, tn = _parts(confusion)
    return divide(fp, fp + tn)


def balance(confusion: np.ndarray) -> np.ndarray:
    """1 - sqrt(PF^2 + (1 - PD)^2) / sqrt 2 per class (p1 eq 13): 1 is perfect, 0 is wrong on every sample."""
    bal: np.ndarray = 1 - np.hypot(false_alarm(confusion), 1 - recall(confusion)) / np.sqrt(2)
    return bal


def accuracy_one_vs_rest(confusion: np.ndarray) -> np.ndarray:
    """(TP + TN) / all, per class: p1 eq 7 taken literally.

    True negatives of the other classes count as successes, so it is high for a rare class even if that class is
    never found. It is not the accuracy of the model; see :func:`accuracy`.
    """
    tp, fp, fn, tn = _parts(confusion)
    return divide(tp + tn, tp + fp + fn + tn)


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Mean recall over the classes present in the truth. Shape (...)."""
    return macro(recall(confusion), confusion)


def macro_precision(confusion: np.ndarray) -> np.ndarray:
    """Mean precision over the classes that are present and were predicted at least once. Shape (...)."""
    return macro(precision(confusion), confusion)


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes present in the truth. Shape (...)."""
    return macro(f1(confusion), confusion)


def mcc(confusion: np.ndarray) -> np.ndarray:
    """Matthews correlation coefficient for several classes, -1 to 1; NaN if truth or prediction is one class.

    References
    ----------
    Gorodkin, *Comparing two K-category assignments by a K-category correlation coefficient*, 2004, eq. 8.
    """
    matrix = np.asarray(confusion, dtype=np.float64)
    truth, guess, n = matrix.sum(axis=-1), matrix.sum(axis=-2), matrix.sum(axis=(-2, -1))
    joint = np.trace(matrix, axis1=-2, axis2=-1) * n - (truth * guess).sum(axis=-1)
    spread = (n**2 - (truth**2).sum(axis=-1)) * (n**2 - (guess**2).sum(axis=-1))
    return divide(joint, np.sqrt(spread))


def kappa(confusion: np.ndarray) -> np.ndarray:
    """Cohen's kappa, unweighted: agreement beyond chance; NaN where chance alone agrees always."""
    matrix = np.asarray(confusion, dtype=np.float64)
    n = matrix.sum(axis=(-2, -1))
    chance = divide((matrix.sum(axis=-1) * matrix.sum(axis=-2)).sum(axis=-1), n**2)
    return divide(accuracy(matrix) - chance, 1 - chance)


def _levels(confusion: np.ndarray, levels: Sequence[float] | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrix as float64, and the value of each row, shape (C, 1), and of each column, shape (C,)."""
    matrix = np.asarray(confusion, dtype=np.float64)
    place = np.arange(matrix.shape[-1], dtype=np.float64) if levels is None else np.asarray(levels, dtype=np.float64)
    return matrix, place[:, None], place


def mean_absolute_error(confusion: np.ndarray, levels: Sequence[float] | None = None) -> np.ndarray:
    """Mean distance between the values of predicted and true class, 0 to C - 1 by default. Shape (...)."""
    matrix, truth, guess = _levels(confusion, levels)
    return divide((matrix * np.abs(truth - guess)).sum(axis=(-2, -1)), matrix.sum(axis=(-2, -1)))


def quadratic_weighted_kappa(confusion: np.ndarray) -> np.ndarray:
    """Cohen's kappa for levels, a confusion weighing the square of its distance, -1 to 1. Shape (...).

    NaN where chance alone agrees always.

    References
    ----------
    Cohen, *Weighted kappa: nominal scale agreement with provision for scaled disagreement or partial credit*,
    Psychological Bulletin 1968.
    """
    matrix, truth, guess = _levels(confusion)
    weights = (truth - guess) ** 2
    chance = matrix.sum(axis=-1)[..., :, None] * matrix.sum(axis=-2)[..., None, :]
    seen, expected = ((weights * counts).sum(axis=(-2, -1)) for counts in (matrix, chance))
    return 1 - divide(seen * matrix.sum(axis=(-2, -1)), expected)


def icc_3_1(confusion: np.ndarray, levels: Sequence[float] | None = None) -> np.ndarray:
    """Intraclass correlation ICC(3,1) of the values of true and predicted class, -1 to 1. Shape (...).

    Two-way mixed, single rating, consistency, with truth and prediction as the two raters. With two raters
    (BMS - EMS) / (BMS + EMS) is 2 cov(t, p) / (var t + var p). A constant shift of all predictions costs nothing.
    NaN where neither the truth nor the prediction varies.

    References
    ----------
    Shrout and Fleiss, *Intraclass correlations: uses in assessing rater reliability*, Psychological Bulletin 1979.
    """
    matrix, truth, guess = _levels(confusion, levels)
    share = divide(matrix, matrix.sum(axis=(-2, -1), keepdims=True))
    t, g = ((share * level).sum(axis=(-2, -1), keepdims=True) for level in (truth, guess))
    covariance = (share * (truth - t) * (guess - g)).sum(axis=(-2, -1))
    variances = (share * ((truth - t) ** 2 + (guess - g) ** 2)).sum(axis=(-2, -1))
    return divide(2 * covariance, variances)


def averaged(metric: Metric, mean: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Metric:
    """Turn a per-class metric into its mean over classes; ``mean`` is :func:`macro` or :func:`weighted`."""
    return lambda confusion: mean(metric(confusion), confusion)


PER_CLASS: dict[str, Metric] = {
    "recall": recall,
    "precision": precision,
    "f1": f1,
    "specificity": specificity,
    "pf": false_alarm,
    "balance": balance,
    "accuracy_one_vs_rest": accuracy_one_vs_rest,
}

OVERALL: dict[str, Metric] = {
    "balanced_accuracy": balanced_accuracy,
    "accuracy": accuracy,
    "macro_recall": balanced_accuracy,
    "macro_precision": macro_precision,
    "macro_f1": macro_f1,
    "macro_specificity": averaged(specificity, macro),
    "macro_pd": averaged(recall, macro),
    "macro_pf": averaged(false_alarm, macro),
    "macro_balance": averaged(balance, macro),
    "weighted_precision": averaged(precision, weighted),
    "weighted_recall": averaged(recall, weighted),
    "weighted_f1": averaged(f1, weighted),
    "weighted_specificity": averaged(specificity, weighted),
    "weighted_pd": averaged(recall, weighted),
    "weighted_pf": averaged(false_alarm, weighted),
    "weighted_balance": averaged(balance, weighted),
    "macro_accuracy_one_vs_rest": averaged(accuracy_one_vs_rest, macro),
    "weighted_accuracy_one_vs_rest": averaged(accuracy_one_vs_rest, weighted),
    "mcc": mcc,
    "kappa": kappa,
}

ORDERED: dict[str, Metric] = {
    "mae": mean_absolute_error,
    "qwk": quadratic_weighted_kappa,
    "icc": icc_3_1,
}
"""Metrics of classes that are steps of one scale; see :attr:`~evenface.evaluation.predictions.Predictions.ordered`."""


def ordered(levels: Sequence[float] | None) -> dict[str, Metric]:
    """Return :data:`ORDERED` for levels of these values; quadratic kappa weighs by the number of levels between."""
    valued = {"mae": partial(mean_absolute_error, levels=levels), "icc": partial(icc_3_1, levels=levels)}
    return ORDERED | valued


CLIP = "clip_"
"""Begins the name of a metric that is measured after the samples of each clip are joined."""

DETECTOR = "detector_"
"""Begins the name of a metric of detectors, each of one class against the rest."""

LOWER_IS_BETTER = frozenset(
    ("mae", "expected_mae", "rmse", "pf", "macro_pf", "weighted_pf", "log_loss", "brier", "ece", "training_seconds")
)


def lower_is_better(name: str) -> bool:
    """Whether a smaller value of this metric is the better one."""
    return name.removeprefix(CLIP) in LOWER_IS_BETTER


AGREEMENTS = frozenset(("mcc", "kappa", "qwk", "icc", "pearson", "ccc", "icc_3_1", "icc_2_1"))
"""Metrics from -1 to 1."""
AREAS = ("average_precision", "roc_auc")
"""Areas under curves of each class against the rest."""


def limits(name: str) -> tuple[float, float]:
    """Smallest and largest value that a metric can have; infinite where that is not known."""
    bare = name.removeprefix(CLIP).removeprefix(DETECTOR)
    if bare in AGREEMENTS:
        return -1.0, 1.0
    shares = bare in PER_CLASS or bare in OVERALL or bare.removeprefix("macro_") in AREAS or bare == "ece"
    if bare in LOWER_IS_BETTER and not shares:
        return 0.0, math.inf
    return (0.0, 1.0) if shares else (-math.inf, math.inf)
