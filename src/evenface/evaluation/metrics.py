"""Metrics of sums over samples: confusion matrices, one-vs-rest tables, moments of a continuous output.

All functions are vectorised over leading axes, so that a function of one matrix also takes a stack of bootstrap draws.
A confusion matrix has the shape ``(..., C, C)``: rows are the true class, columns the predicted one. A one-vs-rest
table of a class is ``[[TN, FP], [FN, TP]]``. Moments are the eight sums of
:func:`evenface.evaluation.bootstrap.unit_moments`.

Undefined values are NaN, not zero: the recall of a class without samples, the precision of a class that was never
predicted. Means over classes are over the classes *present in the truth*, as in scikit-learn's balanced accuracy, and
skip undefined values. A class that is present but never predicted has F1 = 0 (2TP + FP + FN > 0) and no precision; the
mean precision is then over the other classes, and the report notes it.

Each metric is one entry of the registry; see :func:`evenface.evaluation.metric_entry.metric` to add one.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from evenface.evaluation.metric_entry import metric

if TYPE_CHECKING:
    from evenface.evaluation.predictions import Predictions

MANY_SHOT, FEW_SHOT = 100, 20
"""Classes with more training samples than the first are many-shot, with fewer than the second few-shot, the rest
medium-shot (Liu et al., *Large-scale long-tailed recognition in an open world*, CVPR 2019)."""


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
    return _totals(confusion)[1]


def _parts(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """TP, FP, FN, TN of each class against the rest, each of shape (..., C)."""
    tp, true, predicted, total = _totals(confusion)
    fp, fn = predicted - tp, true - tp
    return tp, fp, fn, total - tp - fp - fn


def _totals(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Diagonal, row sums and column sums, each of shape (..., C), and the sum of all, shape (..., 1)."""
    matrix = np.asarray(confusion)
    c = matrix.shape[-1]
    # one product: NumPy's own sums over so short an axis take most of the time of a bootstrap
    sums = matrix.reshape(*matrix.shape[:-2], c * c) @ _summing(c, matrix.dtype)
    return sums[..., :c], sums[..., c : 2 * c], sums[..., 2 * c : 3 * c], sums[..., 3 * c :]


@lru_cache(maxsize=64)
def _summing(c: int, dtype: np.dtype[Any]) -> np.ndarray:
    """Matrix (C * C, 3 C + 1) that turns the cells of a confusion matrix into what :func:`_totals` returns."""
    eye, ones = np.eye(c), np.ones((c, 1))
    columns = [np.eye(c * c)[:, :: c + 1], np.kron(eye, ones), np.kron(ones, eye), np.ones((c * c, 1))]
    return np.hstack(columns).astype(dtype)


def macro(values: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """Average over the classes present in the truth; a value that is not defined is left out. Shape (...)."""
    return mean_over(values, (support(confusion) > 0).astype(np.float64))


def weighted(values: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """Average weighted by the samples of each true class; a value that is not defined is left out. Shape (...)."""
    return mean_over(values, support(confusion).astype(np.float64))


def mean_over(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average over the last axis by weights; a value that is not defined is left out."""
    known = ~np.isnan(values)
    weights = weights * known
    return divide((np.where(known, values, 0) * weights).sum(axis=-1), weights.sum(axis=-1))


BOTH = {"macro": macro, "weighted": weighted}
"""Means over classes, for ``averages`` of a metric of each class."""


@metric(
    "balanced_accuracy",
    label="balanced accuracy",
    higher_is_better=True,
    range=(0, 1),
    mean_of="recall",
    aliases=("bal_acc", "uar"),
)
def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Mean recall over the classes present in the truth. Shape (...)."""
    return macro(recall(confusion), confusion)


@metric("accuracy", label="accuracy", higher_is_better=True, range=(0, 1), aliases=("acc", "war"))
def accuracy(confusion: np.ndarray) -> np.ndarray:
    """Share of samples given their true class, over all classes. Shape (...)."""
    return divide(np.trace(confusion, axis1=-2, axis2=-1), _totals(confusion)[3][..., 0])


@metric(
    "recall",
    label="recall",
    higher_is_better=True,
    range=(0, 1),
    per_class=True,
    averages=BOTH,
    interval="proportion",
)
def recall(confusion: np.ndarray) -> np.ndarray:
    """TP / (TP + FN) per class (p1 eq 9), which is also PD, the probability of detection (p1 eq 11)."""
    tp, _, fn, _ = _parts(confusion)
    return divide(tp, tp + fn)


@metric("precision", label="precision", higher_is_better=True, range=(0, 1), per_class=True, averages=BOTH)
def precision(confusion: np.ndarray) -> np.ndarray:
    """TP / (TP + FP) per class (p1 eq 8); NaN for a class that was never predicted."""
    tp, fp, _, _ = _parts(confusion)
    return divide(tp, tp + fp)


@metric("f1", label="F1", higher_is_better=True, range=(0, 1), per_class=True, averages=BOTH)
def f1(confusion: np.ndarray) -> np.ndarray:
    """2TP / (2TP + FP + FN) per class (p1 eq 10); NaN for a class absent from the truth."""
    tp, fp, fn, _ = _parts(confusion)
    return np.where(tp + fn > 0, divide(2 * tp, 2 * tp + fp + fn), np.nan)


@metric("specificity", label="specificity", higher_is_better=True, range=(0, 1), per_class=True, averages=BOTH)
def specificity(confusion: np.ndarray) -> np.ndarray:
    """TN / (TN + FP) per class: the share of the other classes' samples kept out of it."""
    _, fp, _, tn = _parts(confusion)
    return divide(tn, tn + fp)


@metric("macro_pd", label="macro PD", higher_is_better=True, range=(0, 1), mean_of="recall")
def macro_pd(confusion: np.ndarray) -> np.ndarray:
    """Macro mean of PD, the probability of detection (p1 eq 11), which is recall."""
    return macro(recall(confusion), confusion)


@metric("weighted_pd", label="weighted PD", higher_is_better=True, range=(0, 1))
def weighted_pd(confusion: np.ndarray) -> np.ndarray:
    """Weighted mean of PD, the probability of detection (p1 eq 11), which is recall."""
    return weighted(recall(confusion), confusion)


@metric("pf", label="PF", higher_is_better=False, range=(0, 1), per_class=True, averages=BOTH)
def false_alarm(confusion: np.ndarray) -> np.ndarray:
    """PF, the probability of a false alarm: FP / (FP + TN) per class (p1 eq 12)."""
    _, fp, _, tn = _parts(confusion)
    return divide(fp, fp + tn)


@metric(
    "pd_pf_balance",
    label="PD/PF balance",
    higher_is_better=True,
    range=(0, 1),
    per_class=True,
    averages=BOTH,
    formerly="balance",
)
def pd_pf_balance(confusion: np.ndarray) -> np.ndarray:
    """1 - sqrt(PF² + (1 - PD)²) / sqrt 2 per class (p1 eq 13): 1 is perfect, 0 is wrong on every sample."""
    bal: np.ndarray = 1 - np.hypot(false_alarm(confusion), 1 - recall(confusion)) / np.sqrt(2)
    return bal


@metric(
    "accuracy_one_vs_rest",
    label="accuracy one-vs-rest",
    higher_is_better=True,
    range=(0, 1),
    per_class=True,
    averages=BOTH,
)
def accuracy_one_vs_rest(confusion: np.ndarray) -> np.ndarray:
    """(TP + TN) / all, per class (p1 eq 7); high for every rare class, as true negatives of the others count.

    It is not the accuracy of the model; see :func:`accuracy`.
    """
    tp, fp, fn, tn = _parts(confusion)
    return divide(tp + tn, tp + fp + fn + tn)


@metric(
    "skew_normalized_f1",
    label="skew-normalised F1",
    higher_is_better=True,
    range=(0, 1),
    per_class=True,
    averages=BOTH,
)
def skew_normalized_f1(confusion: np.ndarray) -> np.ndarray:
    """F1 of each class as if it had as many samples as the rest: 2 TPR / (TPR + FPR + 1); Jeni et al. 2013.

    The negatives are scaled by the skew, negatives over positives, so that the value does not depend on how rare a
    class is. NaN where a class, or everything else, is absent from the truth.

    References
    ----------
    Jeni, Cohn and De la Torre, *Facing imbalanced data: recommendations for the use of performance metrics*, ACII 2013.
    """
    tpr, fpr = recall(confusion), false_alarm(confusion)
    return divide(2 * tpr, tpr + fpr + 1)


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes present in the truth. Shape (...)."""
    return macro(f1(confusion), confusion)


@metric("g_mean", label="geometric mean of recalls", higher_is_better=True, range=(0, 1), aliases=("gmean", "g-mean"))
def g_mean(confusion: np.ndarray) -> np.ndarray:
    """Geometric mean of the recall of the classes present in the truth; 0 where one of these recalls is 0.

    Classes absent from the truth are skipped, as in balanced accuracy; NaN only where there is no sample. On test sets
    where every predicted class has samples that is ``imblearn.metrics.geometric_mean_score``, which returns 0 where a
    class without samples is predicted.

    References
    ----------
    Kubat and Matwin, *Addressing the curse of imbalanced training sets: one-sided selection*, ICML 1997;
    of several classes: Sun, Kamel and Wang, *Boosting for learning multiple classes with imbalanced class
    distribution*, ICDM 2006.
    """
    recalls = recall(confusion)
    present = ~np.isnan(recalls)
    count = present.sum(axis=-1)
    mean: np.ndarray = np.prod(np.where(present, recalls, 1.0), axis=-1) ** (1 / np.maximum(count, 1))
    return np.where(count > 0, mean, np.nan)


def _shot_accuracy(group: str, meaning: str, members: Callable[[np.ndarray], np.ndarray]) -> None:
    """Register the accuracy over the samples of the classes that ``members`` selects by their training samples."""

    def has_members(predictions: "Predictions") -> bool:
        return bool(members(np.array(predictions.training_counts)).any())

    def accuracy_of_group(confusion: np.ndarray, training_counts: np.ndarray) -> np.ndarray:
        chosen = members(np.asarray(training_counts))
        hits = np.diagonal(confusion, axis1=-2, axis2=-1)
        return divide(hits[..., chosen].sum(-1), support(confusion)[..., chosen].sum(-1))

    accuracy_of_group.__doc__ = (
        f"Accuracy over the samples of classes with {meaning} training samples (Liu et al. 2019)."
    )
    metric(
        f"{group}_shot_accuracy",
        label=f"{group}-shot accuracy",
        higher_is_better=True,
        range=(0, 1),
        needs="training_counts",
        applies=has_members,
    )(accuracy_of_group)


_shot_accuracy("many", f"more than {MANY_SHOT}", lambda counts: counts > MANY_SHOT)
_shot_accuracy("medium", f"{FEW_SHOT} to {MANY_SHOT}", lambda counts: (counts >= FEW_SHOT) & (counts <= MANY_SHOT))
_shot_accuracy("few", f"fewer than {FEW_SHOT}", lambda counts: counts < FEW_SHOT)


@metric("mcc", label="Matthews correlation", higher_is_better=True, range=(-1, 1))
def mcc(confusion: np.ndarray) -> np.ndarray:
    """Matthews correlation coefficient for several classes; NaN if truth or prediction is one class.

    References
    ----------
    Gorodkin, *Comparing two K-category assignments by a K-category correlation coefficient*, 2004, eq. 8.
    """
    matrix = np.asarray(confusion, dtype=np.float64)
    truth, guess, n = matrix.sum(axis=-1), matrix.sum(axis=-2), matrix.sum(axis=(-2, -1))
    joint = np.trace(matrix, axis1=-2, axis2=-1) * n - (truth * guess).sum(axis=-1)
    spread = (n**2 - (truth**2).sum(axis=-1)) * (n**2 - (guess**2).sum(axis=-1))
    return divide(joint, np.sqrt(spread))


@metric("kappa", label="Cohen's kappa", higher_is_better=True, range=(-1, 1))
def kappa(confusion: np.ndarray) -> np.ndarray:
    """Cohen's kappa, unweighted: agreement beyond chance; NaN where chance alone agrees always."""
    matrix = np.asarray(confusion, dtype=np.float64)
    n = matrix.sum(axis=(-2, -1))
    chance = divide((matrix.sum(axis=-1) * matrix.sum(axis=-2)).sum(axis=-1), n**2)
    return divide(accuracy(matrix) - chance, 1 - chance)


def _levels(confusion: np.ndarray, levels: Sequence[float] | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrix as float64, and the value of each row, shape (C, 1), and of each column, shape (C,)."""
    matrix = np.asarray(confusion, dtype=np.float64)
    values = np.arange(matrix.shape[-1], dtype=np.float64) if levels is None else np.asarray(levels, dtype=np.float64)
    return matrix, values[:, None], values


@metric(
    "mae",
    label="MAE",
    task="ordinal",
    higher_is_better=False,
    range=(0, math.inf),
    needs="levels",
    aliases=("mean absolute error",),
)
def mean_absolute_error(confusion: np.ndarray, levels: Sequence[float] | None = None) -> np.ndarray:
    """Mean of abs(g - t), the values of predicted and true class, which are 0 to C - 1 by default."""
    matrix, truth, guess = _levels(confusion, levels)
    return divide((matrix * np.abs(truth - guess)).sum(axis=(-2, -1)), matrix.sum(axis=(-2, -1)))


@metric("qwk", label="quadratic kappa", task="ordinal", higher_is_better=True, range=(-1, 1))
def quadratic_weighted_kappa(confusion: np.ndarray) -> np.ndarray:
    """Cohen's kappa with quadratic weights of the distance in levels; NaN where chance alone agrees always.

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


@metric("icc", label="ICC(3,1)", task="ordinal", higher_is_better=True, range=(-1, 1), needs="levels")
def icc_3_1(confusion: np.ndarray, levels: Sequence[float] | None = None) -> np.ndarray:
    """ICC(3,1) of the values of true and predicted class, 2 cov(t, g) / (var t + var g).

    Two-way mixed, single rating, consistency, with truth and prediction as the two raters: with two raters
    (BMS - EMS) / (BMS + EMS) is the above. A constant shift of all predictions costs nothing. NaN where neither the
    truth nor the prediction varies.

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


@metric(
    "training_seconds",
    label="training seconds",
    higher_is_better=False,
    range=(0, math.inf),
    needs="run",
)
def training_seconds(facts: "dict[str, float]") -> float:
    """Seconds that training took."""
    return float(facts.get("training_seconds", math.nan))


EPSILON = 1e-12
"""Variances below this share of the mean square are rounding."""


@metric(
    "expected_mae",
    label="MAE (continuous)",
    task="regression",
    higher_is_better=False,
    range=(0, math.inf),
    needs="moments",
)
def expected_mae(moments: np.ndarray) -> np.ndarray:
    """Mean of abs(z - t), in the unit of the levels."""
    return divide(moments[..., 6], moments[..., 0])


@metric(
    "rmse",
    label="RMSE (continuous)",
    task="regression",
    higher_is_better=False,
    range=(0, math.inf),
    needs="moments",
)
def root_mean_squared_error(moments: np.ndarray) -> np.ndarray:
    """Root of the mean of (z - t)², in the unit of the levels."""
    return np.asarray(np.sqrt(divide(moments[..., 7], moments[..., 0])))


@metric(
    "pearson",
    label="Pearson (continuous)",
    task="regression",
    higher_is_better=True,
    range=(-1, 1),
    needs="moments",
    aliases=("pcc", "pearson correlation"),
)
def pearson(moments: np.ndarray) -> np.ndarray:
    """Pearson correlation, cov(t, z) / √(var t · var z); NaN where either is constant."""
    _, t, z, covariance = _spread(moments)
    return divide(covariance, np.sqrt(t * z)).clip(-1, 1)


@metric("ccc", label="CCC (continuous)", task="regression", higher_is_better=True, range=(-1, 1), needs="moments")
def concordance(moments: np.ndarray) -> np.ndarray:
    """Concordance correlation coefficient, 2 cov(t, z) / (var t + var z + (mean t - mean z)²).

    Variances are over n. NaN where neither varies and both have the same mean.

    References
    ----------
    Lin, *A concordance correlation coefficient to evaluate reproducibility*, Biometrics 1989.
    """
    shift, t, z, covariance = _spread(moments)
    return divide(2 * covariance, t + z + shift**2)


@metric(
    "icc_3_1", label="ICC(3,1) (continuous)", task="regression", higher_is_better=True, range=(-1, 1), needs="moments"
)
def expected_icc_3_1(moments: np.ndarray) -> np.ndarray:
    """ICC(3,1), 2 cov(t, z) / (var t + var z): two-way mixed, single, consistency (Shrout and Fleiss 1979)."""
    _, t, z, covariance = _spread(moments)
    return divide(2 * covariance, t + z)


@metric(
    "icc_2_1", label="ICC(2,1) (continuous)", task="regression", higher_is_better=True, range=(-1, 1), needs="moments"
)
def expected_icc_2_1(moments: np.ndarray) -> np.ndarray:
    """ICC(2,1): two-way random, single, absolute agreement (Shrout and Fleiss 1979).

    With two raters it is (BMS - EMS) / (BMS + EMS + 2 (JMS - EMS) / n), in which a constant shift counts.
    """
    n = moments[..., 0]
    shift, t, z, covariance = _spread(moments)
    t, z, covariance = (divide(part * n, n - 1) for part in (t, z, covariance))
    rest = (t + z) / 2 - covariance
    return divide(2 * covariance, t + z + shift**2 - divide(2 * rest, n))


def _spread(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Difference of the means, variance of the truth, variance of the output, covariance; each over n."""
    n, t, z, tt, zz, tz = np.moveaxis(np.asarray(moments[..., :6], dtype=np.float64), -1, 0)
    mean_t, mean_z = divide(t, n), divide(z, n)
    variances = []
    for square, mean in ((divide(tt, n), mean_t), (divide(zz, n), mean_z)):
        variance = square - mean**2
        variances.append(np.where(variance <= EPSILON * square, 0.0, variance))
    return mean_t - mean_z, variances[0], variances[1], divide(tz, n) - mean_t * mean_z


def mean_of_tables(values: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """Average over the classes that are present in the truth, leaving out what is not defined: (..., C) -> (...)."""
    return mean_over(values, (tables[..., 1, :].sum(axis=-1) > 0).astype(np.float64))


def _register(name: str, label: str, of_class: Callable[[np.ndarray], np.ndarray], summary: str) -> None:
    """Register a metric of each class's table and, without the prefix ``class_``, its mean over classes."""

    def each(tables: np.ndarray) -> np.ndarray:
        return of_class(tables)

    def averaged(tables: np.ndarray) -> np.ndarray:
        return mean_of_tables(of_class(tables), tables)

    each.__doc__ = f"{summary} of the one-vs-rest classifier of each class at a threshold of 0.5."
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


_register("detector_accuracy", "detector accuracy", accuracy, "Accuracy, true negatives included,")
_register("detector_precision", "detector precision", lambda tables: precision(tables)[..., 1], "Precision")
_register("detector_recall", "detector recall", lambda tables: recall(tables)[..., 1], "Recall")
_register("detector_f1", "detector F1", lambda tables: f1(tables)[..., 1], "F1")
_register("detector_specificity", "detector specificity", lambda tables: specificity(tables)[..., 1], "Specificity")
