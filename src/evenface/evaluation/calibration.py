"""Probabilities that hold: a temperature fitted on validation data, and how far from the truth they are.

A temperature changes how sure a model says it is, never which class it names.
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from evenface.errors import InputError
from evenface.evaluation import scores as scoring
from evenface.evaluation.intervals import LEVEL, RESAMPLES, Estimate, percentile, resample_sums, units_of
from evenface.evaluation.metrics import divide
from evenface.evaluation.predictions import Predictions
from evenface.evaluation.scores import TINY, Reliability

Kind = Literal["probabilities", "scores"]
Binning = Literal["width", "mass"]
Side = Literal["top", "classes"]
LOWEST, HIGHEST = 0.05, 20.0
"""Temperatures that are looked at. Where every sample is right, ever lower ones would be better without end."""
GRID = 61
BINS = 15


def tempered(values: np.ndarray, temperature: float, of: Kind = "probabilities") -> np.ndarray:
    r"""Divide the logits behind probabilities, or behind each detector's score, by a temperature.

    .. math:: p'_c = \frac{p_c^{1/T}}{\sum_j p_j^{1/T}}, \qquad s'_c = \sigma(\mathrm{logit}(s_c) / T)

    Parameters
    ----------
    values : array of float, shape (N, C)
        Probabilities (rows sum to 1) or detectors' scores, 0 to 1; below 1e-12 they count as 1e-12.
    temperature : float
        T, above 0. Above 1 makes less sure, below 1 surer.
    of : {"probabilities", "scores"}
        What ``values`` are.

    Returns
    -------
    array of float64, shape (N, C)
        Probabilities, or scores.

    References
    ----------
    Guo et al., *On calibration of modern neural networks*, ICML 2017, section 4.2.

    Examples
    --------
    >>> tempered(np.array([[0.8, 0.2]]), 2.0).round(3)   # odds of 4 become odds of 2
    array([[0.667, 0.333]])
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise InputError(f"a temperature must be above 0, got {temperature}")
    log = np.log(np.clip(values, TINY, None))
    if of == "scores":
        logits = (log - np.log(np.clip(1 - np.asarray(values), TINY, None))) / temperature
        result: np.ndarray = 0.5 * (1 + np.tanh(logits / 2))
        return result
    return _softmax(log / temperature)


def calibrated(values: np.ndarray, temperature: float, of: Kind = "probabilities") -> np.ndarray:
    """Give calibrated class probabilities, shape (N, C): tempered; scores are then divided by their sum."""
    found = tempered(values, temperature, of)
    return scoring.shares(found) if of == "scores" else found


def fit_temperature(
    values: np.ndarray, labels: np.ndarray, *, of: Kind = "probabilities", shift: np.ndarray | None = None
) -> float:
    """Find the temperature at which the true classes are most probable.

    Parameters
    ----------
    values : array of float, shape (N, C)
        As in :func:`tempered`, of samples that the model was not trained on.
    labels : array of int, shape (N,)
        Their true classes.
    of : {"probabilities", "scores"}
        What ``values`` are. Of scores, the probabilities are their shares.
    shift : array of float, shape (C,), optional
        Factor of each class's probability after the temperature: the balance of these samples over the balance that
        the model implies. Without it, a model that was trained for another balance would look unsure of itself.

    Returns
    -------
    float
        From 0.05 to 20: the smallest mean of -log p over these samples, by a search over log T on a grid and then
        between the neighbours of the best.

    Raises
    ------
    InputError
        If there is no sample.
    """
    from scipy.optimize import minimize_scalar

    if not len(labels):
        raise InputError("no sample to fit a temperature on")

    def loss(log_temperature: float) -> float:
        p = calibrated(values, float(np.exp(log_temperature)), of)
        if shift is not None:
            p = p * shift
            p = p / p.sum(axis=1, keepdims=True)
        return float(scoring.log_loss(p, labels).mean())

    grid = np.linspace(np.log(LOWEST), np.log(HIGHEST), GRID)
    best = int(np.argmin([loss(float(t)) for t in grid]))
    around = (grid[max(0, best - 1)], grid[min(GRID - 1, best + 1)])
    found = minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x if found.fun <= loss(float(grid[best])) else grid[best]))


def reliability_by_mass(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Reliability:
    """Sort samples into bins of equally many, as far as equal confidences, which stay together, allow.

    Parameters and result are those of :func:`evenface.evaluation.scores.reliability`; the edges are quantiles, and
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
    the true error, by a basic bootstrap (the value less the quantiles of what resamples miss), and may lie below the
    value. Resamples are made around gaps without the part that is chance: none where the gaps are no larger than 95 %
    of what chance makes, else shrunk by ``sqrt(1 - chance / seen)``, both as sums of squares.
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
    return Estimate(value, float(value - high), float(value - low))


def _not_negative(given: Estimate) -> Estimate:
    return Estimate(given.value, max(0.0, given.low), max(0.0, given.high))


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return result
