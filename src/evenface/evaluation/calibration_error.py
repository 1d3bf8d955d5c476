"""How far probabilities are from what comes true, with intervals."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from evenface.evaluation import probability_metrics as scoring
from evenface.evaluation.bootstrap import LEVEL, RESAMPLES, Estimate, percentile, resample_sums, units_of
from evenface.evaluation.metrics import divide
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.probability_metrics import Reliability

Binning = Literal["width", "mass"]
Side = Literal["top", "classes"]
BINS = 15


def reliability_by_mass(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Reliability:
    """Sort samples into bins of equally many, as far as equal confidences, which stay together, allow.

    Parameters and result are those of ``reliability``; the edges are quantiles, and
    there are fewer bins where quantiles are equal.
    """
    edges = np.unique(np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf"))
    edges = edges[edges < np.max(confidence)]
    place = np.searchsorted(edges, confidence, side="left")
    size = len(edges) + 1
    count = np.bincount(place, minlength=size)
    weights = (np.asarray(one, dtype=np.float64) for one in (confidence, correct))
    promised, kept = (divide(np.bincount(place, weights=one, minlength=size), count) for one in weights)
    return Reliability(np.concatenate([[0.0], edges, [1.0]]), count, promised, kept)


def calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, *, bins: int = BINS, binning: Binning = "width", of: Side = "top"
) -> float:
    """Give the expected calibration error: mean distance between what was promised and what was kept, over bins.

    Parameters
    ----------
    probabilities : array of float, shape (N, C)
        Rows sum to 1.
    labels : array of int, shape (N,)
        True classes.
    bins : int, default=15
        How many.
    binning : {"width", "mass"}
        Bins of equal width, or of equally many samples.
    of : {"top", "classes"}
        The predicted class's probability, or the mean over all classes, each one's probability on all samples.

    Returns
    -------
    float
        0 to 1. Chance alone makes it larger than 0.

    References
    ----------
    Guo et al., *On calibration of modern neural networks*, ICML 2017, eq. 3. Nixon et al., *Measuring calibration in
    deep learning*, CVPR workshops 2019, for equal mass. Kull et al., *Beyond temperature scaling*, NeurIPS 2019, for
    all classes.
    """
    sorted_in = scoring.reliability if binning == "width" else reliability_by_mass
    sides = _sides(probabilities, labels, of)
    return float(np.mean([scoring.expected_calibration_error(sorted_in(*side, bins)) for side in sides]))


def _sides(probabilities: np.ndarray, labels: np.ndarray, of: Side) -> list[tuple[np.ndarray, np.ndarray]]:
    """Give pairs of what was promised and what came true."""
    if of == "top":
        return [(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)]
    return [(probabilities[:, c], labels == c) for c in range(probabilities.shape[1])]


def _unit_gaps(predictions: Predictions, binning: Binning, of: Side) -> np.ndarray:
    """Sum promised less kept by unit, side and bin, shape (U, sides * bins + 1); the last column counts samples."""
    units = units_of(predictions)
    sides = _sides(predictions.probabilities, predictions.labels, of)
    sums = np.zeros((units.count, len(sides) * BINS + 1))
    for number, (confidence, correct) in enumerate(sides):
        if binning == "width":
            place = scoring.reliability_bin(confidence, BINS)
        else:
            place = np.searchsorted(reliability_by_mass(confidence, correct).edges[1:-1], confidence, side="left")
        np.add.at(sums, (units.codes, number * BINS + place), confidence - correct)
    sums[:, -1] = np.bincount(units.codes, minlength=units.count)
    return sums


def error_estimates(
    before: Predictions,
    after: Predictions,
    *,
    binning: Binning = "width",
    of: Side = "top",
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[Estimate, Estimate, Estimate]:
    """Estimate the calibration error of two forms of the same predictions, and their difference, with intervals.

    Parameters
    ----------
    before, after : Predictions
        Of the same samples in the same order.
    binning, of
        As in :func:`calibration_error`; 15 bins, which stay where they are in every resample.
    seed, resamples, level
        Of the bootstrap: over people where they are known, else clips or samples. All three share the draws.

    Returns
    -------
    before, after, difference : Estimate
        Difference is after less before.

    Notes
    -----
    Chance enlarges such an error: bins are off by it in either direction, and distances add up. So an interval is of
    the true error, by a basic bootstrap (the value less the quantiles of what resamples miss), lies for its most part
    below the value, and is widened to hold it. Resamples are made around gaps without the part that is chance: none
    where the gaps are no larger than 95 % of what chance makes, else shrunk by ``sqrt(1 - chance / seen)``, both as
    sums of squares.
    """
    made = [_error_draws(_unit_gaps(one, binning, of), resamples, seed) for one in (before, after)]
    values = [value for value, _ in made]
    drawn = [around for _, around in made]
    values.append(values[1] - values[0])
    drawn.append(drawn[1] - drawn[0])
    first, second, change = (_turned(value, around, level) for value, around in zip(values, drawn, strict=True))
    return _not_negative(first), _not_negative(second), change


def loss_estimates(
    before: Predictions,
    after: Predictions,
    loss: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[Estimate, Estimate, Estimate]:
    """Estimate the mean of a loss per sample ``(probabilities, labels) -> (N,)`` as :func:`error_estimates` does.

    Intervals are percentile ones: such a mean is not shifted by chance.
    """
    units = units_of(before)
    sums = np.zeros((units.count, 3))
    columns = [np.ones(len(before)), *(loss(one.probabilities, one.labels) for one in (before, after))]
    np.add.at(sums, units.codes, np.stack(columns, axis=1))
    drawn = resample_sums(sums, resamples, seed)
    means = [table[:, 1:] / table[:, :1] for table in (sums.sum(axis=0)[None], drawn)]
    value, draws = (np.concatenate([one, one[:, 1:] - one[:, :1]], axis=1) for one in means)
    low, high = percentile(draws, level)
    first, second, change = (Estimate(*(float(part[k]) for part in (value[0], low, high))) for k in range(3))
    return first, second, change


def _error_draws(sums: np.ndarray, resamples: int, seed: int) -> tuple[float, np.ndarray]:
    """Give the error of the sums by unit, and by how much samples of such a size miss the truth, shape (R,)."""
    sides = (sums.shape[1] - 1) // BINS
    whole, drawn = sums.sum(axis=0), resample_sums(sums, resamples, seed)
    gaps, noise = whole[:-1] / whole[-1], drawn[:, :-1] / drawn[:, -1:]
    noise = noise - gaps
    square, chance = float((gaps**2).sum()), (noise**2).sum(axis=1)
    beyond = resamples > 0 and square > np.quantile(chance, LEVEL)
    kept = math.sqrt(1 - float(chance.mean()) / square) if beyond else 0.0
    around = np.abs(kept * gaps + noise).sum(axis=1) - kept * np.abs(gaps).sum()
    return float(np.abs(gaps).sum() / sides), around / sides


def _turned(value: float, around: np.ndarray, level: float) -> Estimate:
    """Turn by how much samples miss the truth into where the truth lies."""
    low, high = percentile(around, level)
    return Estimate(value, *(float(end) for end in (np.minimum(value, value - high), np.maximum(value, value - low))))


def _not_negative(given: Estimate) -> Estimate:
    return Estimate(given.value, *(float(np.maximum(end, 0)) for end in (given.low, given.high)))
