"""Agreement of a continuous output with the true values of ordered classes.

Each metric is a function of eight sums over the samples, ``(..., 8) -> (...)``, so that a bootstrap sums what people
bring and every value has an interval. NaN where a metric is not defined.
"""

import numpy as np

from evenface.evaluation.intervals import Units
from evenface.evaluation.metrics import Metric, divide
from evenface.evaluation.predictions import Predictions

EPSILON = 1e-12
"""Variances below this share of the mean square are rounding."""


def unit_moments(predictions: Predictions, units: Units) -> np.ndarray:
    r"""Sum over the samples of each unit, with t the true value, z the output, both less the mean of t.

    Returns
    -------
    ndarray of shape (U, 8)
        :math:`n, \sum t, \sum z, \sum t^2, \sum z^2, \sum tz, \sum |z - t|, \sum (z - t)^2`.
    """
    truth, output = predictions.true_values, predictions.place
    centre = truth.mean()
    t, z = truth - centre, output - centre
    error = output - truth
    columns = np.stack([np.ones(len(t)), t, z, t**2, z**2, t * z, np.abs(error), error**2], axis=1)
    sums = np.zeros((units.count, columns.shape[1]))
    np.add.at(sums, units.codes, columns)
    return sums


def mean_absolute_error(moments: np.ndarray) -> np.ndarray:
    """Mean distance of the output from the true value, in the unit of the levels."""
    return divide(moments[..., 6], moments[..., 0])


def root_mean_squared_error(moments: np.ndarray) -> np.ndarray:
    """Root of the mean squared distance of the output from the true value, in the unit of the levels."""
    return np.asarray(np.sqrt(divide(moments[..., 7], moments[..., 0])))


def pearson(moments: np.ndarray) -> np.ndarray:
    """Pearson's correlation of output and true value, -1 to 1; NaN where either is constant."""
    _, t, z, covariance = _spread(moments)
    return divide(covariance, np.sqrt(t * z)).clip(-1, 1)


def concordance(moments: np.ndarray) -> np.ndarray:
    r"""Lin's concordance correlation coefficient, -1 to 1.

    .. math:: \rho_c = \frac{2 s_{tz}}{s_t^2 + s_z^2 + (\bar t - \bar z)^2}

    with variances over n. NaN where neither varies and both have the same mean.

    References
    ----------
    Lin, *A concordance correlation coefficient to evaluate reproducibility*, Biometrics 1989.
    """
    shift, t, z, covariance = _spread(moments)
    return divide(2 * covariance, t + z + shift**2)


def icc_3_1(moments: np.ndarray) -> np.ndarray:
    """ICC(3,1) of output and true value: two-way mixed, single, consistency (Shrout and Fleiss 1979)."""
    _, t, z, covariance = _spread(moments)
    return divide(2 * covariance, t + z)


def icc_2_1(moments: np.ndarray) -> np.ndarray:
    """ICC(2,1) of output and true value: two-way random, single, absolute agreement (Shrout and Fleiss 1979).

    With two raters it is (BMS - EMS) / (BMS + EMS + 2 (JMS - EMS) / n), in which a constant shift counts.
    """
    n = moments[..., 0]
    shift, t, z, covariance = _spread(moments)
    t, z, covariance = (divide(part * n, n - 1) for part in (t, z, covariance))
    rest = (t + z) / 2 - covariance
    return divide(2 * covariance, t + z + shift**2 - divide(2 * rest, n))


CONTINUOUS: dict[str, Metric] = {
    "expected_mae": mean_absolute_error,
    "rmse": root_mean_squared_error,
    "pearson": pearson,
    "ccc": concordance,
    "icc_3_1": icc_3_1,
    "icc_2_1": icc_2_1,
}
"""Metrics of the continuous output where classes are ordered; functions of :func:`unit_moments`."""


def _spread(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Difference of the means, variance of the truth, variance of the output, covariance; each over n."""
    n, t, z, tt, zz, tz = np.moveaxis(np.asarray(moments[..., :6], dtype=np.float64), -1, 0)
    mean_t, mean_z = divide(t, n), divide(z, n)
    variances = []
    for square, mean in ((divide(tt, n), mean_t), (divide(zz, n), mean_z)):
        variance = square - mean**2
        variances.append(np.where(variance <= EPSILON * square, 0.0, variance))
    return mean_t - mean_z, variances[0], variances[1], divide(tz, n) - mean_t * mean_z
