"""Agreement of a continuous output with the true values of ordered classes.

Each metric is a function of eight sums over the samples, ``(..., 8) -> (...)``, so that a bootstrap sums what people
bring and every value has an interval. NaN where a metric is not defined.
"""

import math

import numpy as np

from evenface.evaluation.bootstrap import Units
from evenface.evaluation.metric_entry import metric
from evenface.evaluation.metrics import divide
from evenface.evaluation.predictions import Predictions

EPSILON = 1e-12
"""Variances below this share of the mean square are rounding."""


def unit_moments(predictions: Predictions, units: Units) -> np.ndarray:
    r"""Sum over the samples of each unit, with t the true value, z the output, both less the mean of t."""
    truth, output = predictions.true_values, predictions.place
    centre = truth.mean()
    t, z = truth - centre, output - centre
    error = output - truth
    columns = np.stack([np.ones(len(t)), t, z, t**2, z**2, t * z, np.abs(error), error**2], axis=1)
    sums = np.zeros((units.count, columns.shape[1]))
    np.add.at(sums, units.codes, columns)
    return sums


@metric(
    "expected_mae",
    label="MAE (continuous)",
    task="regression",
    higher_is_better=False,
    range=(0, math.inf),
    needs="moments",
)
def mean_absolute_error(moments: np.ndarray) -> np.ndarray:
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
def icc_3_1(moments: np.ndarray) -> np.ndarray:
    """ICC(3,1), 2 cov(t, z) / (var t + var z): two-way mixed, single, consistency (Shrout and Fleiss 1979)."""
    _, t, z, covariance = _spread(moments)
    return divide(2 * covariance, t + z)


@metric(
    "icc_2_1", label="ICC(2,1) (continuous)", task="regression", higher_is_better=True, range=(-1, 1), needs="moments"
)
def icc_2_1(moments: np.ndarray) -> np.ndarray:
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
